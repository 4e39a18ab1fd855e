"""Words beside speech: the gate, the mixture, and contradictions."""

from __future__ import annotations

import numpy as np
import pytest

from serctl.runtime.words import Opinion, can_read, fuse, has_words, in_conflict, read_words, text_weight

LABELS = ("neutral", "happy", "sad", "angry", "boredom")
SPEECH = np.array([0.2, 0.5, 0.1, 0.1, 0.1])


def opinion(*probabilities: float, words: int = 10) -> Opinion:
    return Opinion(np.array(probabilities), words)


SAD = opinion(0.05, 0.05, 0.8, 0.1, 0)
NEUTRAL = opinion(0.95, 0.02, 0.02, 0.01, 0)


def test_neutral_words_hardly_weigh() -> None:
    assert text_weight(SPEECH, NEUTRAL, LABELS, 30) < 0.01 < 0.15 < text_weight(SPEECH, SAD, LABELS, 30)


def test_more_words_weigh_more() -> None:
    weights = [text_weight(SPEECH, Opinion(SAD.probabilities, words), LABELS, 30) for words in (1, 3, 10, 1000)]

    assert weights == sorted(weights)
    assert weights[0] < weights[-1] < 1


def test_words_weigh_more_beside_noisy_or_unsure_speech() -> None:
    plain = text_weight(SPEECH, SAD, LABELS, 30)

    assert text_weight(SPEECH, SAD, LABELS, 0) > plain
    assert text_weight(np.full(5, 0.2), SAD, LABELS, 30) > plain
    assert text_weight(SPEECH, SAD, LABELS, float("nan")) == plain


def test_an_emotion_that_words_do_not_know_keeps_the_probability_of_speech() -> None:
    mixed = fuse(SPEECH, SAD, 0.5, LABELS)

    assert mixed[4] == SPEECH[4]
    assert mixed.sum() == pytest.approx(1)
    assert mixed[2] > SPEECH[2]
    np.testing.assert_allclose(fuse(SPEECH, SAD, 0, LABELS), SPEECH)


def test_what_words_leave_to_neutral_stays_with_the_speech() -> None:
    half = opinion(0.5, 0.05, 0.4, 0.05, 0)

    assert text_weight(SPEECH, opinion(0.2, 0.05, 0.7, 0.05, 0), LABELS, 30) > text_weight(SPEECH, half, LABELS, 30)
    np.testing.assert_allclose(fuse(SPEECH, half, 0.2, LABELS)[0], 0.8 * SPEECH[0])


def test_a_cheerful_voice_with_sad_words_is_a_conflict() -> None:
    cheerful = np.array([0.1, 0.7, 0.1, 0.1, 0])

    assert in_conflict(cheerful, SAD.probabilities, LABELS)
    assert in_conflict(SAD.probabilities, cheerful, LABELS)
    assert not in_conflict(cheerful, NEUTRAL.probabilities, LABELS)
    assert not in_conflict(SAD.probabilities, np.array([0, 0, 0, 1.0, 0]), LABELS)


def test_words_are_read_in_the_order_of_the_labels_and_unknown_ones_are_zero() -> None:
    found = read_words("I am so happy for you, this is wonderful!", LABELS)

    assert found.probabilities.sum() == pytest.approx(1)
    assert LABELS[found.probabilities.argmax()] == "happy"
    assert found.probabilities[4] == 0
    assert found.words == 9


def test_all_of_a_long_text_counts() -> None:
    happy, sad = "I am so happy, this is wonderful. " * 20, "I am so sad, I have been crying. " * 20

    both = read_words(happy + sad, LABELS).probabilities

    assert both[1] > 0.3
    assert both[2] > 0.3


def test_two_common_labels_are_enough() -> None:
    assert can_read(("happy", "sad", "boredom"))
    assert not can_read(("happy", "boredom"))


@pytest.mark.parametrize(("text", "found"), [("Yes.", True), ("... -- !?", False), ("", False), ("42", True)])
def test_punctuation_is_no_word(text: str, found: bool) -> None:
    assert has_words(text) == found
