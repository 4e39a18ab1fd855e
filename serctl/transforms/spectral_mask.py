"""Mask time ranges and frequency bands of a recording."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError
from serctl.transforms._librosa import import_librosa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters


_MASK_WINDOW_S = 0.032


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
        librosa = import_librosa()
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
