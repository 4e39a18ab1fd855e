from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.features import FeatureConfig, compute_features, config

CHANGES = {
    "sample_rate": 22_050,
    "window_s": 4.0,
    "frame_s": 0.05,
    "hop_s": 0.02,
    "n_fft": 2048,
    "n_mels": 40,
    "mel_low_hz": 20.0,
    "mel_high_hz": 4_000.0,
    "n_mfcc": 13,
    "f0_low_hz": 75.0,
    "f0_high_hz": 400.0,
    "trim_db": 40.0,
    "voice_encoder": True,
    "speech_encoder": True,
}


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FeatureConfig().n_mels = 40


def test_equal_configs_are_one_key_of_a_dict():
    assert len({FeatureConfig(), FeatureConfig(n_mels=64), FeatureConfig(n_mels=40)}) == 2


def test_every_field_has_a_change_to_test():
    assert {*CHANGES, "text_encoder", "speech_states"} == {field.name for field in dataclasses.fields(FeatureConfig)}


def test_digest_depends_on_every_field():
    digests = {FeatureConfig(**{name: value}).digest() for name, value in CHANGES.items()}
    assert len(digests | {FeatureConfig().digest()}) == len(CHANGES) + 1


def test_states_are_those_of_the_speech_encoder():
    config = FeatureConfig(speech_encoder=True, speech_states=True)
    assert config.digest() != FeatureConfig(speech_encoder=True).digest()
    assert config.n_states == 57  # of 80 ms, in 1.5 windows of 3 s
    assert FeatureConfig(speech_encoder=True).n_states == 0
    with pytest.raises(ConfigError, match="expected the speech encoder for its states"):
        FeatureConfig(speech_states=True)


def test_the_features_of_speech_are_found_whether_or_not_words_are_wanted():
    assert FeatureConfig(text_encoder=True).digest() == FeatureConfig().digest()
    assert FeatureConfig(text_encoder=True) != FeatureConfig()


def test_what_was_written_before_there_was_a_voice_encoder_is_still_read():
    values = FeatureConfig().to_dict()
    assert "voice_encoder" not in values
    assert FeatureConfig.from_dict(values) == FeatureConfig()
    with_encoder = FeatureConfig(voice_encoder=True)
    assert FeatureConfig.from_dict(json.loads(json.dumps(with_encoder.to_dict()))) == with_encoder


@pytest.mark.parametrize("other", [{"sample_rate": 22_050}, {"hop_s": 0.005}])
def test_the_voice_encoder_needs_the_rates_it_was_trained_on(other):
    with pytest.raises(ConfigError, match=r"sample_rate and hop_s of 16000 and 0\.01 for the voice encoder"):
        FeatureConfig(voice_encoder=True, **other)


def test_whether_there_is_a_voice_encoder_is_true_or_false():
    with pytest.raises(ConfigError, match=r"voice_encoder to be true or false\. Received: yes"):
        FeatureConfig(voice_encoder="yes")


def test_digest_depends_on_the_version_of_the_feature_code(monkeypatch):
    before = FeatureConfig().digest()
    monkeypatch.setattr(config, "FEATURE_VERSION", config.FEATURE_VERSION + 1)
    assert FeatureConfig().digest() != before


def test_digest_is_the_same_in_every_process():
    code = "from serctl.features.config import FeatureConfig; print(FeatureConfig(n_mels=40).digest())"
    digests = {FeatureConfig(n_mels=40).digest()}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(run.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == 32


def test_a_config_survives_json():
    for name, value in CHANGES.items():
        original = FeatureConfig(**{name: value})
        restored = FeatureConfig.from_dict(json.loads(json.dumps(original.to_dict())))
        assert restored == original
        assert restored.digest() == original.digest()


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ConfigError, match="n_chroma"):
        FeatureConfig.from_dict({**FeatureConfig().to_dict(), "n_chroma": 12})


def test_a_missing_parameter_is_refused():
    values = FeatureConfig().to_dict()
    del values["trim_db"]
    with pytest.raises(ConfigError, match=r"expected the parameters .*trim_db"):
        FeatureConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sample_rate": 8_000}, "sample_rate between 10000 and 768000 Hz. Received: 8000"),
        ({"window_s": 0.09}, "window_s between 0.1 and 60"),
        ({"window_s": 61.0}, "window_s between 0.1 and 60"),
        ({"hop_s": 0.0}, "hop_s of at least one sample"),
        ({"hop_s": -0.01}, "hop_s of at least one sample"),
        ({"hop_s": 1e-5}, "hop_s of at least one sample"),
        ({"hop_s": 0.05}, "at most frame_s"),
        ({"n_fft": 512}, r"n_fft of at least one frame and at most 65536. Received: \(512, 640\)"),
        ({"mel_low_hz": -1.0}, "mel_low_hz < mel_high_hz"),
        ({"mel_low_hz": 7_600.0}, "mel_low_hz < mel_high_hz"),
        ({"mel_high_hz": 8_001.0}, "sample_rate / 2"),
        ({"n_mfcc": 3}, "4 <= n_mfcc < n_mels"),
        ({"n_mfcc": 64}, "4 <= n_mfcc < n_mels"),
        ({"f0_low_hz": 49.0}, "two periods of f0_low_hz in a frame"),
        ({"frame_s": 0.03}, "two periods of f0_low_hz in a frame"),
        ({"f0_low_hz": 500.0}, "f0_low_hz < f0_high_hz"),
        ({"f0_high_hz": 1_001.0}, "f0_high_hz <= 1000"),
        ({"trim_db": 0.0}, "trim_db above 0"),
    ],
)
def test_a_value_out_of_range_is_refused(values, expected):
    with pytest.raises(ConfigError, match=expected):
        FeatureConfig(**values)


@pytest.mark.parametrize("value", ["16000", None, True, [1], float("nan"), float("inf")])
def test_what_is_no_number_is_refused_by_every_field(value):
    for name in [name for name in CHANGES if not name.endswith("_encoder")]:
        with pytest.raises(ConfigError, match=f"{name} to be a .*number"):
            FeatureConfig(**{name: value})


def test_a_count_is_whole():
    for name in ("sample_rate", "n_fft", "n_mels", "n_mfcc"):
        with pytest.raises(ConfigError, match=f"{name} to be a whole number. Received: 640.5"):
            FeatureConfig(**{name: 640.5})


def test_lengths_are_in_samples():
    configured = FeatureConfig(sample_rate=44_100, n_fft=2048)
    assert configured.frame_length == 1_764
    assert configured.hop_length == 441


@pytest.mark.parametrize(("window_s", "frames"), [(0.1, 16), (3.0, 451)])
def test_the_longest_window_has_a_frame_at_every_hop(window_s, frames):
    configured = FeatureConfig(window_s=window_s)
    noise = np.random.default_rng(0).standard_normal(round(1.5 * window_s * 16_000)).astype(np.float32)
    assert len(compute_features(noise, configured).log_mel) == frames
