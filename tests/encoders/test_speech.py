"""The speech encoder: its bands against librosa, its network against a reference in numpy, its statistics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.special

from serctl.audio.segments import read_audio
from serctl.encoders import speech
from serctl.features import FeatureConfig, functional_names
from serctl.features.compute import compute_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[1] / "samples" / "tom-sad.flac"
LAYERS = 2


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    return read_audio(SAMPLE, sample_rate=speech.SAMPLE_RATE)


def weights(seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def linear(name: str, outputs: int, inputs: int, *taps: int) -> dict[str, NDArray[np.float32]]:
        scale = (inputs * max(*taps, 1) if taps else inputs) ** -0.5
        kernel = rng.normal(0, scale, (outputs, inputs, *taps)).astype(np.float32)
        return {f"{name}.weight": kernel, f"{name}.bias": rng.normal(0, 0.1, outputs).astype(np.float32)}

    units = speech.UNITS
    found = linear("conv1", units, speech.N_MELS, 3) | linear("conv2", units, units, 3)
    for layer in range(LAYERS):
        attention, feed_forward = f"layer_{layer}.self_attention", f"layer_{layer}.ffn"
        found |= linear(f"{attention}.linear_0", 3 * units, units) | linear(f"{attention}.linear_1", units, units)
        found |= linear(f"{feed_forward}.linear_0", 4 * units, units)
        found |= linear(f"{feed_forward}.linear_1", units, 4 * units)
        for part in (attention, feed_forward):
            found[f"{part}.layer_norm.gamma"] = rng.uniform(0.5, 1.5, units).astype(np.float32)
            found[f"{part}.layer_norm.beta"] = rng.normal(0, 0.1, units).astype(np.float32)
    return found


def reference(log_mel: NDArray[np.float32], given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float64]]:
    """The encoder in float64 with loops over taps and heads, written from the paper and not from our network."""
    w = {name: values.astype(np.float64) for name, values in given.items()}
    x = convolve(convolve(log_mel.astype(np.float64), w, "conv1", 1), w, "conv2", 2)
    x = x + speech.position_encodings()[: len(x)]
    states = []
    for layer in range(LAYERS):
        x = x + attend(x, w, f"layer_{layer}.self_attention")
        name = f"layer_{layer}.ffn"
        hidden = gelu(normalise(x, w, name) @ w[f"{name}.linear_0.weight"].T + w[f"{name}.linear_0.bias"])
        x = x + hidden @ w[f"{name}.linear_1.weight"].T + w[f"{name}.linear_1.bias"]
        states.append(x)
    return states


def convolve(x, w, name, stride):
    padded = np.pad(x, ((1, 1), (0, 0)))
    kernel = w[f"{name}.weight"]
    rows = [sum(kernel[:, :, tap] @ padded[time + tap] for tap in range(3)) for time in range(0, len(x), stride)]
    return gelu(np.array(rows) + w[f"{name}.bias"])


def attend(x, w, name):
    size = speech.UNITS // speech.HEADS
    projected = normalise(x, w, name) @ w[f"{name}.linear_0.weight"].T + w[f"{name}.linear_0.bias"]
    heads = []
    for head in range(speech.HEADS):
        first = head * size
        query, key, value = (projected[:, part * speech.UNITS + first :][:, :size] for part in range(3))
        scores = scipy.special.softmax(query @ key.T / np.sqrt(size), axis=1)
        heads.append(scores @ value)
    return np.concatenate(heads, axis=1) @ w[f"{name}.linear_1.weight"].T + w[f"{name}.linear_1.bias"]


def normalise(x, w, name):
    centred = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return centred * w[f"{name}.layer_norm.gamma"] + w[f"{name}.layer_norm.beta"]


def gelu(x):
    return 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))


def test_the_filterbank_is_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=speech.SAMPLE_RATE, n_fft=speech.N_FFT, n_mels=speech.N_MELS)
    np.testing.assert_allclose(speech.mel_filterbank().T, expected, atol=1e-7)


def test_the_network_is_the_reference(tensorflow: None) -> None:
    from serctl.encoders.speech_network import build_encoder

    given = weights(seed=1)
    log_mel = np.random.default_rng(2).normal(0, 0.5, (40, speech.N_MELS)).astype(np.float32)
    model = build_encoder(given, layers=LAYERS)
    found = model([log_mel[None, :, None], speech.position_encodings()[None, :20]])
    for layer, expected in enumerate(reference(log_mel, given), start=1):
        np.testing.assert_allclose(np.asarray(found[f"layer_{layer}"])[0], expected, atol=1e-4)


def test_the_level_of_a_window_does_not_matter(samples: NDArray[np.float32]) -> None:
    """The architecture `speech` rests on these features alone."""
    loud, *quiet = speech.encode_speech([samples * np.float32(gain) for gain in (1, 0.03, 0.001)])
    for found in quiet:
        np.testing.assert_allclose(found.statistics, loud.statistics, atol=2e-3)
        np.testing.assert_allclose(found.states, loud.states, atol=2e-2)


def test_silence_around_the_speech_does_not_matter(samples: NDArray[np.float32]) -> None:
    bands = speech.speech_bands(samples)
    padded = speech.speech_bands(np.concatenate([np.zeros(8000, np.float32), samples, np.zeros(16000, np.float32)]))
    assert abs(len(padded.log_mel) - len(bands.log_mel)) <= 2


@pytest.mark.parametrize("length", [1, 100, 399, 401, 1_000])
def test_the_shortest_windows_have_statistics(length: int) -> None:
    (found,) = speech.encode_speech([np.full(length, 0.1, np.float32)])
    assert found.statistics.shape == (len(speech.speech_names()),)
    assert np.isfinite(found.statistics).all()
    assert found.states.shape == (1, speech.UNITS)
    assert np.isfinite(found.states).all()


def test_digital_silence_has_statistics() -> None:
    (found,) = speech.encode_speech([np.zeros(16_000, np.float32)])
    assert np.isfinite(found.statistics).all()
    assert np.isfinite(found.states).all()


def test_states_are_means_of_the_tokens_that_the_statistics_are_of(samples: NDArray[np.float32]) -> None:
    """Their mean is that of the layer, up to the few tokens at the end that fill no state."""
    (found,) = speech.encode_speech([samples])
    tokens = int(speech.speech_bands(samples).speech.sum())
    assert found.states.shape == (tokens // speech.STATE_TOKENS, speech.UNITS)
    assert found.states.dtype == np.float16
    chosen = speech.speech_bands(samples).speech
    layer = speech.encode_bands(speech.speech_bands(samples).log_mel)[speech.STATE_LAYER - 1][chosen]
    np.testing.assert_allclose(found.states[3], layer[12:16].mean(axis=0), atol=2e-2)
    names = speech.speech_names()
    means = [names.index(f"{speech.PREFIX}{speech.STATE_LAYER}_{unit:03d}_mean") for unit in range(speech.UNITS)]
    np.testing.assert_allclose(found.statistics[means], layer.mean(axis=0), atol=1e-5)


def test_windows_do_not_influence_each_other(samples: NDArray[np.float32]) -> None:
    alone = speech.encode_speech([samples])
    beside = speech.encode_speech([samples[:9_000], samples])
    np.testing.assert_array_equal(beside[1].statistics, alone[0].statistics)
    np.testing.assert_array_equal(beside[1].states, alone[0].states)


def test_the_statistics_follow_the_functionals(samples: NDArray[np.float32]) -> None:
    config = FeatureConfig(speech_encoder=True)
    names = functional_names(config)
    assert names[-len(speech.speech_names()) :] == speech.speech_names()
    (features,) = compute_windows([samples], config)
    assert features.functionals.shape == (len(names),)
    (plain,) = compute_windows([samples], FeatureConfig())
    np.testing.assert_array_equal(features.functionals[: len(plain.functionals)], plain.functionals)
