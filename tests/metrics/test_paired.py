"""Paired differences are those of the scores, and their tests know chance from skill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.metrics import (
    confusion_matrix,
    expected_calibration_error,
    paired_differences,
    paired_number_differences,
    score_numbers,
    uar,
    wa,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("happy", "sad", "angry")


def answers(truth: NDArray[np.int64], skill: float, seed: int) -> NDArray[np.float64]:
    """Probabilities that favour the truth in a share of the utterances."""
    rng = np.random.default_rng(seed)
    favoured = np.where(rng.random(len(truth)) < skill, truth, rng.integers(0, 3, len(truth)))
    return rng.dirichlet([1, 1, 1], len(truth)) * 0.4 + 0.6 * np.eye(3)[favoured]


@pytest.fixture(scope="module")
def truth() -> NDArray[np.int64]:
    return np.random.default_rng(0).choice(3, 300, p=[0.5, 0.3, 0.2])


SPEAKERS = [f"s{index % 12}" for index in range(300)]


def test_the_scores_are_those_of_each_by_itself(truth: NDArray[np.int64]) -> None:
    first, second = answers(truth, 0.4, 1), answers(truth, 0.7, 2)
    found = paired_differences(truth, first, second, SPEAKERS, classes=CLASSES, rng=np.random.default_rng(0))
    for rows, name in ((first, "first"), (second, "second")):
        matrix = confusion_matrix(truth, rows.argmax(axis=1), n_classes=3)
        assert getattr(found["uar"], name) == pytest.approx(uar(matrix))
        assert getattr(found["wa"], name) == pytest.approx(wa(matrix))
        assert getattr(found["ece"], name) == pytest.approx(expected_calibration_error(rows, truth))
    difference = found["uar"]
    assert difference.interval.low < difference.difference < difference.interval.high
    assert (difference.interval.unit, difference.interval.groups) == ("speaker", 12)
    assert difference.interval.low > 0
    assert difference.p_value < 0.01


def test_equal_classifiers_do_not_differ(truth: NDArray[np.int64]) -> None:
    rows = answers(truth, 0.5, 1)
    for each in paired_differences(truth, rows, rows, SPEAKERS, classes=CLASSES, rng=np.random.default_rng(0)).values():
        assert (each.difference, each.interval.low, each.interval.high, each.p_value) == (0, 0, 0, 1)


def test_chance_is_found_significant_as_often_as_the_level_says(truth: NDArray[np.int64]) -> None:
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        pair = answers(truth, 0.5, 2 * seed), answers(truth, 0.5, 2 * seed + 1)
        values.append(paired_differences(truth, *pair, SPEAKERS, classes=CLASSES, rng=rng, draws=300)["wa"].p_value)
    assert np.mean(np.array(values) < 0.2) == pytest.approx(0.2, abs=0.13)  # 2.5 standard errors
    assert np.median(values) == pytest.approx(0.5, abs=0.16)


def test_few_speakers_can_prove_little(truth: NDArray[np.int64]) -> None:
    speakers = [f"s{index % 3}" for index in range(300)]
    pair = answers(truth, 0.1, 1), answers(truth, 0.95, 2)
    found = paired_differences(truth, *pair, speakers, classes=CLASSES, rng=np.random.default_rng(0))
    assert found["uar"].p_value == pytest.approx(2 / 2**3, abs=0.03)  # two of the eight exchanges are as large


def test_without_speakers_utterances_are_resampled_and_silence_is_wrong(truth: NDArray[np.int64]) -> None:
    rows = answers(truth, 0.9, 1)
    silent = rows.copy()
    silent[:150] = np.nan
    found = paired_differences(truth, rows, silent, None, classes=CLASSES, rng=np.random.default_rng(0), draws=200)
    assert found["wa"].interval.unit == "utterance"
    right = rows.argmax(axis=1) == truth
    assert found["wa"].difference == pytest.approx(-right[:150].mean() / 2)
    assert found["ece"].second == pytest.approx(expected_calibration_error(rows[150:], truth[150:]))


def test_nothing_to_compare_on_is_refused() -> None:
    empty = np.empty((0, 3))
    with pytest.raises(ConfigError, match="at least one utterance"):
        paired_differences([], empty, empty, None, classes=CLASSES, rng=np.random.default_rng(0))


def test_numbers_are_compared_by_their_scores_on_the_same_utterances() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=60)
    near, far = truth + rng.normal(0, 0.2, 60), truth + rng.normal(0.5, 0.8, 60)
    speakers = [f"s{index // 5}" for index in range(60)]
    found = paired_number_differences(truth, near, far, speakers, rng=np.random.default_rng(0), draws=500)
    for which, predicted in (("first", near), ("second", far)):
        scores = score_numbers(truth, predicted, groups=None, seed=0)
        for name in ("mae", "ccc", "pearson"):
            assert getattr(found[name], which) == pytest.approx(getattr(scores, name))
    assert found["mae"].interval.low > 0 > found["ccc"].interval.high
    assert (found["mae"].interval.unit, found["mae"].interval.groups) == ("speaker", 12)
    assert found["mae"].p_value < 0.01
    same = paired_number_differences(truth, near, near, None, rng=np.random.default_rng(0), draws=50)
    assert same["mae"].p_value == 1
    with pytest.raises(ConfigError, match="at least one utterance"):
        paired_number_differences([], [], [], None, rng=np.random.default_rng(0))
