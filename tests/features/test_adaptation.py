"""Adaptation to the recordings at hand: what is measured, how far the training data pulls, what subsets are drawn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.features import FeatureConfig, Normaliser
from serctl.features.adaptation import PRIOR_RECORDINGS, ClassSums, Statistics, adapt, draw_subset

if TYPE_CHECKING:
    from pathlib import Path


def rows(count: int, *, mean: float = 3.0, sd: float = 2.0) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, sd, (count, 5)).astype(np.float32)


@pytest.fixture
def normaliser() -> Normaliser:
    one, zero = np.ones(5, np.float32), np.zeros(5, np.float32)
    return Normaliser(zero, one, zero, one)


def test_the_statistics_are_numpys() -> None:
    values = rows(50)
    found = Statistics.measure(values)
    assert found is not None
    assert found.recordings == 50
    np.testing.assert_allclose(found.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(found.variance, values.var(axis=0, dtype=np.float64), rtol=1e-6)


def test_no_recordings_have_no_statistics() -> None:
    assert Statistics.measure([]) is None


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_recordings_leave_the_normaliser(normaliser: Normaliser, count: int) -> None:
    assert adapt(normaliser, Statistics.measure(rows(count))) is normaliser


def test_as_many_recordings_as_the_prior_count_for_half(normaliser: Normaliser) -> None:
    found = Statistics.measure(rows(int(PRIOR_RECORDINGS)))
    assert found is not None
    adapted = adapt(normaliser, found)
    np.testing.assert_allclose(adapted.functional_mean, found.mean / 2, rtol=1e-5)
    np.testing.assert_allclose(np.square(adapted.functional_sd), (found.variance + 1) / 2, rtol=1e-5)


def test_many_recordings_are_normalised_by_themselves(normaliser: Normaliser) -> None:
    values = rows(5_000)
    adapted = adapt(normaliser, Statistics.measure(values))
    scaled = (values - adapted.functional_mean) / adapted.functional_sd
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=0.02)


def test_the_spectrogram_is_not_adapted(normaliser: Normaliser) -> None:
    adapted = adapt(normaliser, Statistics.measure(rows(30)))
    np.testing.assert_array_equal(adapted.mel_mean, normaliser.mel_mean)


def test_subsets_are_small_and_large_even_and_skewed() -> None:
    labels = np.repeat(np.arange(4), [400, 50, 25, 25])
    rng = np.random.default_rng(0)
    subsets = [draw_subset(labels, rng) for _ in range(200)]
    sizes = [len(subset) for subset in subsets]
    assert min(sizes) >= 8
    assert min(sizes) < 16
    assert max(sizes) > 300
    shares = [np.bincount(labels[subset], minlength=4).max() / len(subset) for subset in subsets if len(subset) > 50]
    assert min(shares) < 0.4
    assert max(shares) > 0.7


def sums_of_two_classes(shares: tuple[float, float]) -> ClassSums:
    """Recordings of two classes whose features are 0 and 1."""
    sums = ClassSums(2)
    for label, share in enumerate(shares):
        for _ in range(round(100 * share)):
            sums.add(np.full(3, float(label)), np.eye(2)[label])
    return sums


def test_balanced_statistics_do_not_follow_a_skewed_mix() -> None:
    sums = sums_of_two_classes((0.9, 0.1))
    even, balanced = sums.statistics(), sums.statistics(balanced=True)
    assert even is not None
    assert balanced is not None
    np.testing.assert_allclose(even.mean, 0.1)
    np.testing.assert_allclose(balanced.mean, 0.5, atol=0.03)


def test_the_prior_grows_with_the_skew() -> None:
    even, skewed = (sums_of_two_classes(shares).statistics(balanced=True) for shares in ((0.5, 0.5), (0.9, 0.1)))
    assert even is not None
    assert skewed is not None
    assert even.prior == pytest.approx(PRIOR_RECORDINGS)
    assert skewed.prior > 2 * PRIOR_RECORDINGS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_as_a_profile_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(ConfigError, match="expected a profile"):
        Statistics.load(tmp_path / "p", config=FeatureConfig())
