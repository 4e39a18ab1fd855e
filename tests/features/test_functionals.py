"""Statistics of descriptors against numpy, scipy and librosa; what has no reference, against its definition."""

from __future__ import annotations

from itertools import groupby

import librosa
import numpy as np
import pytest
import scipy.stats

from serctl.features import FeatureConfig, functional_names, lld_names
from serctl.features.descriptors import SPECTRAL, VOICE
from serctl.features.functionals import (
    DELTA_STATISTICS,
    STATISTICS,
    TEMPORAL,
    compute_functionals,
    count_peaks,
    run_lengths,
)

CONFIG = FeatureConfig()
N_FRAMES = 240


@pytest.fixture
def voiced():
    flags = np.zeros(N_FRAMES, bool)
    flags[10:60] = flags[80:130] = flags[140:141] = flags[200:] = True
    return flags


@pytest.fixture
def lld(voiced):
    """Skewed values with a trend; the voice only in voiced frames, the third formant not in all of these."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 3, (N_FRAMES, len(lld_names(CONFIG)))) + 0.02 * np.arange(N_FRAMES)[:, None]
    values[~voiced, -len(VOICE) :] = np.nan
    values[85:95, lld_names(CONFIG).index("f3_hz")] = np.nan
    return values.astype(np.float32)


@pytest.fixture
def log_mel():
    return (np.random.default_rng(1).standard_normal((N_FRAMES, CONFIG.n_mels)) * 10 - 50).astype(np.float32)


@pytest.fixture
def columns(lld, log_mel):
    """Every descriptor that is measured over all frames, by name."""
    mels = {f"mel_{k + 1:02d}_db": log_mel[:, k] for k in range(0, CONFIG.n_mels, 2)}
    return {**dict(zip(lld_names(CONFIG), lld.T, strict=True)), **mels}


@pytest.fixture
def functionals(lld, log_mel):
    return named(compute_functionals(lld, log_mel, CONFIG))


def named(values, config=CONFIG):
    return dict(zip(functional_names(config), values, strict=True))


def statistics(values, hop_s=0.01):
    """By numpy and scipy, in float64."""
    values = values.astype(np.float64)
    seconds = np.arange(len(values)) * hop_s
    percentiles = {f"p{k:02d}": np.percentile(values, k) for k in (5, 25, 50, 75, 95)}
    slope = scipy.stats.linregress(seconds, values).slope
    return {
        "mean": values.mean(),
        "sd": values.std(),
        "skewness": scipy.stats.skew(values),
        **percentiles,
        "slope": slope,
    }


def assert_statistics(functionals, name, values, *, hop_s=0.01):
    expected = statistics(values, hop_s)
    assert tuple(sorted(expected)) == tuple(sorted(STATISTICS))
    for statistic, value in expected.items():
        assert functionals[f"{name}_{statistic}"] == pytest.approx(value, rel=1e-3, abs=1e-3), (name, statistic)


def full_names():
    mels = [f"mel_{k:02d}_db" for k in range(1, CONFIG.n_mels + 1, 2)]
    return [*SPECTRAL, *(f"mfcc_{k:02d}" for k in range(1, CONFIG.n_mfcc + 1)), *mels]


def test_names_are_unique_and_as_many_as_values(functionals):
    names = functional_names(CONFIG)
    n_full = len(full_names())
    assert len(names) == len(set(names)) == 12 * n_full + 9 * len(VOICE) + len(TEMPORAL) == len(functionals)
    assert len(lld_names(CONFIG)) == len(set(lld_names(CONFIG))) == len(SPECTRAL) + 20 + len(VOICE)


@pytest.mark.parametrize("config", [FeatureConfig(n_mels=40, n_mfcc=12), FeatureConfig(n_mels=25, n_mfcc=4)])
def test_names_follow_the_config(config):
    lld = np.ones((5, len(lld_names(config))), np.float32)
    values = compute_functionals(lld, np.ones((5, config.n_mels), np.float32), config)
    assert values.shape == (len(functional_names(config)),)
    assert f"mfcc_{config.n_mfcc:02d}_sd" in functional_names(config)
    assert f"mfcc_{config.n_mfcc + 1:02d}_sd" not in functional_names(config)


@pytest.mark.parametrize(
    "name",
    [
        "f0_hz_mean",
        "f0_semitone_p50",
        "mfcc_03_sd",
        "mel_63_db_p95",
        "level_db_delta_sd",
        "jitter_mean",
        "voiced_share",
    ],
)
def test_names_are_ones_a_person_understands(name):
    assert name in functional_names(CONFIG)


def test_functionals_are_float32(lld, log_mel):
    values = compute_functionals(lld, log_mel, CONFIG)
    assert values.dtype == np.float32
    assert values.ndim == 1


def test_statistics_over_all_frames_are_those_of_numpy_and_scipy_within_1e_3(functionals, columns):
    for name in full_names():
        assert_statistics(functionals, name, columns[name])


def test_statistics_of_changes_are_those_of_librosas_delta_within_1e_3(functionals, columns):
    for name in full_names():
        change = librosa.feature.delta(columns[name].astype(np.float64), width=9, mode="nearest")
        expected = {"sd": change.std(), "p05": np.percentile(change, 5), "p95": np.percentile(change, 95)}
        assert set(expected) == set(DELTA_STATISTICS)
        for statistic, value in expected.items():
            assert functionals[f"{name}_delta_{statistic}"] == pytest.approx(value, rel=1e-3, abs=1e-3)


def test_statistics_of_the_voice_are_over_voiced_frames(functionals, columns, voiced):
    for name in VOICE:
        if name != "f3_hz":
            assert_statistics(functionals, name, columns[name][voiced])


def test_what_a_voiced_frame_lacks_counts_as_the_mean(functionals, columns, voiced):
    third = columns["f3_hz"][voiced]
    assert np.isnan(third).sum() == 10
    assert functionals["f3_hz_mean"] == pytest.approx(np.nanmean(third), rel=1e-4)
    assert_statistics(functionals, "f3_hz", np.where(np.isnan(third), np.nanmean(third), third))


def test_slopes_are_per_second_whatever_the_hop(lld, log_mel, columns):
    config = FeatureConfig(hop_s=0.005)
    functionals = named(compute_functionals(lld, log_mel, config), config)
    assert_statistics(functionals, "mfcc_01", columns["mfcc_01"], hop_s=0.005)


def test_voice_of_a_whisper_is_zero_and_nothing_is_nan(lld, log_mel):
    lld[:, -len(VOICE) :] = np.nan
    functionals = named(compute_functionals(lld, log_mel, CONFIG))
    assert all(functionals[f"{name}_{statistic}"] == 0 for name in VOICE for statistic in STATISTICS)
    assert functionals["voiced_share"] == functionals["voiced_segments_per_s"] == 0
    assert functionals["f0_rise_mean"] == functionals["f0_fall_mean"] == 0
    assert np.isfinite(list(functionals.values())).all()


def test_constant_descriptors_have_no_spread():
    lld = np.full((30, len(lld_names(CONFIG))), 7.3, np.float32)
    functionals = named(compute_functionals(lld, np.full((30, 64), -55.5, np.float32), CONFIG))
    for name in [*full_names(), *VOICE]:
        assert functionals[f"{name}_sd"] == pytest.approx(0, abs=1e-5)
        assert functionals[f"{name}_slope"] == pytest.approx(0, abs=1e-4)
    assert functionals["mfcc_05_mean"] == pytest.approx(7.3)


def test_skewness_is_limited():
    lld = np.zeros((400, len(lld_names(CONFIG))), np.float32)
    lld[7] = 1
    functionals = named(compute_functionals(lld, np.zeros((400, 64), np.float32), CONFIG))
    assert scipy.stats.skew(lld[:, 0]) > 19
    assert functionals["zcr_skewness"] == 10


def test_segments_are_counted_and_timed(functionals, voiced):
    runs = [(flag, len(list(group)) * 0.01) for flag, group in groupby(voiced)]
    for flag, kind in ((True, "voiced"), (False, "unvoiced")):
        seconds = [length for each, length in runs if each == flag]
        assert functionals[f"{kind}_segment_s_mean"] == pytest.approx(np.mean(seconds), rel=1e-5)
        assert functionals[f"{kind}_segment_s_sd"] == pytest.approx(np.std(seconds), rel=1e-5)
    assert functionals["active_s"] == pytest.approx(2.4)
    assert functionals["voiced_share"] == pytest.approx(voiced.mean())
    assert functionals["voiced_segments_per_s"] == pytest.approx(4 / 2.4)


def test_rise_and_fall_are_the_mean_steps_per_second(functionals, columns, voiced):
    steps = np.diff(columns["f0_semitone"][voiced])
    assert functionals["f0_rise_mean"] == pytest.approx(np.where(steps > 0, steps, 0).mean() * 100, rel=1e-4)
    assert functionals["f0_fall_mean"] == pytest.approx(-np.where(steps < 0, steps, 0).mean() * 100, rel=1e-4)
    padded = np.pad(columns["loudness"].astype(np.float64), 3, mode="edge")
    smooth = np.array([padded[k : k + 7].mean() for k in range(N_FRAMES)])
    assert functionals["loudness_rise_mean"] == pytest.approx(np.maximum(np.diff(smooth), 0).mean() * 100, rel=1e-3)
    assert functionals["loudness_fall_mean"] == pytest.approx(np.maximum(-np.diff(smooth), 0).mean() * 100, rel=1e-3)


@pytest.mark.parametrize("per_s", [2, 3, 5, 7])
def test_loudness_peaks_give_the_syllable_rate(per_s):
    frames = 300
    lld = np.ones((frames, len(lld_names(CONFIG))), np.float32)
    noise = 0.05 * np.random.default_rng(0).standard_normal(frames)
    lld[:, SPECTRAL.index("loudness")] = 10 + 5 * np.sin(2 * np.pi * per_s * np.arange(frames) * 0.01) + noise
    functionals = named(compute_functionals(lld, np.ones((frames, 64), np.float32), CONFIG))
    assert functionals["loudness_peaks_per_s"] == pytest.approx(per_s, rel=0.15)


@pytest.mark.parametrize(
    ("flags", "true", "false"),
    [
        ([1, 1, 0, 1, 0, 0, 0], [2, 1], [1, 3]),
        ([0, 1, 1, 1], [3], [1]),
        ([1, 1], [2], []),
        ([0], [], [1]),
    ],
)
def test_run_lengths(flags, true, false):
    of_true, of_false = run_lengths(np.array(flags, bool))
    assert of_true.tolist() == true
    assert of_false.tolist() == false


def test_run_lengths_are_those_of_groupby():
    flags = np.random.default_rng(0).random(500) < 0.6
    for flag, lengths in zip((True, False), run_lengths(flags), strict=True):
        assert lengths.tolist() == [len(list(group)) for each, group in groupby(flags) if each == flag]


@pytest.mark.parametrize(
    ("values", "peaks"),
    [
        ([0, 1, 0, 1, 0], 2),
        ([0, 1, 1, 0], 1),
        ([5, 1, 2, 1, 5], 0),
        ([0, 1, 2, 3], 0),
        ([2], 0),
        ([2, 2], 0),
        ([3, 3, 3, 3], 0),
    ],
)
def test_peaks_are_local_maxima_above_the_mean(values, peaks):
    assert count_peaks(np.array(values, np.float32)) == peaks


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_a_few_frames_are_enough(lld, log_mel, n_frames):
    values = compute_functionals(lld[:n_frames], log_mel[:n_frames], CONFIG)
    assert np.isfinite(values).all()
    values = compute_functionals(lld[20 : 20 + n_frames], log_mel[:n_frames], CONFIG)
    assert np.isfinite(values).all()
    assert named(values)["voiced_share"] == 1
