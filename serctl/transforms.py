"""Transforms of recordings for augmentation: speed, noise and spectral masks.

Each transform is a frozen description of what may happen. It draws from the numpy Generator it is given, and returns
the new samples with the parameters that were drawn. The same transforms serve `augment` and training on the fly.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import soxr

from serctl.audio import read_audio, read_header
from serctl.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Noise", "Parameters", "SpectralMask", "Speed", "Transform", "apply_transforms", "file_generator"]

Parameters = dict[str, float | str]

_MASK_WINDOW_S = 0.032


@dataclass(frozen=True)
class Speed:
    """Resampling by a factor drawn uniformly from [low, high].

    The duration is divided by the factor; pitch and formants are multiplied by it.
    Source: Ko et al. 2015, Audio augmentation for speech recognition, doi:10.21437/Interspeech.2015-711.
    Raises ConfigError unless 0.1 <= low <= high <= 10.
    """

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if not 0.1 <= self.low <= self.high <= 10:
            raise ConfigError(f"expected speed factors 0.1 <= low <= high <= 10. Received: {self.low}:{self.high}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the speed of mono float32 samples; parameter speed_factor."""
        factor = rng.uniform(self.low, self.high)
        changed = soxr.resample(samples, sample_rate * factor, sample_rate)
        if len(changed) == 0:
            return samples, {"speed_factor": 1.0}
        return changed, {"speed_factor": factor}

    def to_dict(self) -> dict[str, object]:
        """A JSON-able description, equal for equal transforms."""
        return {"transform": "speed", **asdict(self)}


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
        signal_power, noise_power = _power(samples), _power(noise)
        if signal_power == 0:
            return samples, {"noise_source": "none: the recording is silent"}
        if noise_power == 0:
            return samples, {"noise_source": f"none: silent stretch of {source}"}
        gain = math.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
        noisy = (samples + gain * noise.astype(np.float64)).astype(np.float32)
        return noisy, {"noise_source": source, "noise_snr_db": snr_db}

    def to_dict(self) -> dict[str, object]:
        """A JSON-able description, equal for equal transforms."""
        return {"transform": "noise", **asdict(self), "noise_files": [str(path) for path in self.noise_files]}

    def _draw(self, length: int, sample_rate: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], str]:
        if not self.noise_files:
            return rng.standard_normal(length, dtype=np.float32), "gaussian"
        path = self.noise_files[rng.integers(len(self.noise_files))]
        duration_s = length / sample_rate
        start_s = rng.uniform(0, max(read_header(path).duration_s - duration_s, 0))
        stretch = read_audio(path, sample_rate=sample_rate, start_s=start_s, end_s=start_s + duration_s)
        return np.resize(stretch, length), str(path)


def _power(samples: NDArray[np.float32]) -> float:
    return float(np.var(samples, dtype=np.float64))


@dataclass(frozen=True)
class SpectralMask:
    """Bands of frequency and stretches of time silenced in the short-time spectrum, which is then rendered to audio.

    `masks` bands, each a share of the whole band drawn from [0, width], and as many stretches, each a share of the
    duration drawn from [0, time_width], lie at random places and may overlap.

    Source: Park et al. 2019, SpecAugment, doi:10.21437/Interspeech.2019-2680, with masks as shares.
    Raises ConfigError unless masks >= 1 and both widths are in [0, 1].
    """

    masks: int = 2
    width: float = 0.2
    time_width: float = 0.1

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise ConfigError(f"expected at least 1 mask. Received: {self.masks}")
        if not (0 <= self.width <= 1 and 0 <= self.time_width <= 1):
            raise ConfigError(f"expected mask widths from 0 to 1. Received: {self.width}, {self.time_width} in time")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Mask mono float32 samples; parameters masked_hz and masked_s, ranges such as `812.5-1593.8 4000.0-4125.0`."""
        import librosa

        bands = [_draw_range(self.width, rng) for _ in range(self.masks)]
        stretches = [_draw_range(self.time_width, rng) for _ in range(self.masks)]
        n_fft = max(round(_MASK_WINDOW_S * sample_rate / 4), 1) * 4
        hop = n_fft // 4
        padded = np.pad(samples, (0, max(n_fft - len(samples), 0)))
        spectrum = librosa.stft(padded, n_fft=n_fft, hop_length=hop)
        for low, high in bands:
            spectrum[round(low * len(spectrum)) : round(high * len(spectrum))] = 0
        frames = len(samples) / hop
        for start, end in stretches:
            spectrum[:, round(start * frames) : round(end * frames)] = 0
        masked = librosa.istft(spectrum, n_fft=n_fft, hop_length=hop, length=len(padded))[: len(samples)]
        nyquist, duration_s = sample_rate / 2, len(samples) / sample_rate
        return masked, {"masked_hz": _ranges(bands, nyquist, 1), "masked_s": _ranges(stretches, duration_s, 3)}

    def to_dict(self) -> dict[str, object]:
        """A JSON-able description, equal for equal transforms."""
        return {"transform": "spectral_mask", **asdict(self)}


def _draw_range(widest: float, rng: np.random.Generator) -> tuple[float, float]:
    """A range within [0, 1], no wider than `widest`."""
    width = rng.uniform(0, widest)
    start = rng.uniform(0, 1 - width)
    return start, start + width


def _ranges(shares: Sequence[tuple[float, float]], whole: float, digits: int) -> str:
    return " ".join(f"{low * whole:.{digits}f}-{high * whole:.{digits}f}" for low, high in shares)


Transform = Speed | Noise | SpectralMask


def apply_transforms(
    samples: NDArray[np.float32], sample_rate: int, *, transforms: Sequence[Transform], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Parameters]:
    """Apply transforms one after the other to mono float32 samples, shape (n,), full scale 1.0.

    Returns float32 samples that never exceed full scale, and the parameters of all transforms with `gain`, the factor
    that keeps the peak at 1.0 (1.0 where none was needed).
    Raises AudioError if the samples are empty or not mono, ConfigError if a transform is given twice.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise AudioError(f"expected mono samples of shape (n,), n >= 1. Received: shape {samples.shape}")
    if len({type(transform) for transform in transforms}) < len(transforms):
        raise ConfigError("expected each transform once: the parameters of the second would hide those of the first")
    parameters: Parameters = {}
    for transform in transforms:
        samples, drawn = transform(samples, sample_rate, rng)
        parameters.update(drawn)
    peak = float(np.abs(samples).max())
    gain = 1.0 / max(peak, 1.0)
    # The clip catches what rounding the gain to float32 leaves above the peak.
    limited = np.clip(samples * np.float32(gain), -1, 1) if gain < 1 else samples
    return limited.astype(np.float32, copy=False), parameters | {"gain": gain}


def file_generator(seed: int, content_digest: str, copy: int, *, start_s: float = 0.0) -> np.random.Generator:
    """The generator of one copy of one recording, the same whatever the order or number of workers.

    content_digest: hexadecimal, as audio.content_digest gives it. start_s: of the part that is changed, lest all parts
    of a long recording draw the same parameters.
    """
    part = (round(start_s * 1e6),) if start_s else ()
    return np.random.default_rng((seed, int(content_digest, 16), copy, *part))
