"""Short-time Fourier transform and its inverse, in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERLAP = 4
"""Frames that cover a sample."""


def stft(samples: NDArray[np.floating], length: int) -> NDArray[np.complexfloating]:
    """Compute the short-time spectrum with a Hann window; frame i is centred on sample i * length / OVERLAP.

    Args:
        samples: shape (n,), n at least 1.
        length: samples of a frame, a multiple of OVERLAP.

    Returns:
        Complex, shape (frames, length // 2 + 1).
    """
    hop = length // OVERLAP
    padded = np.pad(samples, (length // 2, length // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    return np.fft.rfft(frames * _hann(length))


def istft(spectrum: NDArray[np.complexfloating], length: int, n: int) -> NDArray[np.floating]:
    """Compute the signal whose short-time spectrum is nearest (Griffin & Lim 1984, doi:10.1109/TASSP.1984.1164317).

    Args:
        spectrum: as stft gives it.
        length: samples of a frame.
        n: samples of the signal.

    Returns:
        Shape (n,).
    """
    hop, window = length // OVERLAP, _hann(length)
    frames = np.fft.irfft(spectrum, length) * window
    total = np.zeros((len(frames) + OVERLAP - 1) * hop)
    weight = np.zeros_like(total)
    for index, frame in enumerate(frames):
        total[index * hop : index * hop + length] += frame
        weight[index * hop : index * hop + length] += window**2
    return (total / np.maximum(weight, 1e-9))[length // 2 : length // 2 + n]


def _hann(length: int) -> NDArray[np.float64]:
    return np.asarray(np.hanning(length + 1)[:-1])
