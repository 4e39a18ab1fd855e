from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from serctl.explanation.counterfactuals import Counterfactual
from serctl.explanation.faithfulness import Faithfulness
from serctl.explanation.groups import Contribution, Contributions
from serctl.explanation.page import make_page
from serctl.explanation.quantity import Quantity
from serctl.explanation.recording import Explanation
from serctl.explanation.words import agreement_words, answer_words, change_words, novelty_words, order_words
from serctl.metrics import Scale

EMOTIONS = Quantity(("angry", "sad"))
FAITH = Faithfulness((0.7, 0.2), (0.2, 0.7), (0.7, 0.2), 0.3, 0.6, 0.45, 0.1, 0.99)


@pytest.fixture
def explanation() -> Explanation:
    """A recording of three windows, the second one silent."""
    return Explanation(
        path="call.wav",
        channel=None,
        model="m@1",
        answer="angry",
        confidence=0.7,
        emotion="angry",
        window_start_s=(0, 3, 6),
        window_end_s=(3, 6, 9),
        window_probability=(0.72, math.nan, 0.6),
        start_s=0,
        end_s=3,
        probabilities={"angry": 0.72, "sad": 0.28},
        edges_s=(0.5, 1, 1.5),
        importance=(0.5, -0.1),
        hidden_probability=0.32,
        edges_hz=(0, 8000),
        band_importance=((0.1, 0.0),),
        attention_edges_s=(),
        attention=(),
        contributions=None,
        counterfactuals=(
            Counterfactual("pitch", "20 % lower", "sad", 0.9, 0.1),
            Counterfactual("pitch", "10 % lower", "sad", 0.61, 0.39),
            Counterfactual("pitch", "10 % higher", "angry", 0.8, 0.8),
            Counterfactual("tempo", "20 % slower", "sad", 0.55, 0.45),
        ),
        faithfulness=FAITH,
        novelty=0.97,
    )


def test_the_smallest_change_of_each_quality_is_named(explanation: Explanation) -> None:
    assert change_words(explanation) == [
        "With pitch 10 % lower, the window is sad 61\u00a0% instead of angry 72\u00a0%.",
        "With tempo 20 % slower, the window is sad 55\u00a0% instead of angry 72\u00a0%.",
    ]
    firm = replace(explanation, counterfactuals=explanation.counterfactuals[2:3])
    assert change_words(firm) == ["None of the 1 changes to the voice changes the answer to the window."]


def test_each_probability_is_said_to_be_of_the_recording_or_of_the_window(explanation: Explanation) -> None:
    whole = "The answer to the whole recording is angry 70\u00a0%."
    window = "Explained here: angry 72\u00a0% in the window from 0.0 to 3.0 s."
    assert answer_words(explanation) == f"{whole} {window}"
    assert f"{whole} {window}" in make_page([explanation])
    other = window.replace("angry 72", "sad 28")
    assert answer_words(replace(explanation, emotion="sad")) == f"{whole} {other}"
    alone = {"window_start_s": (0,), "window_end_s": (3,), "window_probability": (0.7,)}
    assert answer_words(replace(explanation, **alone)) == whole
    assert answer_words(replace(explanation, emotion="sad", **alone)) == f"{whole} {other}"


@pytest.mark.parametrize(("novelty", "warned"), [(None, False), (0.94, False), (0.95, True)])
def test_a_new_recording_is_warned_of(explanation: Explanation, novelty: float | None, warned: bool) -> None:
    assert bool(novelty_words(replace(explanation, novelty=novelty))) == warned


def test_an_explanation_no_better_than_chance_is_called_so() -> None:
    assert order_words(FAITH, EMOTIONS) == (
        "Hiding the most important moments first costs more than hiding in random order "
        "(mean probability 0.30 against 0.45): faithful."
    )
    assert order_words(replace(FAITH, deletion_auc=0.45), EMOTIONS).endswith("do not rely on them.")
    assert ["low" in text for text in agreement_words(FAITH)] == [True, False]
    assert agreement_words(replace(FAITH, agreement=None, stability=None)) == []


def test_a_page_and_json_have_a_silent_window(explanation: Explanation) -> None:
    assert "in each window" in make_page([explanation])
    content = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert content["window_probability"] == [0.72, None, 0.6]


def test_a_number_is_written_as_one(explanation: Explanation) -> None:
    number = replace(
        explanation,
        answer="pain",
        emotion="pain",
        confidence=6.31,
        scale=Scale("pain", 0, 10),
        probabilities={"pain": 7.2},
        contributions=Contributions((Contribution("pitch", 2.06),), 4.1),
        counterfactuals=(
            Counterfactual("pitch", "10 % lower", "pain", 6.0, 6.0),
            Counterfactual("tempo", "20 % slower", "pain", 8.1, 8.1),
        ),
    )
    assert answer_words(number) == (
        "The answer to the whole recording is pain 6.3, on a scale of 0 to 10. "
        "Explained here: pain 7.2 in the window from 0.0 to 3.0 s."
    )
    assert change_words(number) == [
        "Of 2 changes to the voice, pitch 10 % lower moves pain most: 6.0 instead of 7.2 in the window."
    ]
    assert "mean pain 0.3 against 0.5" in order_words(FAITH, number.quantity)
    page = make_page([number])
    assert "Which moments raise pain" in page
    assert '<td class="n">+2.1</td>' in page
    assert "From 4.1 for a recording that is average in everything to 7.2 in the window." in page
    assert "%</text>" not in page
    assert "probability of" not in page.lower()
    assert json.loads(json.dumps(number.to_dict(), allow_nan=False))["scale"]["high"] == 10
