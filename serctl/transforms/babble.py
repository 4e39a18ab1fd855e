"""Add the babble of several voices that speak at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError
from serctl.transforms.noise import draw_stretch, file_digest, mix_at_snr, power

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters


@dataclass(frozen=True)
class Babble:
    """Voices in the background, at a signal-to-noise ratio drawn uniformly from [snr_low_db, snr_high_db].

    Each voice is a random stretch of one of `voice_files`, all of the same loudness; their number is drawn from
    [fewest, most]. A silent recording, and one that meets silent stretches alone, is left unchanged.

    Raises:
        ConfigError: no voice_files, or a range that is not low <= high.
    """

    voice_files: tuple[Path, ...]
    snr_low_db: float = 10.0
    snr_high_db: float = 20.0
    fewest: int = 3
    most: int = 8

    def __post_init__(self) -> None:
        if not self.voice_files:
            raise ConfigError("expected recordings of speech for the babble. Received: none")
        if not -math.inf < self.snr_low_db <= self.snr_high_db < math.inf:
            raise ConfigError(f"expected SNR in dB, low <= high. Received: {self.snr_low_db}:{self.snr_high_db}")
        if not 1 <= self.fewest <= self.most:
            raise ConfigError(f"expected 1 voice or more, low <= high. Received: {self.fewest}:{self.most}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Add voices to mono float32 samples, shape (n,); parameters babble_voices, and babble_snr_db if there are any.

        Raises AudioError if a recording of speech cannot be read.
        """
        snr_db = rng.uniform(self.snr_low_db, self.snr_high_db)
        drawn = rng.integers(len(self.voice_files), size=rng.integers(self.fewest, self.most + 1))
        stretches = [draw_stretch(self.voice_files[index], len(samples), sample_rate, rng) for index in drawn]
        heard = [stretch / math.sqrt(power(stretch)) for stretch in stretches if power(stretch) > 0]
        if power(samples) == 0 or not heard:
            return samples, {"babble_voices": 0}
        mixed = np.sum(heard, axis=0)
        return mix_at_snr(samples, mixed, snr_db), {"babble_voices": len(heard), "babble_snr_db": snr_db}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms: voices by their contents.

        Raises:
            AudioError: a recording of speech cannot be read.
        """
        return {
            "transform": "babble",
            "snr_db": [self.snr_low_db, self.snr_high_db],
            "voices": [self.fewest, self.most],
            "voice_files": list(map(file_digest, self.voice_files)),
        }
