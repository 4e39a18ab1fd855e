"""Change the speed of a recording, and with it its pitch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from serctl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters


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

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"

    @classmethod
    def from_text(cls, text: str) -> Speed:
        """Return the range LOW:HIGH. Raises ConfigError for anything else."""
        low, _, high = text.partition(":")
        try:
            return cls(float(low), float(high))
        except ValueError as error:
            raise ConfigError(f"expected LOW:HIGH, two numbers such as 0.9:1.1. Received: {text!r}") from error

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the speed of mono float32 samples; parameter speed_factor."""
        import soxr  # here, for the options of a training are read before anything is loaded

        factor = rng.uniform(self.low, self.high)
        changed = soxr.resample(samples, sample_rate * factor, sample_rate)
        if len(changed) == 0:
            return samples, {"speed_factor": 1.0}
        return changed, {"speed_factor": factor}

    def to_dict(self) -> dict[str, object]:
        """A JSON-able description, equal for equal transforms."""
        return {"transform": "speed", **asdict(self)}
