from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from serctl.corpora import load_corpus
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from pathlib import Path


def make(root: Path, *recordings: str) -> None:
    for recording in recordings:
        (root / recording).parent.mkdir(parents=True, exist_ok=True)
        (root / recording).touch()


def write(root: Path, text: str, name: str = "manifest.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8", newline="")
    return root / name


def test_a_manifest_gives_every_column(tmp_path: Path) -> None:
    make(tmp_path, "wav/ä b.wav")
    write(
        tmp_path,
        "Path,emotion,speaker,gender,language,text,start,end,split,mood\n"
        'wav/ä b.wav,Anger,7,F,de,"Nein, nie",0.5,2.25,dev,x\n',
    )
    (utterance,) = load_corpus(tmp_path).utterances
    assert utterance.path == tmp_path / "wav/ä b.wav"
    assert (utterance.emotion, utterance.speaker, utterance.gender) == ("angry", "7", "female")
    assert (utterance.language, utterance.text, utterance.split) == ("de", "Nein, nie", "validation")
    assert (utterance.start_s, utterance.end_s) == (0.5, 2.25)
    assert utterance.corpus == tmp_path.name


def test_path_and_emotion_suffice(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    (utterance,) = load_corpus(write(tmp_path, "path,emotion\na.wav,happy\n", "mine.csv")).utterances
    assert (utterance.corpus, utterance.speaker, utterance.gender, utterance.split) == ("mine", None, None, None)
    assert (utterance.start_s, utterance.end_s) == (0.0, None)


def test_an_augmented_copy_names_its_source(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    columns = "path,emotion,source_digest,source_start,source_end,copy"
    write(tmp_path, f"{columns}\na.wav,sad,ab,,,\nb.wav,sad,ab,0.5,2,1\nc.wav,sad,,,,\nd.wav,sad,ab,0.5,2,0\n")
    utterances = load_corpus(tmp_path).utterances
    assert [utterance.source for utterance in utterances] == ["ab", "ab@0.5-2", None, "ab@0.5-2"]
    assert [utterance.is_copy for utterance in utterances] == [True, True, False, False]


def test_absolute_paths_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.wav", "here/x")
    manifest = write(tmp_path / "here", f"\ufeffpath,emotion\n{tmp_path}/elsewhere/a.wav,sad\n")
    assert load_corpus(manifest).utterances[0].path == tmp_path / "elsewhere/a.wav"


def test_spaces_belong_to_a_path_and_to_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, " a.wav ")
    write(tmp_path, "path , emotion\n a.wav , Sad \n")
    (utterance,) = load_corpus(tmp_path).utterances
    assert (utterance.path, utterance.emotion) == (tmp_path / " a.wav ", "sad")


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b.wav")
    rows = {"path": ["a.wav", "b.wav"], "emotion": ["sad", "happy"], "speaker": ["1", None], "end": [1.5, None]}
    pd.DataFrame(rows).to_parquet(tmp_path / "manifest.parquet")
    first, second = load_corpus(tmp_path).utterances
    assert (first.emotion, first.speaker, first.end_s) == ("sad", "1", 1.5)
    assert (second.emotion, second.speaker, second.end_s) == ("happy", None, None)


def test_parts_of_one_recording_are_utterances_in_order(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    write(tmp_path, "path,emotion,start,end\na.wav,sad,2,3\na.wav,happy,0,2\n")
    spans = [(utterance.emotion, utterance.start_s, utterance.end_s) for utterance in load_corpus(tmp_path).utterances]
    assert spans == [("happy", 0.0, 2.0), ("sad", 2.0, 3.0)]


def test_a_known_corpus_keeps_its_identity_and_the_manifests_facts(tmp_path: Path) -> None:
    make(tmp_path, "03-01-06-01-02-01-12.wav")
    write(tmp_path, "path,emotion,speaker\n03-01-06-01-02-01-12.wav,sad,someone\n")
    corpus = load_corpus(tmp_path)
    (utterance,) = corpus.utterances
    assert (corpus.name, corpus.licence) == ("ravdess", "CC BY-NC-SA 4.0")
    assert (utterance.emotion, utterance.speaker) == ("sad", "someone")
    assert (utterance.gender, utterance.language) == ("female", "en")


def test_the_corpus_column_names_the_corpora(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b.wav")
    write(tmp_path, "path,emotion,corpus,speaker\na.wav,sad,nemo,X\nb.wav,sad,tess,X\n")
    corpus = load_corpus(tmp_path)
    assert [utterance.speaker_id for utterance in corpus.utterances] == ["nemo/X", "tess/X"]
    assert corpus.licence == "nemo: CC BY-NC-SA 4.0; tess: CC BY-NC-ND 4.0"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("gone.wav,sad,,", "there is no file"),
        (",sad,,", "has no path"),
        ("a.wav,,,", "a.wav has no emotion"),
        ("a.wav,sad,2,1", "ends at 1.0 s, before or at its start at 2.0 s"),
        ("a.wav,sad,soon,", "start is 'soon', expected seconds"),
        ("a.wav,sad,-1,", "start is '-1', expected seconds"),
        ("a.wav,sad,,inf", "end is 'inf', expected seconds"),
        ("b.wav,sad,,", "b.wav is listed twice"),
    ],
)
def test_a_row_that_cannot_be_used_is_a_problem(tmp_path: Path, row: str, problem: str) -> None:
    make(tmp_path, "a.wav", "b.wav")
    write(tmp_path, f"path,emotion,start,end\nb.wav,happy,,\n{row}\n")
    corpus = load_corpus(tmp_path)
    assert [(utterance.path.name, utterance.emotion) for utterance in corpus.utterances] == [("b.wav", "happy")]
    (told,) = corpus.problems
    assert problem in told
    assert "row 2" in told


def test_an_odd_gender_is_told_and_taken_as_unknown(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    write(tmp_path, "path,emotion,gender\na.wav,sad,tenor\n")
    corpus = load_corpus(tmp_path)
    assert corpus.utterances[0].gender is None
    assert "gender 'tenor' of 1 rows" in corpus.problems[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,emotion\na.wav,meh\n", r"called 'meh'. Labels found: 'meh' \(1\). Known emotions: neutral, calm"),
        ("file,emotion\na.wav,sad\n", "lacks path, has emotion, file"),
        ("path,emotion\n", "has no rows"),
        ("path,emotion\ngone.wav,sad\n", "none of its 1 rows can be used; the first problem: .*no file"),
        ("path,emotion,split\na.wav,sad,eval\n", "row 1: split is 'eval', expected train, validation or test"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, "a.wav")
    write(tmp_path, text)
    with pytest.raises(CorpusError, match=message):
        load_corpus(tmp_path)


def test_a_damaged_parquet_manifest_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "not parquet at all", "manifest.parquet")
    with pytest.raises(CorpusError, match=r"manifest.parquet: cannot be read as a manifest"):
        load_corpus(tmp_path)


def test_folders_named_after_emotions_label_their_recordings(tmp_path: Path) -> None:
    make(tmp_path, "Anger/x.wav", "bob/02_happy/x.wav", "sad/bob/x.flac")
    corpus = load_corpus(tmp_path)
    found = {utterance.path.relative_to(tmp_path).as_posix(): utterance.emotion for utterance in corpus.utterances}
    assert found == {"Anger/x.wav": "angry", "bob/02_happy/x.wav": "happy", "sad/bob/x.flac": "sad"}
    assert {utterance.speaker for utterance in corpus.utterances} == {None}
    assert corpus.licence is None


def test_the_innermost_emotion_folder_counts(tmp_path: Path) -> None:
    make(tmp_path, "neutral/angry/x.wav", "happy/x.wav")
    assert [utterance.emotion for utterance in load_corpus(tmp_path).utterances] == ["happy", "angry"]


def test_a_recording_beside_the_emotion_folders_is_a_problem(tmp_path: Path) -> None:
    make(tmp_path, "happy/x.wav", "stray.wav")
    corpus = load_corpus(tmp_path)
    assert len(corpus.utterances) == 1
    assert corpus.problems == (f"{tmp_path / 'stray.wav'}: lies in no folder named after an emotion",)


def test_an_unknown_folder_is_an_error_that_lists_all(tmp_path: Path) -> None:
    make(tmp_path, "happy/x.wav", "happy/y.wav", "silly/x.wav")
    with pytest.raises(CorpusError, match=r"called 'silly'. Labels found: 'happy' \(2\), 'silly' \(1\). Known"):
        load_corpus(tmp_path)
