from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from serctl.corpora import load_corpus
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from pathlib import Path

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]
C-E2:\tFrustration;\t()

[14.8872 - 18.0175]\tSes01F_impro01_F001\txxx\t[2.5000, 2.5000, 2.5000]
"""
TRANSCRIPTION = "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nSes01F_impro01_M001 [010.0100-011.3925]: Yeah.\n"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    session = tmp_path / "Session1"
    for folder in ("dialog/EmoEvaluation", "dialog/transcriptions", "dialog/wav", "sentences/wav/Ses01F_impro01"):
        (session / folder).mkdir(parents=True)
    (session / "dialog/EmoEvaluation/Ses01F_impro01.txt").write_text(EVALUATION)
    # The release was packed on a Mac: each file has a twin that holds no text.
    (session / "dialog/EmoEvaluation/._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    (session / "dialog/transcriptions/Ses01F_impro01.txt").write_text(TRANSCRIPTION)
    return session


def test_turns_are_their_own_recordings_where_there_are_any(session: Path) -> None:
    for turn in ("F000", "M001", "F001"):
        (session / f"sentences/wav/Ses01F_impro01/Ses01F_impro01_{turn}.wav").touch()
    corpus = load_corpus(session.parent)
    first, second = corpus.utterances
    assert corpus.name == "iemocap"
    assert first.path == session / "sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    assert (first.emotion, first.speaker, first.gender, first.text) == ("neutral", "01F", "female", "Excuse me.")
    assert (first.start_s, first.end_s) == (0.0, None)
    assert (second.emotion, second.speaker_id, second.gender) == ("frustrated", "iemocap/01M", "male")


def test_turns_are_parts_of_the_dialogue_otherwise(session: Path) -> None:
    (session / "dialog/wav/Ses01F_impro01.wav").touch()
    spans = [(utterance.path.name, utterance.start_s, utterance.end_s) for utterance in load_corpus(session).utterances]
    assert spans == [("Ses01F_impro01.wav", 6.2901, 8.2357), ("Ses01F_impro01.wav", 10.01, 11.3925)]


def test_turns_without_agreement_are_counted_as_a_problem(session: Path) -> None:
    (session / "dialog/wav/Ses01F_impro01.wav").touch()
    assert load_corpus(session).problems == ("1 turns have no agreed label (xxx) and are left out",)


def test_turns_without_audio_are_problems(session: Path) -> None:
    (session / "sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").touch()
    corpus = load_corpus(session.parent)
    assert len(corpus.utterances) == 1
    assert "no audio for turn Ses01F_impro01_M001" in corpus.problems[0]


def test_a_tree_without_audio_is_an_error(session: Path) -> None:
    with pytest.raises(CorpusError, match="recognised as iemocap, but nothing in it can be used"):
        load_corpus(session.parent)


def test_an_unknown_label_is_a_problem(session: Path) -> None:
    (session / "dialog/wav/Ses01F_impro01.wav").touch()
    file = session / "dialog/EmoEvaluation/Ses01F_impro01.txt"
    file.write_text(EVALUATION.replace("\tneu\t", "\tqqq\t"))
    corpus = load_corpus(session.parent)
    assert [utterance.emotion for utterance in corpus.utterances] == ["frustrated"]
    assert "1 utterances are left out, since no known emotion is called 'qqq' (1)" in corpus.problems[0]
