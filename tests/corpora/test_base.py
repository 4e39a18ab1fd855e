from __future__ import annotations

from pathlib import Path

import pytest

from serctl.corpora import EMOTIONS, Utterance, normalise_emotion


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_every_emotion_is_its_own_label(emotion: str) -> None:
    assert normalise_emotion(emotion) == emotion


@pytest.mark.parametrize(
    ("label", "emotion"),
    [
        ("anger", "angry"),
        ("Happiness", "happy"),
        ("joy", "happy"),
        ("FEAR", "fearful"),
        ("sadness", "sad"),
        ("surprise", "surprised"),
        ("disgusted", "disgust"),
        ("pleasant surprise", "surprised"),
        ("Pleasant_Surprise", "surprised"),
        ("ps", "surprised"),
        (" angry ", "angry"),
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
