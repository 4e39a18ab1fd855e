"""Spectral descriptors against librosa and scipy on frames of equal alignment, or against their definitions."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from serctl.features import FeatureConfig, spectral

CONFIGS = {
    "default": FeatureConfig(),
    "44.1 kHz": FeatureConfig(sample_rate=44_100, n_fft=2048, n_mels=80, mel_low_hz=0.0, mel_high_hz=20_000.0),
    "12 kHz": FeatureConfig(sample_rate=12_000, n_fft=512, n_mels=40, mel_low_hz=100.0, mel_high_hz=5_000.0),
}


@pytest.fixture(params=list(CONFIGS.values()), ids=list(CONFIGS))
def config(request):
    return request.param


@pytest.fixture
def samples(config):
    """A second of gliding harmonics in noise, with a silent gap."""
    time = np.arange(config.sample_rate) / config.sample_rate
    phase = 2 * np.pi * (150 * time + 60 * time**2)
    voice = sum(np.cos(k * phase) / k for k in range(1, 15))
    noise = np.random.default_rng(2).standard_normal(len(time))
    gap = (time < 0.6) | (time > 0.75)
    return ((0.1 * voice + 0.01 * noise) * gap).astype(np.float32)


@pytest.fixture
def frames(samples, config):
    return spectral.frame_signal(samples, config)


@pytest.fixture
def spectrum(frames, config):
    return spectral.power_spectrum(frames, config)


@pytest.fixture
def magnitude(spectrum):
    return np.sqrt(spectrum)


def stft_power(samples, config):
    """librosa's power spectrum of the same frames, shape (frames, bins)."""
    stft = librosa.stft(
        samples,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.frame_length,
        window="hann",
        center=True,
        pad_mode="constant",
    )
    return np.square(np.abs(stft)).T


def relative_error(ours, reference):
    return np.max(np.abs(ours - reference)) / np.max(np.abs(reference))


def test_frames_are_centred_on_multiples_of_the_hop():
    config = FeatureConfig()
    samples = np.zeros(1600, np.float32)
    samples[480] = 1
    frames = spectral.frame_signal(samples, config)
    assert frames.shape == (1 + 1600 // 160, 640)
    rows, columns = np.nonzero(frames)
    np.testing.assert_array_equal(rows, [2, 3, 4, 5])
    np.testing.assert_array_equal(columns, [480, 320, 160, 0])


@pytest.mark.parametrize("length", [1, 159, 160, 161, 5000])
def test_power_and_frames_agree_on_their_number(length):
    config = FeatureConfig()
    samples = np.ones(length, np.float32)
    expected = 1 + length // config.hop_length
    assert spectral.frame_signal(samples, config).shape == (expected, config.frame_length)
    assert spectral.frame_power(samples, config).shape == (expected,)


def test_power_spectrum_is_that_of_librosa_within_1e_5_of_its_peak(samples, spectrum, config):
    reference = stft_power(samples, config)
    assert spectrum.dtype == np.float32
    assert spectrum.shape == reference.shape
    assert relative_error(spectrum, reference) < 1e-5


def test_frame_power_is_the_square_of_librosas_rms(samples, config):
    reference = librosa.feature.rms(
        y=samples, frame_length=config.frame_length, hop_length=config.hop_length, center=True, pad_mode="constant"
    )[0]
    power = spectral.frame_power(samples, config)
    np.testing.assert_allclose(np.sqrt(power), reference[: len(power)], rtol=1e-4, atol=1e-7)


def test_level_of_a_full_scale_sine_is_minus_3_db():
    config = FeatureConfig()
    sine = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    level_db = spectral.to_db(spectral.frame_power(sine, config))
    np.testing.assert_allclose(level_db[3:-3], -3.01, atol=0.01)


def test_mel_filterbank_is_librosas_slaney_one_within_1e_6(config):
    reference = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.mel_low_hz,
        fmax=config.mel_high_hz,
        htk=False,
        norm="slaney",
    )
    ours = spectral.mel_filterbank(config)
    assert ours.shape == (config.n_fft // 2 + 1, config.n_mels)
    assert relative_error(ours, reference.T) < 1e-6


def test_log_mel_is_librosas_within_0_01_db():
    config = FeatureConfig()
    samples = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    samples[:4000] = 0
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.frame_length,
        window="hann",
        center=True,
        pad_mode="constant",
        n_mels=config.n_mels,
        fmin=config.mel_low_hz,
        fmax=config.mel_high_hz,
    )
    reference = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None).T
    ours = spectral.log_mel(spectral.power_spectrum(spectral.frame_signal(samples, config), config), config)
    assert ours.dtype == np.float32
    assert ours[0].max() < -99.99
    np.testing.assert_allclose(ours, reference, atol=0.01)


def test_mfcc_are_librosas_from_the_first_on_within_1e_3_db(spectrum, config):
    log_mel = spectral.log_mel(spectrum, config)
    reference = librosa.feature.mfcc(S=log_mel.T, n_mfcc=config.n_mfcc + 1, dct_type=2, norm="ortho")[1:].T
    ours = spectral.mfcc(log_mel, config)
    assert ours.shape == (len(spectrum), config.n_mfcc)
    np.testing.assert_allclose(ours, reference, atol=1e-3)


@pytest.mark.parametrize("n_frames", [1, 2, 5, 60])
def test_delta_is_librosas_over_nine_frames_within_1e_5(n_frames):
    values = np.random.default_rng(1).standard_normal((n_frames, 4)).astype(np.float32)
    reference = librosa.feature.delta(values, width=9, order=1, axis=0, mode="nearest")
    np.testing.assert_allclose(spectral.delta(values), reference, atol=1e-5)


def test_zero_crossing_rate_counts_librosas_crossings_exactly(frames, config):
    crossings = librosa.zero_crossings(frames, threshold=0, pad=False, zero_pos=True, axis=1)
    expected = crossings.sum(axis=1) / (config.frame_length - 1)
    np.testing.assert_allclose(spectral.zero_crossing_rate(frames), expected, rtol=1e-6)


def test_zero_crossing_rate_is_librosas_away_from_the_edges(samples, frames, config):
    reference = librosa.feature.zero_crossing_rate(
        samples, frame_length=config.frame_length, hop_length=config.hop_length, threshold=0
    )[0]
    per_pair = reference * config.frame_length / (config.frame_length - 1)
    ours = spectral.zero_crossing_rate(frames)
    np.testing.assert_allclose(ours[3:-3], per_pair[3 : len(ours) - 3], rtol=1e-5)


def test_zero_crossing_rate_of_negative_zeros_is_zero():
    zeros = np.zeros((2, 640), np.float32)
    zeros[1, ::2] = -0.0
    np.testing.assert_array_equal(spectral.zero_crossing_rate(zeros), [0, 0])


def test_loudness_is_the_sum_of_librosas_compressed_bands(samples, spectrum, config):
    mel = librosa.feature.melspectrogram(
        S=spectrum.T,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.mel_low_hz,
        fmax=config.mel_high_hz,
    )
    expected = (np.maximum(mel.astype(np.float64), 1e-10) ** 0.33).sum(axis=0)
    ours = spectral.loudness(spectrum @ spectral.mel_filterbank(config))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_loudness_rises_by_a_quarter_for_3_db():
    config = FeatureConfig()
    mel_power = np.random.default_rng(0).random((5, config.n_mels)).astype(np.float32)
    ratio = spectral.loudness(2 * mel_power) / spectral.loudness(mel_power)
    np.testing.assert_allclose(ratio, 2**0.33, rtol=1e-5)


def test_flux_is_the_distance_of_unit_spectra_within_2e_3():
    """The tolerance is that of sqrt(2 - 2 * similarity) in float32, where frames hardly differ."""
    magnitude = np.random.default_rng(4).random((30, 513)).astype(np.float32)
    magnitude[10] = 3 * magnitude[9]
    unit = magnitude.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = np.linalg.norm(np.diff(unit, axis=0), axis=1)
    flux = spectral.flux(magnitude)
    assert flux.dtype == np.float32
    assert flux[0] == 0
    np.testing.assert_allclose(flux[1:], expected, atol=2e-3)
    assert flux[10] < 2e-3 < flux[11]


def test_flux_between_silent_frames_is_zero_and_at_an_onset_is_largest():
    magnitude = np.zeros((4, 513), np.float32)
    magnitude[2:, 100] = 1
    np.testing.assert_allclose(spectral.flux(magnitude), [0, 0, np.sqrt(2), 0], atol=1e-3)


def test_centroid_and_bandwidth_are_librosas_within_1_hz(magnitude, config):
    sounding = magnitude.sum(axis=1) > 1e-3
    centroid, bandwidth = spectral.moments(magnitude, config)
    arguments = {"S": magnitude.T, "sr": config.sample_rate, "n_fft": config.n_fft}
    np.testing.assert_allclose(
        centroid[sounding], librosa.feature.spectral_centroid(**arguments)[0, sounding], atol=1.0
    )
    np.testing.assert_allclose(
        bandwidth[sounding], librosa.feature.spectral_bandwidth(**arguments, p=2)[0, sounding], atol=1.0
    )
    assert not sounding.all()
    assert np.all(centroid[magnitude.sum(axis=1) == 0] == 0)


def test_rolloff_is_librosas_to_the_bin(magnitude, config):
    reference = librosa.feature.spectral_rolloff(
        S=magnitude.T.astype(np.float64), sr=config.sample_rate, n_fft=config.n_fft, roll_percent=0.85
    )[0]
    sounding = magnitude.sum(axis=1) > 1e-3
    ours = spectral.rolloff(magnitude, config)[sounding]
    bin_hz = config.sample_rate / config.n_fft
    assert np.max(np.abs(ours - reference[sounding])) < 1.01 * bin_hz
    assert np.mean(np.abs(ours - reference[sounding]) < 0.01 * bin_hz) > 0.98


def test_frequencies_are_librosas(config):
    expected = librosa.fft_frequencies(sr=config.sample_rate, n_fft=config.n_fft)
    np.testing.assert_allclose(spectral.frequencies(config), expected, rtol=1e-6)


def measure_balance(spectrum, config):
    return {
        "alpha_ratio_db": spectral.alpha_ratio_db(spectrum, config),
        "hammarberg_db": spectral.hammarberg_db(spectrum, config),
        "slope_low": spectral.level_slope(spectrum, 0, 500, config),
        "slope_mid": spectral.level_slope(spectrum, 500, 1500, config),
    }


def balance_of_frame(power, hz):
    """The measures of spectral balance of one frame, straight from their definitions."""

    def between(low, high):
        return power[(hz >= low) & (hz < high)]

    def slope(low, high):
        inside = (hz >= low) & (hz < high)
        return np.polyfit(hz[inside] / 1000, 10 * np.log10(power[inside]), 1)[0]

    return {
        "alpha_ratio_db": 10 * np.log10(between(50, 1000).sum() / between(1000, 5000).sum()),
        "hammarberg_db": 10 * np.log10(between(0, 2000).max() / between(2000, 5000).max()),
        "slope_low": slope(0, 500),
        "slope_mid": slope(500, 1500),
    }


def test_balance_is_what_its_definitions_give_within_0_01_db(config):
    noise = np.random.default_rng(3).standard_normal(config.sample_rate // 2)
    spectrum = stft_power(np.cumsum(noise) * 0.01 + 0.1 * noise, config).astype(np.float32) + np.float32(1e-6)
    ours = measure_balance(spectrum, config)
    hz = np.arange(spectrum.shape[1]) * config.sample_rate / config.n_fft
    expected = [balance_of_frame(power.astype(np.float64), hz) for power in spectrum]
    for name, values in ours.items():
        np.testing.assert_allclose(values, [each[name] for each in expected], rtol=1e-3, atol=0.01, err_msg=name)


def test_a_tilted_spectrum_has_its_slopes():
    config = FeatureConfig()
    tilt_db = -12 * spectral.frequencies(config) / 1000
    spectrum = 10 ** (tilt_db[None] / 10)
    balance = measure_balance(spectrum, config)
    assert balance["slope_low"] == pytest.approx(-12, abs=1e-2)
    assert balance["slope_mid"] == pytest.approx(-12, abs=1e-2)
    assert balance["hammarberg_db"] == pytest.approx(24, abs=1e-2)


def test_active_frames_leave_out_the_silence_around_the_speech():
    config = FeatureConfig()
    samples = np.zeros(32_000, np.float32)
    samples[8_000:24_000] = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    active = spectral.active_frames(spectral.frame_power(samples, config), config)
    assert active.start == pytest.approx(50, abs=2)
    assert active.stop == pytest.approx(151, abs=2)


def test_active_frames_keep_a_quiet_stretch_between_loud_ones():
    power = np.array([1e-6, 1.0, 1e-9, 1e-9, 0.5, 1e-6], np.float32)
    assert spectral.active_frames(power, FeatureConfig()) == slice(1, 5)


def test_active_frames_follow_trim_db():
    power = np.array([1e-6, 2e-4, 1.0, 1e-2], np.float32)
    assert spectral.active_frames(power, FeatureConfig(trim_db=30.0)) == slice(2, 4)
    assert spectral.active_frames(power, FeatureConfig(trim_db=40.0)) == slice(1, 4)
    assert spectral.active_frames(power, FeatureConfig(trim_db=10.0)) == slice(2, 3)


def test_active_frames_of_silence_are_all_frames():
    assert spectral.active_frames(np.zeros(7, np.float32), FeatureConfig()) == slice(0, 7)


def test_to_db_is_librosas_and_ends_at_minus_100():
    power = np.array([0, 1e-12, 1e-10, 1e-3, 1, 40], np.float32)
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    ours = spectral.to_db(power)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert ours[0] == ours[1] == ours[2]
