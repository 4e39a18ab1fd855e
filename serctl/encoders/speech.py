"""Statistics of a window's speech in the audio encoder of Whisper tiny.en.

The encoder was trained to transcribe English. Its lower layers still hold how something was said: the two convolutions
and the first LAYERS transformer layers are here, frozen, run by LiteRT; nothing above them is computed. The network
itself is in speech_network.py, which only conversion and tests import.

Source: Radford et al. 2022, arXiv:2212.04356; the weights (MIT): see serctl/pretrained/speech-encoder.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatArray = NDArray[np.float32]

MODEL = Path(__file__).parents[1] / "pretrained" / "speech-encoder" / "encoder.tflite"

PARAMETERS = 5_858_688
"""Weights of the encoder, to be counted with those of a network that rests on it."""

CITATION = "Speech encoder: Whisper tiny.en (MIT), Radford et al. 2022, arXiv:2212.04356"

SAMPLE_RATE, N_FFT, HOP, N_MELS = 16_000, 400, 160, 80
"""Hz; samples of a frame and from one frame to the next; mel bands that the encoder was trained on."""

UNITS, HEADS, LAYERS = 384, 6, 3
"""Width and attention heads of a layer; layers that are computed."""

MAX_FRAMES = 1_000
"""Most frames of a window, 10 s; what is longer is cut off."""

LEVEL = 10 ** (-26 / 10)
"""Mean power of the loud frames that a window is brought to, -26 dB re full scale."""

LOUD_DB = 30.0
"""Frames within this many decibels of the loudest one are loud."""

SPEECH_DB = 35.0
"""Frames within this many decibels of the loudest one count as speech."""

PREFIX = "speech_"
"""Start of the names of these features."""

STATISTICS = ("mean", "sd")

STATE_LAYER, STATE_TOKENS = 2, 4
"""Layer that the states of Encoded are of; tokens of speech whose mean is one of them."""

STATE_S = STATE_TOKENS * 2 * HOP / SAMPLE_RATE
"""Seconds of speech in a state: a token is two frames."""

_FLOOR = 1e-10


class Bands(NamedTuple):
    """What the encoder takes of a window.

    log_mel: float32, shape (frames, N_MELS), an even number of frames. speech: bool, shape (frames // 2,), for each
    token (two frames) whether it is speech.
    """

    log_mel: FloatArray
    speech: NDArray[np.bool_]


class Encoded(NamedTuple):
    """What the encoder says of a window.

    statistics: mean and standard deviation of every unit over the speech, float32, shape (len(speech_names()),).
    states: mean of STATE_LAYER over every STATE_TOKENS tokens of speech, float16, shape (states, UNITS), at least 1.
    """

    statistics: FloatArray
    states: NDArray[np.float16]


@lru_cache(maxsize=1)
def speech_names() -> tuple[str, ...]:
    """Return the names of the features, in the order of encode_speech's columns."""
    return tuple(
        f"{PREFIX}{layer}_{unit:03d}_{statistic}"
        for layer in range(1, LAYERS + 1)
        for statistic in STATISTICS
        for unit in range(UNITS)
    )


def encode_speech(windows: Sequence[FloatArray]) -> list[Encoded]:
    """Compute the statistics of each window's speech, and its states one after the other.

    Args:
        windows: samples of each, float32, shape (n,), mono at SAMPLE_RATE Hz.
    """
    return [_encoded(speech_bands(samples)) for samples in windows]


def speech_bands(samples: FloatArray) -> Bands:
    """Compute Whisper's log-mel spectrogram from the first to the last frame of speech.

    The window is first brought to LEVEL, so that its own level does not matter.

    Args:
        samples: float32, shape (n,), n at least 1, mono at SAMPLE_RATE Hz.

    Returns:
        The bands, at most MAX_FRAMES of them.

    Source: Radford et al. 2022, arXiv:2212.04356, whisper/audio.py.
    """
    power = _power(_at_level(samples))
    level = power.sum(axis=1)
    loud = level >= max(float(level.max()) * 10 ** (-SPEECH_DB / 10), _FLOOR)
    active = _even_range(loud)
    log_mel = np.log10(np.maximum(power[active] @ mel_filterbank(), np.float32(_FLOOR)))
    log_mel = (np.maximum(log_mel, log_mel.max() - np.float32(8)) + np.float32(4)) / np.float32(4)
    return Bands(log_mel, loud[active].reshape(-1, 2).any(axis=1))


def encode_bands(log_mel: FloatArray) -> list[FloatArray]:
    """Run the encoder; returns the states behind each layer, each float32, shape (frames // 2, UNITS)."""
    return _encoder().run(log_mel)


def _encoded(bands: Bands) -> Encoded:
    # A window of silence has no token of speech: all of them stand for it.
    chosen = bands.speech if bands.speech.any() else np.ones_like(bands.speech)
    states = [state[chosen] for state in encode_bands(bands.log_mel)]
    statistics = np.concatenate([part for state in states for part in (state.mean(axis=0), state.std(axis=0))])
    return Encoded(statistics, _thinned(states[STATE_LAYER - 1]))


def _thinned(tokens: FloatArray) -> NDArray[np.float16]:
    """Mean of every STATE_TOKENS tokens; a rest that is shorter is left out unless it is all there is."""
    groups = max(len(tokens) // STATE_TOKENS, 1)
    whole = tokens[: groups * STATE_TOKENS]
    return whole.reshape(groups, -1, UNITS).mean(axis=1).astype(np.float16)


def _at_level(samples: FloatArray) -> FloatArray:
    """Remove the constant part (DC) and bring the loud frames to LEVEL; digital silence stays as it is."""
    samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
    frames = _frames(samples)
    power = np.einsum("ij,ij->i", frames, frames) / np.float32(N_FFT)
    loud = power[power >= power.max() * np.float32(10 ** (-LOUD_DB / 10))]
    return samples * np.float32(np.sqrt(LEVEL / max(float(loud.mean()), _FLOOR)))


def _frames(samples: FloatArray) -> FloatArray:
    """Centred frames of N_FFT samples every HOP; float32, shape (frames, N_FFT), at least two frames."""
    padded = np.pad(samples, N_FFT // 2, mode="reflect" if len(samples) > N_FFT // 2 else "constant")
    padded = np.pad(padded, (0, max(N_FFT + HOP - len(padded), 0)))
    frames: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    return frames[: max(len(samples) // HOP, 2)]


def _power(samples: FloatArray) -> FloatArray:
    """Power spectrum of centred frames; float32, shape (frames, N_FFT // 2 + 1), at least two frames."""
    spectrum = np.fft.rfft(_frames(samples) * _hann(), axis=-1)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def _even_range(loud: NDArray[np.bool_]) -> slice:
    """From the first to the last frame of speech: an even number, at least 2 and at most MAX_FRAMES."""
    found = np.flatnonzero(loud)
    first, end = (int(found[0]), int(found[-1]) + 1) if found.size else (0, 2)
    length = min(max((end - first) // 2 * 2, 2), MAX_FRAMES)
    first = min(first, len(loud) - length)
    return slice(first, first + length)


@lru_cache(maxsize=1)
def _hann() -> FloatArray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


@lru_cache(maxsize=1)
def mel_filterbank() -> FloatArray:
    """Return Slaney's triangular filters of unit area from 0 to 8 kHz; float32, shape (N_FFT // 2 + 1, N_MELS)."""
    top = 15 + np.log(8_000 / 1_000) / (np.log(6.4) / 27)
    mels = np.linspace(0, top, N_MELS + 2)
    edges = np.where(mels < 15, mels * (200 / 3), 1000 * np.exp((mels - 15) * (np.log(6.4) / 27)))
    hz = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT)
    rising = (hz[:, None] - edges[None, :-2]) / np.diff(edges)[None, :-1]
    falling = (edges[None, 2:] - hz[:, None]) / np.diff(edges)[None, 1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)


@lru_cache(maxsize=1)
def position_encodings() -> FloatArray:
    """Return Whisper's sinusoidal position encodings of MAX_FRAMES // 2 tokens; float32, shape (tokens, UNITS)."""
    scales = np.exp(-np.log(10_000) / (UNITS // 2 - 1) * np.arange(UNITS // 2))
    angles = np.arange(MAX_FRAMES // 2)[:, None] * scales
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class _Encoder:
    """The network in LiteRT on one thread, for windows of any length up to MAX_FRAMES."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet_stderr():
            self._interpreter = Interpreter(model_path=str(MODEL), num_threads=1)
            runner = self._interpreter.get_signature_runner()
        # Signatures keep the names that conversion gave; the tensors' own names change with the converter.
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._bands, self._positions = inputs["bands"]["index"], inputs["positions"]["index"]
        self._outputs = [outputs[name]["index"] for name in sorted(outputs)]
        self._tokens = 0

    def run(self, log_mel: FloatArray) -> list[FloatArray]:
        """Return the states behind each layer."""
        tokens = len(log_mel) // 2
        if tokens != self._tokens:
            self._resize(tokens)
        self._interpreter.set_tensor(self._bands, log_mel[None, :, None, :])
        self._interpreter.set_tensor(self._positions, position_encodings()[None, :tokens])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]

    def _resize(self, tokens: int) -> None:
        self._interpreter.resize_tensor_input(self._bands, (1, 2 * tokens, 1, N_MELS))
        self._interpreter.resize_tensor_input(self._positions, (1, tokens, UNITS))
        with quiet_stderr():
            self._interpreter.allocate_tensors()
        self._tokens = tokens


@lru_cache(maxsize=1)
def _encoder() -> _Encoder:
    return _Encoder()
