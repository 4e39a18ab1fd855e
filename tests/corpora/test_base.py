from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
from hypothesis import given
from hypothesis import strategies as st

from serctl.corpora import EMOTIONS, Utterance, normalise_emotion


@given(st.sampled_from(EMOTIONS), st.lists(st.sampled_from(["", " ", "-", "_", "\t"]), min_size=20), st.booleans())
def test_every_emotion_is_its_own_label_however_it_is_spelt(emotion: str, gaps: list[str], upper: bool) -> None:
    spelt = "".join(gap + letter for gap, letter in zip(gaps, emotion, strict=False)) + gaps[-1]
    assert normalise_emotion(spelt.upper() if upper else spelt) == emotion


@pytest.mark.parametrize(
    ("label", "emotion"),
    [
        ("anger", "angry"),
        ("joy", "happy"),
        ("fear", "fearful"),
        ("sadness", "sad"),
        ("surprise", "surprised"),
        ("disgusted", "disgust"),
        ("pleasant surprise", "surprised"),
        ("ps", "surprised"),
        ("bored", "boredom"),
    ],
)
def test_other_spellings_are_understood(label: str, emotion: str) -> None:
    assert normalise_emotion(label) == emotion


@pytest.mark.parametrize("label", ["", "wav", "Actor_01", "angrily"])
def test_what_is_no_emotion_is_unknown(label: str) -> None:
    assert normalise_emotion(label) is None


def test_speaker_id_tells_corpora_apart() -> None:
    known = Utterance(Path("a.wav"), "happy", "ravdess", speaker="01")
    unknown = Utterance(Path("a.wav"), "happy", "ravdess")
    assert known.speaker_id == "ravdess/01"
    assert unknown.speaker_id is None
