"""Occlusion: parts of a window are replaced by speech-shaped noise in the waveform, so it works for every front end.

How much the probability falls when a part is hidden depends on what else is hidden. So parts are hidden one after the
other in random orders, and the importance of a part is the mean of what its turn costs: its Shapley value, estimated by
permutation sampling. The same answers give the curves of random orders, which the faithfulness compares with.

Sources: Castro et al. 2009, doi:10.1016/j.cor.2008.04.004 (the estimate); Zeiler & Fergus 2014,
doi:10.1007/978-3-319-10590-1_53 (occlusion).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.features.spectral import active_frames, frame_power, mel_points_hz
from serctl.transforms.stft import OVERLAP, istft, stft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.explanation.listener import Listener, Samples
    from serctl.features import FeatureConfig

    Masks = NDArray[np.bool_]

PART_S = 0.25
FEWEST_PARTS, MOST_PARTS = 4, 16
BANDS = 8
"""Mel-spaced bands of the map."""

FADE_S = 0.005
_FRAME_S = 0.032


@dataclass(frozen=True)
class Occluder:
    """Hides parts of a window.

    Attributes:
        samples: the window, mono float32, shape (n,).
        noise: of the same spectrum and power, shape (n,).
        edges: first sample of every part, and the end of the last; shape (parts + 1,). They cover the speech.
        config: of the features.
    """

    samples: Samples
    noise: Samples
    edges: NDArray[np.intp]
    config: FeatureConfig

    @classmethod
    def of(cls, samples: Samples, config: FeatureConfig, rng: np.random.Generator) -> Occluder:
        """Cut the speech of a window into equal parts of about PART_S."""
        active = active_frames(frame_power(samples - samples.mean(), config), config)
        first = active.start * config.hop_length
        last = min(active.stop * config.hop_length, len(samples))
        parts = int(np.clip(round((last - first) / config.sample_rate / PART_S), FEWEST_PARTS, MOST_PARTS))
        edges = np.linspace(first, max(last, first + 1), parts + 1).round().astype(np.intp)
        return cls(samples, speech_shaped_noise(samples, rng), edges, config)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return len(self.edges) - 1

    def hide(self, hidden: Masks, instead: Samples | None = None) -> Samples:
        """Replace parts, with short fades.

        Args:
            hidden: for each part, shape (parts,).
            instead: what is heard there; None for the noise.

        Returns:
            float32, shape (n,).
        """
        share = self._share(hidden)
        return self.samples * (1 - share) + (self.noise if instead is None else instead) * share

    def hide_cells(self, part: int) -> list[Samples]:
        """Replace each band of a part in turn, from the lowest to the highest; float32, shape (n,) each."""
        length = round(_FRAME_S * self.config.sample_rate / OVERLAP) * OVERLAP
        first = max(self.edges[part] - length, 0)
        last = min(self.edges[part + 1] + length, len(self.samples))
        difference = stft(self.noise[first:last] - self.samples[first:last], length)
        hz = np.fft.rfftfreq(length, 1 / self.config.sample_rate)
        edges = band_edges(self.config)
        share = self._share(np.arange(self.parts) == part)[first:last]
        made = []
        for low, high in itertools.pairwise(edges):
            changed = self.samples.copy()
            in_band = istft(difference * ((hz >= low) & (hz < high)), length, last - first)
            changed[first:last] += (in_band * share).astype(np.float32)
            made.append(changed)
        return made

    def _share(self, hidden: Masks) -> Samples:
        """How much of every sample is replaced, from 0 to 1, float32, shape (n,)."""
        share = np.zeros(len(self.samples), np.float32)
        for part in np.flatnonzero(hidden):
            share[self.edges[part] : self.edges[part + 1]] = 1
        fade = np.hanning(2 * round(FADE_S * self.config.sample_rate) + 1).astype(np.float32)
        return np.clip(np.convolve(share, fade / fade.sum(), "same"), 0, 1)[: len(share)]


def speech_shaped_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """Make noise of the long-term spectrum and the power of the samples: their spectrum with random phases."""
    spectrum = np.abs(np.fft.rfft(samples))
    turned = spectrum * np.exp(2j * np.pi * rng.random(len(spectrum)))
    noise = np.fft.irfft(turned, len(samples))
    power = float(np.mean(np.square(noise)))
    scale = np.sqrt(float(np.mean(np.square(samples))) / power) if power > 0 else 0.0
    return (noise * scale).astype(np.float32)


def band_edges(config: FeatureConfig) -> NDArray[np.float64]:
    """Return the edges of the bands of the map in Hz, evenly spaced in mel; the outer ones take in everything."""
    edges = mel_points_hz(config, BANDS + 1)
    edges[0], edges[-1] = 0, config.sample_rate
    return edges


@dataclass(frozen=True)
class Orders:
    """Orders in which parts are hidden, and the probability after each step.

    Attributes:
        orders: indices of parts, shape (orders, parts).
        curves: from nothing hidden to all hidden, float64, shape (orders, parts + 1).
    """

    orders: NDArray[np.intp]
    curves: NDArray[np.float64]

    def importance(self) -> NDArray[np.float64]:
        """The mean of what hiding each part costs in its turn, shape (parts,); their sum is the whole fall."""
        costs = -np.diff(self.curves)
        by_part = np.empty_like(costs)
        np.put_along_axis(by_part, self.orders, costs, axis=1)
        return by_part.mean(axis=0)


def try_random_orders(occluder: Occluder, listener: Listener, *, rng: np.random.Generator, orders: int = 8) -> Orders:
    """Hide the parts in random orders, each of them also backwards.

    Args:
        occluder: of the window.
        listener: the model.
        orders: how many, even.
        rng: draws them.
    """
    drawn = [rng.permutation(occluder.parts) for _ in range(orders // 2)]
    return try_orders(occluder, listener, [order for each in drawn for order in (each, each[::-1])])


def try_orders(occluder: Occluder, listener: Listener, orders: Sequence[NDArray[np.intp]]) -> Orders:
    """Hide the parts in these orders; what several of them share is asked once."""
    steps = [[frozenset(order[:count].tolist()) for count in range(len(order) + 1)] for order in orders]
    states = list(dict.fromkeys(state for each in steps for state in each))
    windows = [occluder.hide(np.isin(np.arange(occluder.parts), list(state))) for state in states]
    answers = dict(zip(states, listener(windows), strict=True))
    return Orders(np.stack(orders), np.array([[answers[state] for state in each] for each in steps]))


def hide_each(occluder: Occluder, listener: Listener, instead: Samples | None = None) -> NDArray[np.float64]:
    """Compute the probability with each part replaced alone, float64, shape (parts,)."""
    return listener([occluder.hide(row, instead) for row in np.eye(occluder.parts, dtype=bool)])


def hide_cells(occluder: Occluder, listener: Listener) -> NDArray[np.float64]:
    """Compute the probability with each band of each part replaced alone, float64, shape (BANDS, parts)."""
    windows = [window for part in range(occluder.parts) for window in occluder.hide_cells(part)]
    return listener(windows).reshape(occluder.parts, BANDS).T
