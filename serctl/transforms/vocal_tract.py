"""Vocal tract length and pitch: another speaker says the same in the same way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.signal

from serctl.errors import ConfigError
from serctl.transforms.envelope import WINDOW_S, warp_envelope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters


@dataclass(frozen=True)
class VocalTract:
    """Formants and pitch multiplied by factors drawn, independently, from their ranges.

    Pitch is changed by resampling, which divides the duration by the same factor; the spectral envelope is then warped
    so that the formants move by their own factor.

    Source: Jaitly & Hinton 2013, Vocal tract length perturbation improves speech recognition, ICML workshop.
    """

    formant_low: float = 0.87
    formant_high: float = 1.15
    pitch_low: float = 0.85
    pitch_high: float = 1.18

    def __post_init__(self) -> None:
        for low, high in ((self.formant_low, self.formant_high), (self.pitch_low, self.pitch_high)):
            if not 0.5 <= low <= high <= 2:
                raise ConfigError(f"expected factors 0.5 <= low <= high <= 2. Received: {low}, {high}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the voice in mono float32 samples, shape (n,); parameters formant_factor, pitch_factor."""
        formant = float(np.exp(rng.uniform(np.log(self.formant_low), np.log(self.formant_high))))
        pitch = float(np.exp(rng.uniform(np.log(self.pitch_low), np.log(self.pitch_high))))
        parameters: Parameters = {"formant_factor": formant, "pitch_factor": pitch}
        if len(samples) < round(2 * WINDOW_S * sample_rate):
            return samples, parameters
        spoken = scipy.signal.resample_poly(samples.astype(np.float64), 1_000, round(1_000 * pitch))
        warped = warp_envelope(spoken, formant / pitch, sample_rate)
        return warped.astype(np.float32), parameters

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "vocal_tract", **asdict(self)}
