"""Add recorded noise at a given signal-to-noise ratio."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from serctl.audio.file import content_digest
from serctl.audio.segments import read_audio, read_header
from serctl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters


@dataclass(frozen=True)
class Noise:
    """Noise added at a signal-to-noise ratio drawn uniformly from [snr_low_db, snr_high_db] and met exactly.

    The ratio is that of the powers, without DC, of the whole recording and the whole noise. The noise is white and
    Gaussian, or a random stretch of one of `noise_files`, repeated where the file is shorter than the recording. A
    silent recording is left unchanged, for it has no SNR; so is one that meets a silent stretch of noise.
    Raises ConfigError unless snr_low_db <= snr_high_db, both finite.
    """

    snr_low_db: float = 10.0
    snr_high_db: float = 20.0
    noise_files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not -math.inf < self.snr_low_db <= self.snr_high_db < math.inf:
            raise ConfigError(f"expected SNR in dB, low <= high. Received: {self.snr_low_db}:{self.snr_high_db}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Add noise to mono float32 samples; parameters noise_source, and noise_snr_db where noise was added.

        Raises AudioError if a noise file cannot be read.
        """
        snr_db = rng.uniform(self.snr_low_db, self.snr_high_db)
        noise, source = self._draw(len(samples), sample_rate, rng)
        if power(samples) == 0:
            return samples, {"noise_source": "none: the recording is silent"}
        if power(noise) == 0:
            return samples, {"noise_source": f"none: silent stretch of {source}"}
        return mix_at_snr(samples, noise, snr_db), {"noise_source": source, "noise_snr_db": snr_db}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms: noise files by their contents.

        Raises:
            AudioError: a noise file cannot be read.
        """
        return {"transform": "noise", **asdict(self), "noise_files": list(map(file_digest, self.noise_files))}

    def _draw(self, length: int, sample_rate: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], str]:
        if not self.noise_files:
            return rng.standard_normal(length, dtype=np.float32), "gaussian"
        path = self.noise_files[rng.integers(len(self.noise_files))]
        return draw_stretch(path, length, sample_rate, rng), str(path)


def mix_at_snr(samples: NDArray[np.float32], noise: NDArray[np.floating], snr_db: float) -> NDArray[np.float32]:
    """Add noise at a signal-to-noise ratio.

    Args:
        samples: not silent, shape (n,).
        noise: not silent, shape (n,).
        snr_db: ratio of the powers without DC, in dB.

    Returns:
        float32, shape (n,).
    """
    gain = math.sqrt(power(samples) / power(noise) / 10 ** (snr_db / 10))
    return (samples + gain * noise.astype(np.float64)).astype(np.float32)


def draw_stretch(path: Path, length: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Read a random stretch of a recording, repeated where the recording is shorter.

    Returns:
        float32, shape (length,).

    Raises:
        AudioError: the recording cannot be read.
    """
    duration_s = length / sample_rate
    start_s = rng.uniform(0, max(read_header(path).duration_s - duration_s, 0))
    stretch = read_audio(path, sample_rate=sample_rate, start_s=start_s, end_s=start_s + duration_s)
    return np.resize(stretch, length)


@lru_cache(maxsize=4096)
def file_digest(path: Path) -> str:
    """Hex digest of the contents of a file; each is read once a process."""
    return content_digest(path)


def power(samples: NDArray[np.floating]) -> float:
    """Mean square without DC."""
    return float(np.var(samples, dtype=np.float64))
