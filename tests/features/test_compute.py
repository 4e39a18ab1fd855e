"""The whole feature set: each column is what its name says, and no input breaks it."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.signal

from serctl.features import FeatureConfig, compute_features, functional_names, lld_names
from serctl.features.descriptors import SPECTRAL, VOICE

RATE = 16_000
CONFIG = FeatureConfig()


def column(features, name):
    return features.lld[:, lld_names(CONFIG).index(name)]


def functional(features, name):
    return features.functionals[functional_names(CONFIG).index(name)]


def inner(values):
    """Without the frames that reach beyond the signal."""
    return values[3:-3]


def voice(f0_hz, seconds=1.0, amplitude=0.3):
    """Harmonics that fall by 12 dB per octave; f0_hz: a number, or a pitch track of shape (n,)."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, (round(seconds * RATE),))) / RATE
    return (amplitude * sum(np.cos(k * phase) / k**2 for k in range(1, 16))).astype(np.float32)


def noise(seconds, amplitude=0.1):
    return (amplitude * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture
def speech():
    """Voice, noise and voice again, each at a level of its own, over a hiss that keeps every band above -100 dB."""
    return np.concatenate([voice(120, 0.5), noise(0.3, 0.05), voice(180, 0.4, 0.1)]) + noise(1.2, 1e-3)


def whisper():
    b, a = scipy.signal.iirpeak(1_500, 3, fs=RATE)
    return scipy.signal.lfilter(b, a, noise(1)).astype(np.float32)


ODD_INPUTS = {
    "silence": np.zeros(RATE, np.float32),
    "negative zeros": np.full(RATE, -0.0, np.float32),
    "one sample": np.array([0.5], np.float32),
    "one sample of silence": np.zeros(1, np.float32),
    "two samples": np.array([0.5, -0.5], np.float32),
    "10 ms": voice(200)[:160],
    "one hop and a half": voice(200)[:240],
    "DC": np.full(RATE, 0.7, np.float32),
    "square wave at full scale": np.sign(np.sin(2 * np.pi * 110 * np.arange(RATE) / RATE)).astype(np.float32),
    "clipped voice": np.clip(20 * voice(150), -1, 1),
    "sine": np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32),
    "sine at the Nyquist frequency": np.tile(np.array([1, -1], np.float32), RATE // 2),
    "click": np.eye(1, RATE, 5_000, dtype=np.float32)[0],
    "noise": noise(1),
    "whisper": whisper(),
    "inaudible noise": noise(1, 1e-9),
    "denormal numbers": noise(1, 1e-41),
    "a million times full scale": noise(1, 1e6),
    "voice in digital silence": np.pad(voice(150), 8_000),
}


@pytest.mark.parametrize("samples", ODD_INPUTS.values(), ids=ODD_INPUTS.keys())
def test_any_input_has_finite_features_of_consistent_shape(samples):
    features = compute_features(samples, CONFIG)
    frames = len(features.log_mel)
    assert 1 <= frames <= 1 + len(samples) // CONFIG.hop_length
    assert features.log_mel.shape == (frames, CONFIG.n_mels)
    assert features.log_mel.dtype == np.float16
    assert features.lld.shape == (frames, len(lld_names(CONFIG)))
    assert features.lld.dtype == np.float32
    assert features.functionals.shape == (len(functional_names(CONFIG)),)
    assert features.functionals.dtype == np.float32
    assert np.isfinite(features.functionals).all()
    assert np.isfinite(features.log_mel).all()
    assert np.isfinite(features.lld[:, : -len(VOICE)]).all()
    unvoiced = np.isnan(column(features, "f0_hz"))
    assert np.isnan(features.lld[unvoiced, -len(VOICE) :]).all()
    always = [lld_names(CONFIG).index(name) for name in ("f0_semitone", "hnr_db", "h1_h2_db")]
    assert np.isfinite(features.lld[~unvoiced][:, always]).all()
    assert 0 <= features.first_frame <= len(samples) // CONFIG.hop_length


@pytest.mark.parametrize("name", ["silence", "DC", "noise", "whisper", "one sample", "negative zeros"])
def test_what_has_no_voice_has_no_pitch(name):
    features = compute_features(ODD_INPUTS[name], CONFIG)
    assert functional(features, "voiced_share") < 0.05


def test_the_input_is_left_as_it_was(speech):
    before = speech.copy()
    compute_features(speech, CONFIG)
    np.testing.assert_array_equal(speech, before)


def test_log_mel_is_librosas_within_the_steps_of_float16(speech):
    features = compute_features(speech, CONFIG)
    mel = librosa.feature.melspectrogram(
        y=speech - speech.mean(),
        sr=RATE,
        n_fft=CONFIG.n_fft,
        hop_length=CONFIG.hop_length,
        win_length=CONFIG.frame_length,
        center=True,
        pad_mode="constant",
        n_mels=CONFIG.n_mels,
        fmin=CONFIG.mel_low_hz,
        fmax=CONFIG.mel_high_hz,
    )
    reference = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None).T
    frames = slice(features.first_frame, features.first_frame + len(features.log_mel))
    np.testing.assert_allclose(features.log_mel.astype(np.float32), reference[frames], atol=0.06)


def test_columns_are_librosas(speech):
    features = compute_features(speech, CONFIG)
    samples = speech - speech.mean()
    frames = slice(features.first_frame, features.first_frame + len(features.lld))
    rms = librosa.feature.rms(y=samples, frame_length=CONFIG.frame_length, hop_length=160, pad_mode="constant")
    np.testing.assert_allclose(column(features, "level_db"), 20 * np.log10(rms[0, frames]), atol=0.01)
    stft = librosa.stft(samples, n_fft=1024, hop_length=160, win_length=640, pad_mode="constant")
    magnitude = np.abs(stft[:, frames])
    arguments = {"S": magnitude, "sr": RATE, "n_fft": CONFIG.n_fft}
    references = {
        "centroid_hz": librosa.feature.spectral_centroid(**arguments),
        "bandwidth_hz": librosa.feature.spectral_bandwidth(**arguments),
        "rolloff_hz": librosa.feature.spectral_rolloff(**arguments, roll_percent=0.85),
    }
    for name, reference in references.items():
        np.testing.assert_allclose(column(features, name), reference[0], atol=16, err_msg=name)


def test_mfcc_columns_are_librosas_of_the_log_mel(speech):
    features = compute_features(speech, CONFIG)
    reference = librosa.feature.mfcc(S=features.log_mel.astype(np.float32).T, n_mfcc=21)[1:]
    for k in range(1, 21):
        np.testing.assert_allclose(column(features, f"mfcc_{k:02d}"), reference[k - 1], atol=0.2)


def test_a_gain_moves_levels_and_nothing_else(speech):
    loud, quiet = compute_features(speech, CONFIG), compute_features(speech * np.float32(0.25), CONFIG)
    np.testing.assert_allclose(column(loud, "level_db") - column(quiet, "level_db"), 12.04, atol=0.01)
    for name in set(lld_names(CONFIG)) - {"level_db", "loudness"}:
        np.testing.assert_allclose(column(quiet, name), column(loud, name), rtol=1e-3, atol=0.02, err_msg=name)


def test_a_constant_added_changes_nothing(speech):
    plain, shifted = compute_features(speech, CONFIG), compute_features(speech + np.float32(0.25), CONFIG)
    np.testing.assert_allclose(shifted.log_mel, plain.log_mel, atol=0.1)
    np.testing.assert_allclose(column(shifted, "f0_hz"), column(plain, "f0_hz"), rtol=1e-3)


def test_silence_around_the_speech_is_trimmed_and_counted():
    features = compute_features(np.pad(voice(150), (8_000, 4_800)), CONFIG)
    assert features.first_frame == pytest.approx(50, abs=2)
    assert len(features.lld) == pytest.approx(101, abs=4)
    assert functional(features, "active_s") == pytest.approx(1.01, abs=0.04)


def test_voice_and_noise_are_told_apart(speech):
    voiced = ~np.isnan(column(compute_features(speech, CONFIG), "f0_hz"))
    assert voiced[3:47].all()
    assert not voiced[54:76].any()
    assert voiced[84:116].all()


def test_a_voice_45_db_below_the_loudest_frame_is_not_heard():
    samples = np.concatenate([voice(150, 0.4), voice(150, 0.4, 0.3e-2), voice(150, 0.4)])
    audible = compute_features(samples, CONFIG)
    samples[6_400:12_800] /= 2
    inaudible = compute_features(samples, CONFIG)
    assert not np.isnan(column(audible, "f0_hz")[45:75]).any()
    assert np.isnan(column(inaudible, "f0_hz")[45:75]).all()


def test_semitones_count_from_the_lowest_note_of_a_piano(speech):
    features = compute_features(speech, CONFIG)
    expected = librosa.hz_to_midi(column(features, "f0_hz")) - librosa.note_to_midi("A0")
    np.testing.assert_allclose(column(features, "f0_semitone"), expected, atol=1e-3)


@pytest.mark.parametrize("octaves_per_s", [0.0, 0.5, 1.0])
def test_jitter_is_the_relative_change_of_the_period_from_frame_to_frame(octaves_per_s):
    f0_hz = 120 * 2 ** (octaves_per_s * np.arange(RATE) / RATE)
    jitter = inner(column(compute_features(voice(f0_hz), CONFIG), "jitter"))
    assert np.mean(jitter) == pytest.approx(2 ** (octaves_per_s * 0.01) - 1, abs=5e-4)


@pytest.mark.parametrize("db_per_s", [0, 10, 20])
def test_shimmer_is_the_change_of_level_from_frame_to_frame(db_per_s):
    fade = 10 ** (-db_per_s * np.arange(RATE) / RATE / 20)
    shimmer = inner(column(compute_features((voice(200) * fade).astype(np.float32), CONFIG), "shimmer_db"))
    assert np.median(shimmer) == pytest.approx(db_per_s * 0.01, abs=5e-3)


def test_jitter_and_shimmer_end_with_their_voiced_segment(speech):
    features = compute_features(speech, CONFIG)
    voiced = ~np.isnan(column(features, "f0_hz"))
    last = voiced & ~np.append(voiced[1:], False)
    assert last.sum() >= 2
    for name in ("jitter", "shimmer_db"):
        np.testing.assert_array_equal(np.isnan(column(features, name)), ~voiced | last)


@pytest.mark.parametrize("ratio_db", [-6, 0, 6, 12])
def test_level_of_the_first_harmonic_over_the_second(ratio_db):
    time = np.arange(RATE) / RATE
    second = 10 ** (-ratio_db / 20)
    samples = 0.2 * (np.cos(2 * np.pi * 250 * time) + second * np.cos(2 * np.pi * 500 * time + 1))
    features = compute_features((samples + voice(250, amplitude=1e-3)).astype(np.float32), CONFIG)
    assert np.median(inner(column(features, "h1_h2_db"))) == pytest.approx(ratio_db, abs=0.3)


def test_formant_levels_are_relative_to_the_first_harmonic():
    features = compute_features(voice(200), CONFIG)
    spectrum_db = 20 * np.log10(np.abs(librosa.stft(voice(200), n_fft=1024, hop_length=160, win_length=640)))
    frame = 50
    for name in ("f1", "f2", "f3"):
        at_formant, at_f0 = (
            spectrum_db[round(hz / RATE * 1024) - 1 : round(hz / RATE * 1024) + 2, frame].max()
            for hz in (column(features, f"{name}_hz")[frame], 200)
        )
        assert column(features, f"{name}_level_db")[frame] == pytest.approx(at_formant - at_f0, abs=0.1)
    third = column(features, "f3_level_db")
    np.testing.assert_allclose(column(features, "h1_a3_db"), -third, atol=1e-3)


@pytest.mark.parametrize("per_s", [2, 4, 6])
def test_speech_rate_of_a_modulated_tone(per_s):
    time = np.arange(3 * RATE) / RATE
    swells = 0.55 - 0.45 * np.cos(2 * np.pi * per_s * time)
    features = compute_features((swells * voice(140, 3.0)).astype(np.float32), CONFIG)
    assert functional(features, "loudness_peaks_per_s") == pytest.approx(per_s, rel=0.1)


def test_voiced_segments_are_counted():
    samples = np.concatenate([voice(150, 0.3), noise(0.2, 0.05)] * 3)
    features = compute_features(samples, CONFIG)
    assert functional(features, "voiced_segments_per_s") == pytest.approx(3 / 1.5, rel=0.05)
    assert functional(features, "voiced_segment_s_mean") == pytest.approx(0.3, abs=0.04)
    assert functional(features, "unvoiced_segment_s_mean") == pytest.approx(0.2, abs=0.04)


def test_functionals_are_those_of_the_columns(speech):
    features = compute_features(speech, CONFIG)
    for name in (*SPECTRAL, "mfcc_01", "mfcc_20"):
        values = column(features, name).astype(np.float64)
        assert functional(features, f"{name}_mean") == pytest.approx(values.mean(), rel=1e-3, abs=1e-3)
        assert functional(features, f"{name}_sd") == pytest.approx(values.std(), rel=1e-3, abs=1e-3)
    f0_hz = column(features, "f0_hz")
    assert functional(features, "f0_hz_p50") == pytest.approx(np.nanmedian(f0_hz), rel=1e-5)
    assert functional(features, "voiced_share") == pytest.approx(np.mean(~np.isnan(f0_hz)))


def test_other_configs_work():
    config = FeatureConfig(sample_rate=44_100, n_fft=2_048, n_mels=30, n_mfcc=12, hop_s=0.02, mel_high_hz=12_000.0)
    tone = np.sin(2 * np.pi * 150 * np.arange(44_100) / 44_100).astype(np.float32)
    features = compute_features(tone, config)
    assert features.log_mel.shape == (51, 30)
    f0_hz = features.lld[:, lld_names(config).index("f0_hz")]
    np.testing.assert_allclose(f0_hz[2:-2], 150, rtol=0.01)
