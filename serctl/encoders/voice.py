"""Deep features of a window: statistics over the frames of a pretrained voice encoder.

The encoder was trained to distinguish thousands of speakers. Its last layer identifies the speaker; the second one,
whose statistics are used, also encodes the manner of speaking. The first two layers are computed in numpy with frozen
weights, so that prediction needs no TensorFlow.
Sources: Wan et al. 2018, doi:10.1109/ICASSP.2018.8462665 (the encoder, GE2E); the weights are those of Resemblyzer
0.1.4 (Apache-2.0), see serctl/pretrained/voice-encoder.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


WEIGHTS = Path(__file__).parents[1] / "pretrained" / "voice-encoder" / "weights.npz"

PARAMETERS = 829_440
"""Number of weights, counted with those of a network that uses the encoder."""

CITATION = "Voice encoder: Resemblyzer 0.1.4 (Apache-2.0), Wan et al. 2018, doi:10.1109/ICASSP.2018.8462665"

N_MELS, MEL_HIGH_HZ, UNITS = 40, 8_000.0, 256
"""Mel bands, not their logarithm, that the encoder was trained on; hidden units of a layer."""

LEVEL = np.float32(10 ** (-30 / 10))
"""Mean power that windows are scaled to, -30 dB re full scale, as Resemblyzer does for quiet recordings."""

PREFIX = "encoder_"
"""Prefix of the names of the deep features."""

STATISTICS = ("mean", "sd", "change")

TOGETHER = 16
"""Windows encoded in one batch, which halves the time."""

_BLOCK = 300
"""Frames whose input products are computed in one batch; bounds the memory of long windows."""


class _Layer(NamedTuple):
    """Weights of an LSTM layer; gates in the order input, forget, output, candidate."""

    kernel: FloatArray
    recurrent: FloatArray
    bias: FloatArray


@lru_cache(maxsize=1)
def voice_names() -> tuple[str, ...]:
    """Return the names of the features, in the order of the columns of encode_voices."""
    return tuple(f"{PREFIX}{unit:03d}_{statistic}" for statistic in STATISTICS for unit in range(UNITS))


def encode_voices(windows: Sequence[FloatArray]) -> FloatArray:
    """Compute mean, standard deviation and mean absolute change from frame to frame of each unit.

    Args:
        windows: mel bands of each window (features.deep.voice_bands), float32, shape (frames, N_MELS).

    Returns:
        float32, shape (windows, len(STATISTICS) * UNITS), statistic by statistic.
    """
    return np.concatenate([_encode(windows[first : first + TOGETHER]) for first in range(0, len(windows), TOGETHER)])


def _encode(windows: Sequence[FloatArray]) -> FloatArray:
    frames = np.zeros((max(map(len, windows)), len(windows), N_MELS), np.float32)
    for index, bands in enumerate(windows):
        frames[: len(bands), index] = bands
    states = encode_frames(frames)
    return np.stack([_statistics(states[: len(bands), index]) for index, bands in enumerate(windows)])


def _statistics(states: FloatArray) -> FloatArray:
    change = np.abs(np.diff(states, axis=0)).mean(axis=0) if len(states) > 1 else np.zeros(UNITS, np.float32)
    return np.concatenate([states.mean(axis=0), states.std(axis=0), change])


def encode_frames(frames: FloatArray) -> FloatArray:
    """Compute the second layer's states; float32, (frames, windows, N_MELS) to (frames, windows, UNITS)."""
    for layer in _layers():
        frames = _run(layer, frames)
    return frames


def _run(layer: _Layer, frames: FloatArray) -> FloatArray:
    """Compute the hidden states, float32, shape (frames, windows, UNITS).

    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
    """
    states = np.empty((*frames.shape[:2], UNITS), np.float32)
    hidden = cell = np.zeros(states.shape[1:], np.float32)
    for time, state in enumerate(states):
        if time % _BLOCK == 0:
            driven = frames[time : time + _BLOCK] @ layer.kernel + layer.bias
        squashed = np.tanh(driven[time % _BLOCK] + hidden @ layer.recurrent)
        gates = np.float32(0.5) + np.float32(0.5) * squashed[:, : 3 * UNITS]
        cell = gates[:, UNITS : 2 * UNITS] * cell + gates[:, :UNITS] * squashed[:, 3 * UNITS :]
        hidden = state[:] = gates[:, 2 * UNITS :] * np.tanh(cell)
    return states


@lru_cache(maxsize=1)
def _layers() -> tuple[_Layer, ...]:
    # sigmoid(x) = (1 + tanh(x / 2)) / 2: with the halves folded into the weights, one tanh serves all gates.
    halves = np.repeat(np.array([0.5, 1], np.float32), [3 * UNITS, UNITS])
    return tuple(_Layer(*(array * halves for array in layer)) for layer in read_weights())


def read_weights() -> tuple[_Layer, ...]:
    """Load the two layers: kernel (inputs, 4 UNITS), recurrent kernel (UNITS, 4 UNITS), bias (4 UNITS,), float32."""
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        parts: dict[str, NDArray[np.float32]] = {name: arrays[name].astype(np.float32) for name in arrays.files}
    return tuple(_Layer(*(parts[f"{part}_{layer}"] for part in _Layer._fields)) for layer in (1, 2))
