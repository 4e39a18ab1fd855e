"""Pitch, periodicity and formants of synthetic voices whose truth is known; librosa on the same signals."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.signal

from serctl.features import FeatureConfig, prosody, spectral

RATE = 16_000
CONFIG = FeatureConfig()
VOWELS = {
    "a": ((730, 60), (1090, 80), (2440, 110)),
    "e": ((530, 60), (1840, 80), (2480, 110)),
    "i": ((270, 60), (2290, 80), (3010, 110)),
    "u": ((300, 60), (870, 80), (2240, 110)),
}
"""Frequency and bandwidth in Hz of the formants; frequencies after Peterson & Barney 1952, doi:10.1121/1.1906875."""

F0_HZ = np.geomspace(70, 450, 25)


def constant(f0_hz, seconds=0.4):
    return np.full(round(seconds * RATE), float(f0_hz))


def harmonic_complex(f0_hz, amplitude):
    """Cosines at all multiples of a pitch track; f0_hz: shape (n,); amplitude: function of frequency in Hz."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
    total = np.zeros(len(f0_hz))
    for k in range(1, int(7_600 / f0_hz.min()) + 1):
        total += np.where(k * f0_hz < 7_600, amplitude(k * f0_hz), 0) * np.cos(k * phase)
    return (0.5 * total / np.abs(total).max()).astype(np.float32)


def glottal(hz):
    """Spectrum of a voice source: -12 dB per octave above 200 Hz."""
    return 1 / (1 + (hz / 200) ** 2)


def resonances(hz, formants):
    poles = [-np.pi * width + 2j * np.pi * centre for centre, width in formants]
    gains = [np.abs(p) ** 2 / np.abs((2j * np.pi * hz - p) * (2j * np.pi * hz - np.conj(p))) for p in poles]
    return np.prod(gains, axis=0)


def vowel(f0_hz, formants):
    """A pulse train with the slope of -6 dB per octave that lips radiate, through resonators in series (lfilter)."""
    pulses = np.zeros(round(0.6 * RATE))
    pulses[np.round(np.arange(0, 0.6, 1 / f0_hz) * RATE).astype(int).clip(max=len(pulses) - 1)] = 1
    samples = scipy.signal.lfilter([1], [1, -0.97], pulses)
    for centre, width in (*formants, (3_500, 150), (4_500, 200)):
        radius = np.exp(-np.pi * width / RATE)
        samples = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2], samples)
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def spectrum_of(samples):
    return spectral.power_spectrum(spectral.frame_signal(samples, CONFIG), CONFIG)


def pitch_of(samples, config=CONFIG):
    spectrum = spectral.power_spectrum(spectral.frame_signal(samples, config), config)
    return prosody.track_pitch(spectrum, np.ones(len(spectrum), bool), config)


def inner(values):
    """Without the frames that reach beyond the signal."""
    return values[3:-3]


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def assert_pitch(samples, f0_hz):
    """Voiced, and the pitch within 1 percent."""
    pitch = pitch_of(samples)
    assert inner(pitch.voiced).all(), f0_hz
    np.testing.assert_allclose(inner(pitch.f0_hz), f0_hz, rtol=0.01)


def test_pitch_of_a_glottal_source_is_within_1_percent():
    for f0_hz in F0_HZ:
        assert_pitch(harmonic_complex(constant(f0_hz), glottal), f0_hz)


@pytest.mark.parametrize("name", ["i", "u"])
def test_pitch_of_a_vowel_is_within_1_percent(name):
    def voiced(hz):
        return glottal(hz) * hz * resonances(hz, VOWELS[name])

    for f0_hz in F0_HZ:
        assert_pitch(harmonic_complex(constant(f0_hz), voiced), f0_hz)


def test_pitch_of_a_flat_pulse_train_is_within_1_percent():
    """Even periods, in samples: they fall on the grid of lags, see the next test."""
    for period in (36, 40, 64, 80, 100, 128, 160, 200, 228):
        samples = np.zeros(RATE // 2, np.float32)
        samples[::period] = 0.5
        np.testing.assert_allclose(inner(pitch_of(samples).f0_hz), RATE / period, rtol=0.01)


def test_pitch_of_a_filtered_pulse_train_is_within_1_percent():
    for f0_hz in F0_HZ:
        samples = np.zeros(RATE // 2, np.float32)
        samples[np.round(np.arange(0, 0.499, 1 / f0_hz) * RATE).astype(int)] = 1
        samples = scipy.signal.lfilter([1], np.convolve([1, -0.92], [1, -0.92]), samples).astype(np.float32)
        assert_pitch(samples - samples.mean(), f0_hz)


def test_pitch_of_a_motionless_open_vowel_is_not_an_octave_low():
    for f0_hz in (165, 172, 180):
        samples = harmonic_complex(constant(f0_hz), lambda hz: glottal(hz) * hz * resonances(hz, VOWELS["a"]))
        np.testing.assert_allclose(inner(pitch_of(samples).f0_hz), f0_hz, rtol=0.01)


def glide(low_hz, high_hz, seconds=1.5):
    """Up and down again, in octaves per second constant but at the ends."""
    position = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(round(seconds * RATE)) / RATE / seconds)
    return low_hz * (high_hz / low_hz) ** position


def errors_on_a_glide(low_hz, high_hz):
    """Relative errors of the pitch and of librosa's yin on the same samples."""
    truth = glide(low_hz, high_hz)
    samples = harmonic_complex(truth, glottal)
    f0_hz = pitch_of(samples).f0_hz
    yin = librosa.yin(samples, fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=CONFIG.hop_length)
    at_frames = truth[np.minimum(np.arange(len(f0_hz)) * CONFIG.hop_length, len(truth) - 1)]
    return inner(f0_hz / at_frames - 1), inner(yin[: len(f0_hz)] / at_frames - 1)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(80, 160), (110, 200), (150, 300), (200, 400)])
def test_pitch_follows_a_glide_without_octave_jumps_as_librosas_yin_does(low_hz, high_hz):
    ours, yin = errors_on_a_glide(low_hz, high_hz)
    assert np.max(np.abs(ours)) < 0.02
    assert np.median(np.abs(ours)) < 0.002
    assert np.median(np.abs(yin)) < 0.002
    assert np.median(np.abs(ours - yin)) < 0.002


@pytest.mark.parametrize(("low_hz", "high_hz"), [(110, 280), (180, 440)])
def test_pitch_follows_a_wide_glide_without_octave_jumps(low_hz, high_hz):
    ours, _ = errors_on_a_glide(low_hz, high_hz)
    assert np.max(np.abs(ours)) < 0.02


def test_pitch_does_not_jump_when_the_first_harmonic_vanishes():
    strong = harmonic_complex(constant(200), glottal)
    weak = harmonic_complex(constant(200), lambda hz: glottal(hz) * (hz > 300))
    f0_hz = inner(pitch_of(np.concatenate([strong, weak])).f0_hz)
    np.testing.assert_allclose(f0_hz, 200, rtol=0.01)


def test_pitch_does_not_jump_when_every_second_period_differs():
    """Creaky stretches repeat better after two periods than after one; the median of the voice decides."""
    regular = harmonic_complex(constant(200, 0.8), glottal)
    between = harmonic_complex(constant(100, 0.2), lambda hz: glottal(hz) * (hz % 200 > 50))
    creaky = regular[: RATE // 5] + np.float32(0.25) * between
    f0_hz = inner(pitch_of(np.concatenate([regular, creaky])).f0_hz)
    np.testing.assert_allclose(f0_hz, 200, rtol=0.02)


@pytest.mark.parametrize("config", [FeatureConfig(sample_rate=44_100, n_fft=2048), FeatureConfig(f0_high_hz=300.0)])
def test_pitch_does_not_depend_on_rate_and_range(config):
    time = np.arange(config.sample_rate // 2) / config.sample_rate
    samples = sum(np.cos(2 * np.pi * 143 * k * time) / k**2 for k in range(1, 30)).astype(np.float32)
    np.testing.assert_allclose(inner(pitch_of(samples, config).f0_hz), 143, rtol=0.01)


def test_pitch_stays_within_half_a_lag_of_its_range():
    f0_hz = pitch_of(harmonic_complex(glide(50, 700), glottal)).f0_hz
    f0_hz = f0_hz[~np.isnan(f0_hz)]
    assert f0_hz.min() > 0.99 * CONFIG.f0_low_hz
    assert f0_hz.max() < 1.035 * CONFIG.f0_high_hz


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_unvoiced(seed):
    pitch = pitch_of(noise(2, seed))
    assert not pitch.voiced.any()
    assert np.isnan(pitch.f0_hz).all()
    assert np.all((pitch.periodicity >= 0) & (pitch.periodicity < prosody.VOICING_THRESHOLD))


def test_whisper_is_unvoiced():
    whisper = noise(1)
    for centre, width in VOWELS["e"]:
        b, a = scipy.signal.iirpeak(centre, centre / (3 * width), fs=RATE)
        whisper = whisper + scipy.signal.lfilter(b, a, whisper)
    assert pitch_of(whisper.astype(np.float32)).voiced.mean() < 0.02


def test_silence_is_unvoiced():
    pitch = pitch_of(np.zeros(RATE, np.float32))
    assert not pitch.voiced.any()
    assert not pitch.periodicity.any()


def test_inaudible_frames_are_unvoiced():
    spectrum = spectrum_of(harmonic_complex(constant(150), glottal))
    audible = np.arange(len(spectrum)) < 20
    pitch = prosody.track_pitch(spectrum, audible, CONFIG)
    np.testing.assert_array_equal(pitch.voiced[3:-3], audible[3:-3])
    np.testing.assert_array_equal(np.isnan(pitch.f0_hz), ~pitch.voiced)


def test_voiced_and_unvoiced_stretches_are_told_apart():
    samples = np.concatenate([harmonic_complex(constant(120), glottal), 0.3 * noise(0.4)])
    voiced = pitch_of(samples).voiced
    assert voiced[3:37].all()
    assert not voiced[44:].any()


def mixture(f0_hz, hnr_db, seed=0):
    """Harmonics and noise of the pitch tracker's band at an exact ratio."""
    band = scipy.signal.butter(8, [60, 3_900], "bandpass", fs=RATE, output="sos")
    voice = scipy.signal.sosfilt(band, harmonic_complex(constant(f0_hz, 1.5), glottal))
    hiss = scipy.signal.sosfilt(band, noise(1.5, seed))
    hiss *= np.sqrt(np.mean(voice**2) / np.mean(hiss**2) / 10 ** (hnr_db / 10))
    return (voice + hiss).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [110, 200, 310])
@pytest.mark.parametrize("hnr_db", [0, 5, 10, 15, 20])
def test_harmonics_to_noise_ratio_is_within_2_db_of_the_mixtures(f0_hz, hnr_db):
    measured = prosody.harmonics_to_noise_db(pitch_of(mixture(f0_hz, hnr_db)).periodicity)
    assert np.median(measured) == pytest.approx(hnr_db, abs=2)


def test_harmonics_to_noise_ratio_rises_with_the_mixtures():
    mixtures = [pitch_of(mixture(180, hnr_db)).periodicity for hnr_db in range(-10, 31, 5)]
    medians = [np.median(prosody.harmonics_to_noise_db(each)) for each in mixtures]
    assert np.all(np.diff(medians) > 1)


def test_harmonics_to_noise_ratio_ends_at_minus_10_and_30_db():
    measured = prosody.harmonics_to_noise_db(np.array([0, 0.5, 10 / 11, 1], np.float32))
    np.testing.assert_allclose(measured, [-10, 0, 10, 30], atol=0.01)


@pytest.mark.parametrize(("f0_hz", "tolerance_hz"), [(90, 30), (130, 45), (200, 70)])
@pytest.mark.parametrize("name", list(VOWELS))
def test_formants_of_a_vowel_are_near_its_resonances(name, f0_hz, tolerance_hz):
    """Harmonics sample the resonances: the higher the pitch, the less of them is left to see."""
    frequency, bandwidth = prosody.formants(spectrum_of(vowel(f0_hz, VOWELS[name])), CONFIG)
    truth = np.array(VOWELS[name], float)
    np.testing.assert_allclose(np.median(inner(frequency), axis=0), truth[:, 0], atol=tolerance_hz)
    if f0_hz < 100:
        ratio = np.median(inner(bandwidth), axis=0) / truth[:, 1]
        assert np.all((ratio > 0.5) & (ratio < 2))


@pytest.mark.parametrize("name", list(VOWELS))
def test_formants_are_near_the_roots_of_librosas_lpc(name):
    samples = vowel(90, VOWELS[name])
    at_10_khz = scipy.signal.resample_poly(samples.astype(np.float64), 5, 8)
    emphasised = scipy.signal.lfilter([1, -0.97], [1], at_10_khz)
    frames = librosa.util.frame(emphasised, frame_length=400, hop_length=100, axis=0)[5:-5] * np.hanning(400)
    roots = [np.roots(librosa.lpc(frame, order=prosody.LPC_ORDER)) for frame in frames]
    by_lpc = np.median([np.sort(np.angle(each[each.imag > 0]))[:3] * 10_000 / (2 * np.pi) for each in roots], axis=0)
    frequency, _ = prosody.formants(spectrum_of(samples), CONFIG)
    np.testing.assert_allclose(np.median(inner(frequency), axis=0), by_lpc, atol=30)


def test_formants_of_an_all_pole_spectrum_are_its_poles():
    """Five resonances of a 10 kHz signal, so that order 10 fits: 10 Hz off at most, bandwidths within a quarter."""
    truth = np.array([(500, 80), (1_500, 100), (2_500, 120), (3_500, 180), (4_500, 200)])
    poles = np.exp((-np.pi * truth[:, 1] + 2j * np.pi * truth[:, 0]) / 10_000)
    denominator = np.real(np.poly(np.concatenate([poles, poles.conj()])))
    hz = np.arange(513) * RATE / 1_024
    _, response = scipy.signal.freqz(1, denominator, worN=hz, fs=10_000)
    _, emphasis = scipy.signal.freqz([1, -prosody.PRE_EMPHASIS], 1, worN=hz, fs=10_000)
    spectrum = np.square(np.abs(response / emphasis))[None].astype(np.float32)
    frequency, bandwidth = prosody.formants(spectrum, CONFIG)
    np.testing.assert_allclose(frequency[0], truth[:3, 0], atol=10)
    np.testing.assert_allclose(bandwidth[0], truth[:3, 1], rtol=0.25)


def test_formants_that_are_not_there_are_nan():
    spectrum = np.zeros((2, 513), np.float32)
    spectrum[1] = spectrum_of(vowel(90, VOWELS["a"]))[20]
    frequency, bandwidth = prosody.formants(spectrum, CONFIG)
    assert np.all(np.isnan(frequency[0]))
    np.testing.assert_array_equal(np.isnan(frequency), np.isnan(bandwidth))
    assert np.all(np.isfinite(frequency[1]))


def test_formants_rise_from_the_first_to_the_third_and_are_positive():
    frequency, bandwidth = prosody.formants(spectrum_of(noise(1)), CONFIG)
    rises = np.diff(frequency, axis=1)
    assert np.all((rises > 0) | np.isnan(rises))
    assert np.nanmin(frequency) >= prosody.MIN_FORMANT_HZ - 20
    assert np.nanmin(bandwidth) > 0


def test_level_at_is_the_level_of_the_strongest_of_three_bins():
    hz = 1_003.0
    samples = np.cos(2 * np.pi * hz * np.arange(RATE // 2) / RATE).astype(np.float32)
    spectrum = spectrum_of(samples)
    level_db = inner(prosody.level_at(spectrum, np.full(len(spectrum), hz, np.float32), CONFIG))
    peak_db = inner(10 * np.log10(spectrum.max(axis=1)))
    np.testing.assert_allclose(level_db, peak_db, atol=1e-4)
    np.testing.assert_allclose(level_db, 20 * np.log10(np.hanning(641).sum() / 2), atol=0.3)


def test_level_at_takes_several_frequencies_and_leaves_nan():
    spectrum = np.full((4, 513), 1e-4, np.float32)
    spectrum[:, 64] = 1
    hz = np.tile(np.array([1_000, 1_010, 2_000, np.nan], np.float32), (4, 1))
    np.testing.assert_allclose(prosody.level_at(spectrum, hz, CONFIG), np.tile([0, 0, -40, np.nan], (4, 1)), atol=1e-4)
    edges = prosody.level_at(spectrum, np.array([0, 8_000, 9_000, 1_000], np.float32), CONFIG)
    np.testing.assert_allclose(edges, [-40, -40, -40, 0], atol=1e-4)
