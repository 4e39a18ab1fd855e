"""Scores of predicted numbers, and the scale that a network answers them on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error

from serctl.errors import ConfigError
from serctl.metrics import Scale, concordance, score_numbers, score_numbers_by


def numbers(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(1000, 2, n)
    return truth, truth + rng.normal(0.5, 1, n)


def test_the_scores_are_those_of_the_references() -> None:
    truth, predicted = numbers()

    found = score_numbers(truth, predicted, groups=None, seed=0)

    assert found.mae == pytest.approx(mean_absolute_error(truth, predicted))
    assert found.pearson == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    gap = (truth.mean() - predicted.mean()) ** 2
    lin = 2 * np.cov(truth, predicted, bias=True)[0, 1] / (truth.var() + predicted.var() + gap)
    assert found.ccc == pytest.approx(lin) == pytest.approx(concordance(truth, predicted))


def test_intervals_are_over_speakers_and_wider_than_over_utterances() -> None:
    rng = np.random.default_rng(1)
    speakers = np.repeat(np.arange(8), 20)
    truth = rng.normal(0, 1, 160)
    predicted = truth + rng.normal(0, 1, 8)[speakers]

    by_speaker = score_numbers(truth, predicted, groups=[f"s{each}" for each in speakers], seed=0).intervals["mae"]
    by_utterance = score_numbers(truth, predicted, groups=None, seed=0).intervals["mae"]

    assert (by_speaker.unit, by_speaker.groups, by_utterance.unit) == ("speaker", 8, "utterance")
    assert by_speaker.high - by_speaker.low > 2 * (by_utterance.high - by_utterance.low)
    assert by_speaker.low < score_numbers(truth, predicted, groups=None, seed=0).mae < by_speaker.high


def test_an_utterance_without_speech_is_counted_and_in_no_score() -> None:
    found = score_numbers([1.0, 2.0, 3.0], [1.0, np.nan, 4.0], groups=["a", "b", "c"], seed=0)

    assert (found.n, found.no_speech, found.mae) == (3, 1, 0.5)
    silent = score_numbers([1.0], [np.nan], groups=None, seed=0).to_dict()
    assert (silent["mae"], silent["intervals"]["mae"]["low"]) == (None, None)


def test_a_constant_answer_has_no_correlation() -> None:
    found = score_numbers([1.0, 2.0], [1.5, 1.5], groups=None, seed=0)

    assert (found.ccc, found.to_dict()["pearson"]) == (0.0, None)


def test_scores_by_group_name_the_unknown() -> None:
    found = score_numbers_by(["b", None, "b"], [1.0, 2.0, 3.0], [1.0, 5.0, 4.0])

    assert {name: (each["n"], each["mae"]) for name, each in found.items()} == {"b": (2, 0.5), "unknown": (1, 3.0)}
    assert score_numbers_by([None], [1.0], [1.0]) == {}


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [([np.nan], [1.0], "finite"), ([1.0], [1.0, 2.0], "as many as truth"), ([1.0], [np.inf], "inf")],
)
def test_what_does_not_fit_is_refused(truth: list[float], predicted: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        score_numbers(truth, predicted, groups=None, seed=0)


@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e3), st.floats(0, 1))
def test_a_number_spread_over_the_bins_is_found_again(low: float, width: float, place: float) -> None:
    scale = Scale("valence", low, low + width)
    value = low + place * width

    (row,) = scale.histograms([value])

    assert row.sum() == pytest.approx(1, abs=1e-5)
    assert scale.values(row[None])[0] == pytest.approx(value, abs=0.002 * width)


def test_a_scale_keeps_to_its_range_and_to_silence() -> None:
    scale = Scale("valence", -3, 3)

    assert scale.values(scale.histograms([9, -9])).tolist() == pytest.approx([3, -3], abs=0.01)
    assert np.isnan(scale.values(np.full((1, scale.bins), np.nan))).all()
    with pytest.raises(ConfigError, match="range of valence"):
        Scale("valence", 1, 1)
