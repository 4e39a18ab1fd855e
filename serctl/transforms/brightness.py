"""Brightness: a spectrum tilted towards the treble or the bass, as a harder or softer voice does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters

PIVOT_HZ, LOW_HZ, HIGH_HZ = 1_000.0, 100.0, 8_000.0
"""The gain is 0 dB at the first, and constant outside the others."""


@dataclass(frozen=True)
class Brightness:
    """A tilt in dB per octave drawn from [low_db, high_db]; the power of the recording is kept."""

    low_db: float = -3.0
    high_db: float = 3.0

    def __post_init__(self) -> None:
        if not -12 <= self.low_db <= self.high_db <= 12:
            raise ConfigError(f"expected -12 <= low <= high <= 12 dB/octave. Received: {self.low_db}, {self.high_db}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Tilt the spectrum of mono float32 samples, shape (n,); parameter tilt_db_per_octave."""
        tilt_db = float(rng.uniform(self.low_db, self.high_db))
        hz = np.clip(np.fft.rfftfreq(len(samples), 1 / sample_rate), LOW_HZ, HIGH_HZ)
        gain = 10 ** (tilt_db * np.log2(hz / PIVOT_HZ) / 20)
        tilted = np.fft.irfft(np.fft.rfft(samples) * gain, len(samples))
        power = float(np.mean(np.square(tilted)))
        kept = float(np.mean(np.square(samples, dtype=np.float64)))
        scale = np.sqrt(kept / power) if power > 0 else 1.0
        return (tilted * scale).astype(np.float32), {"tilt_db_per_octave": tilt_db}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "brightness", **asdict(self)}
