from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serctl.audio.segments import read_audio
from serctl.encoders import voice as voice_encoder
from serctl.encoders.voice import (
    LEVEL,
    N_MELS,
    PARAMETERS,
    TOGETHER,
    UNITS,
    encode_frames,
    encode_voices,
    read_weights,
    voice_names,
)
from serctl.features import (
    FeatureConfig,
    compute_features,
    functional_names,
    reader,
    spectral,
)
from serctl.features.compute import compute_windows
from serctl.features.deep import voice_bands

CONFIG = FeatureConfig(voice_encoder=True)
SAMPLE = Path(__file__).parents[1] / "samples" / "tom-sad.flac"


def speech() -> np.ndarray:
    return read_audio(SAMPLE, sample_rate=CONFIG.sample_rate)


def deep(samples: np.ndarray) -> np.ndarray:
    return compute_features(samples, CONFIG).functionals[-len(voice_names()) :]


def test_the_layers_are_those_of_keras(tensorflow):
    from keras import layers

    frames = np.random.default_rng(0).random((40, N_MELS), dtype=np.float32)
    expected = frames[None]
    for kernel, recurrent, bias in read_weights():
        lstm = layers.LSTM(UNITS, return_sequences=True)
        lstm.build(expected.shape)
        # keras has the gates input, forget, candidate, output; ours have the candidate last
        order = [np.concatenate([np.arange(UNITS) + gate * UNITS for gate in (0, 1, 3, 2)])]
        lstm.set_weights([array[..., order[0]] for array in (kernel, recurrent, bias)])
        expected = np.asarray(lstm(expected))
    np.testing.assert_allclose(encode_frames(frames[:, None])[:, 0], expected[0], atol=1e-5)
    assert sum(array.size for layer in read_weights() for array in layer) == PARAMETERS


def test_the_hand_made_functionals_stay_and_the_deep_ones_follow():
    plain, both = (compute_features(speech(), config).functionals for config in (FeatureConfig(), CONFIG))
    np.testing.assert_array_equal(both[: len(plain)], plain)
    assert functional_names(CONFIG) == (*functional_names(FeatureConfig()), *voice_names())
    assert (both.dtype, both.shape) == (np.float32, (len(functional_names(CONFIG)),))


def test_the_statistics_are_of_the_second_layer_at_the_level_of_its_training():
    power = np.array([0.5, 1.5, 1.0], np.float32)
    spectrum = np.random.default_rng(1).random((3, CONFIG.n_fft // 2 + 1), dtype=np.float32)
    bands = FeatureConfig(n_mels=N_MELS, mel_low_hz=0, mel_high_hz=8_000)
    heard = voice_bands(spectrum, power, CONFIG)
    np.testing.assert_allclose(heard, spectrum @ spectral.mel_filterbank(bands) * LEVEL, rtol=1e-5)
    states = encode_frames(heard[:, None])[:, 0]
    found = encode_voices([heard])[0].reshape(3, UNITS)
    np.testing.assert_allclose(found[0], states.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[1], states.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[2], np.abs(np.diff(states, axis=0)).mean(axis=0), atol=1e-6)
    assert found.std() > 0.01


def test_windows_of_different_length_are_the_same_together_and_alone():
    pieces = [speech(), speech()[4_000:9_000], *[speech()[:20_000]] * TOGETHER]
    for together, samples in zip(compute_windows(pieces, CONFIG), pieces, strict=True):
        np.testing.assert_allclose(together.functionals, compute_features(samples, CONFIG).functionals, atol=1e-5)


def test_a_long_window_is_encoded_in_blocks_as_it_is_at_once(monkeypatch):
    frames = np.random.default_rng(2).random((20, 1, N_MELS), dtype=np.float32)
    at_once = encode_frames(frames)
    monkeypatch.setattr(voice_encoder, "_BLOCK", 7)
    np.testing.assert_allclose(encode_frames(frames), at_once, atol=1e-6)


def test_chunks_of_the_cache_hold_whole_groups():
    assert reader.CHUNK_WINDOWS % TOGETHER == 0


def test_the_level_of_a_recording_does_not_matter():
    np.testing.assert_allclose(deep(speech() * np.float32(0.03)), deep(speech()), atol=1e-3)


def test_the_bands_and_the_cepstrum_of_the_hand_made_features_do_not_matter():
    other = FeatureConfig(voice_encoder=True, n_mels=80, n_mfcc=45)
    found = compute_features(speech(), other).functionals[-len(voice_names()) :]
    np.testing.assert_array_equal(found, deep(speech()))


def test_how_something_is_said_matters():
    other = read_audio(SAMPLE.with_name("tom-angry.flac"), sample_rate=CONFIG.sample_rate)
    assert np.abs(deep(other) - deep(speech())).max() > 0.1


@pytest.mark.parametrize("samples", [np.zeros(16_000, np.float32), np.full(1, 0.5, np.float32)])
def test_silence_and_a_single_sample_have_finite_features(samples):
    found = deep(samples)
    assert np.isfinite(found).all()
    assert found.shape == (3 * UNITS,)
