"""Pitch: a higher or lower voice of the same duration, with the same formants."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError
from serctl.transforms.envelope import warp_envelope
from serctl.transforms.tempo import change_tempo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters


@dataclass(frozen=True)
class Pitch:
    """A pitch multiplied by a factor drawn from [low, high].

    The speech is slowed down or sped up and then resampled to its duration, which moves the formants with the pitch;
    the spectral envelope is warped back (Jaitly & Hinton 2013, Vocal tract length perturbation, ICML workshop).
    """

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if not 0.5 <= self.low <= self.high <= 2:
            raise ConfigError(f"expected pitch factors 0.5 <= low <= high <= 2. Received: {self.low}, {self.high}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the pitch of mono float32 samples, shape (n,); parameter pitch_factor."""
        import soxr  # here, for the options of a training are read before anything is loaded

        factor = float(rng.uniform(self.low, self.high))
        stretched = change_tempo(samples, 1 / factor, sample_rate)
        if factor == 1 or stretched is samples:
            return samples, {"pitch_factor": 1.0}
        moved = soxr.resample(stretched, factor * sample_rate, sample_rate)
        moved = np.pad(moved, (0, max(len(samples) - len(moved), 0)))[: len(samples)]
        return warp_envelope(moved, 1 / factor, sample_rate).astype(np.float32), {"pitch_factor": factor}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "pitch", **asdict(self)}
