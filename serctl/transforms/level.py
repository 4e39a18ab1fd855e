"""Level: quieter or louder recordings in 16 bit, cut off where they exceed full scale."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters

_STEP = 1 / 32_768


@dataclass(frozen=True)
class Level:
    """A gain in dB drawn from [low_db, high_db]; samples beyond full scale are clipped, all rounded to 16 bit."""

    low_db: float = -40.0
    high_db: float = 10.0

    def __post_init__(self) -> None:
        if not -100 <= self.low_db <= self.high_db <= 60:
            raise ConfigError(f"expected -100 <= low <= high <= 60 dB. Received: {self.low_db}, {self.high_db}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the level of mono float32 samples, shape (n,); parameter level_db."""
        del sample_rate
        gain_db = float(rng.uniform(self.low_db, self.high_db))
        louder = np.clip(samples * np.float32(10 ** (gain_db / 20)), -1, 1)
        return (np.round(louder / _STEP) * _STEP).astype(np.float32), {"level_db": gain_db}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "level", **asdict(self)}
