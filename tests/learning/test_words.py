"""Words of labelled utterances: where they are found, and when they are used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from serctl.corpora import Utterance
from serctl.learning.dataset import Sample
from serctl.learning.words import mix_words, utterance_tokens, with_transcripts, words_status

SAD = "I am so sad, I have been crying all day long."
LABELS = ("happy", "sad")


def utterance(name: str = "call.wav", **facts: object) -> Utterance:
    return Utterance(Path(name), "sad", "corpus", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "language", "status"),
    [
        (SAD, "en", "used"),
        (SAD, None, "used"),
        (SAD, "pl", "ignored"),
        ("Dziunia, nie jesteś moim szefem.", None, "ignored"),
        ("... !?", None, "missing"),
        (None, None, "missing"),
    ],
)
def test_only_english_words_are_used(text: str | None, language: str | None, status: str) -> None:
    found = utterance(text=text, language=language)
    assert words_status(found) == status
    assert (utterance_tokens(found, None) is not None) == (status == "used")


def test_transcripts_stand_for_the_words_of_a_manifest(tmp_path: Path) -> None:
    segments = [{"start": 0, "end": 2, "text": "first part"}, {"start": 2, "end": 4, "text": "second part"}]
    (tmp_path / "call.json").write_text(json.dumps({"segments": segments}))
    (tmp_path / "plain.txt").write_text("no times")
    (tmp_path / "broken.json").write_text('{"segments": [')
    given = [
        utterance(text="of the manifest"),
        utterance(start_s=2.0),
        utterance("plain.wav"),
        utterance("plain.wav", end_s=1.0),
        utterance("broken.wav", text="of the manifest"),
        utterance("absent.wav", text="of the manifest"),
    ]

    found, problems = with_transcripts(given, str(tmp_path))

    assert [each.text for each in found] == ["first part second part", "second part", "no times", None, None, None]
    assert [problem.split(": ")[-1][:15] for problem in problems] == [
        "it has no times",
        problems[1].split(": ")[-1][:15],
    ]
    assert "is not whole JSON" in problems[1]


def test_answers_to_speech_are_mixed_with_words() -> None:
    samples = [
        Sample(utterance(text=text), "", (), ()) for text in (SAD, None, "Dziunia, nie jesteś moim szefem.", SAD)
    ]
    speech = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [np.nan, np.nan]])

    mixed, counts = mix_words(speech, samples, LABELS)

    assert mixed[0, 1] > speech[0, 1]
    np.testing.assert_array_equal(mixed[1:], speech[1:])
    assert counts == {"used": 1, "missing": 1, "ignored": 2}
