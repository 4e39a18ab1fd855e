"""Tempo: speech that is slower or faster, with the same pitch and timbre."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters

_FRAME_S = 0.03
_SEARCH_S = 0.008


@dataclass(frozen=True)
class Tempo:
    """A tempo multiplied by a factor drawn from [low, high]; the duration is divided by it.

    Source: Verhelst & Roelands 1993, doi:10.1109/ICASSP.1993.319366 (overlap-add by waveform similarity).
    """

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if not 0.5 <= self.low <= self.high <= 2:
            raise ConfigError(f"expected tempo factors 0.5 <= low <= high <= 2. Received: {self.low}, {self.high}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the tempo of mono float32 samples, shape (n,); parameter tempo_factor."""
        factor = float(rng.uniform(self.low, self.high))
        return change_tempo(samples, factor, sample_rate).astype(np.float32), {"tempo_factor": factor}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "tempo", **asdict(self)}


def change_tempo(samples: NDArray[np.floating], factor: float, sample_rate: int) -> NDArray[np.floating]:
    """Multiply the tempo by factor; shape (n,) in, (n / factor,) out. Too short a signal is left as it is."""
    half = round(_FRAME_S * sample_rate / 2)
    reach = round(_SEARCH_S * sample_rate)
    if factor == 1 or len(samples) < 4 * half + 2 * reach:
        return samples
    window = np.hanning(2 * half + 1)[:-1]
    padded = np.pad(samples.astype(np.float64), (half + reach, 3 * half + 2 * reach))
    length = round(len(samples) / factor)
    made = np.zeros(length + 3 * half)
    wanted = padded[reach : reach + half]  # what would follow the frame before, if nothing were changed
    for start in range(0, length + half, half):
        near = min(round(start * factor), len(samples) + reach)  # of the search, in padded
        place = near + _best_lag(padded[near : near + half + 2 * reach], wanted)
        made[start : start + 2 * half] += window * padded[place : place + 2 * half]
        wanted = padded[place + half : place + 2 * half]
    return made[half : half + length]


def _best_lag(around: NDArray[np.float64], wanted: NDArray[np.float64]) -> int:
    """Where in `around` the waveform is most like `wanted`, by normalised cross-correlation."""
    similarity = np.correlate(around, wanted, "valid")
    energy = np.convolve(np.square(around), np.ones(len(wanted)), "valid")
    return int(np.argmax(similarity / np.sqrt(np.maximum(energy, 1e-12))))
