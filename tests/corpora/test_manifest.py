from __future__ import annotations

import os
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serctl.corpora import EMOTIONS, ReadOptions, Utterance, load_corpora, load_corpus
from serctl.corpora.columns import LABEL_COLUMNS, SOURCE_COLUMNS
from serctl.corpora.manifest import utterance_cells, write_manifest
from serctl.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        ("a.wav,sad,,,late", "a.wav has more cells than there are columns: late"),
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


def test_unknown_labels_are_one_problem_unless_their_meaning_is_given(tmp_path: Path) -> None:
    make(tmp_path, *"abcd")
    manifest = write(tmp_path, "path,emotion\na,froh\nb,xxx\nc,Froh\nd,sad\n")
    corpus = load_corpus(manifest)
    assert [utterance.path.name for utterance in corpus.utterances] == ["d"]
    (problem,) = corpus.problems
    assert "3 utterances are left out, since no known emotion is called 'Froh' (1), 'froh' (1), 'xxx' (1)" in problem
    mapped = load_corpus(manifest, ReadOptions(labels=(("froh", "happy"),)))
    assert [utterance.emotion for utterance in mapped.utterances] == ["happy", "happy", "sad"]
    assert "'xxx' (1)" in mapped.problems[0]


def test_a_label_whose_meaning_is_given_has_to_occur(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b.wav")
    write(tmp_path, "path,emotion\na.wav,froh\nb.wav,sad\n")
    with pytest.raises(CorpusError, match=r"no utterance is labelled fro. Labels that mean no emotion here: froh"):
        load_corpora([tmp_path], ReadOptions(labels=(("fro", "happy"),)))
    with pytest.raises(ConfigError, match="froh is to mean glad: expected one of neutral"):
        ReadOptions(labels=(("froh", "glad"),))


# Manifests of other tools


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest.csv", "file;label;speaker_id;start;end\na.wav;Sad;7;0,5;2\n"),
        ("manifest.tsv", "filename\temotion\tspeaker\tstart\tend\na.wav\tsad\t7\t0.5\t2\n"),
        ("manifest.jsonl", '{"file_name": "a.wav", "label": "sad", "speaker_id": 7, "start": 0.5, "end": 2}\n'),
        (
            "manifest.csv",
            "file,start,end,emotion,speaker\na.wav,0 days 00:00:00.5,0 days 00:00:02,sad,7\n",
        ),
    ],
    ids=["semicolons", "tabs", "json lines", "audformat"],
)
def test_the_customs_of_others_are_understood(tmp_path: Path, name: str, text: str) -> None:
    make(tmp_path, "a.wav")
    write(tmp_path, text, name)
    corpus = load_corpus(tmp_path)
    (utterance,) = corpus.utterances
    assert (utterance.path, utterance.emotion, utterance.speaker) == (tmp_path / "a.wav", "sad", "7")
    assert (utterance.start_s, utterance.end_s) == (0.5, 2.0)
    assert corpus.problems == ()


def test_an_audformat_frame_is_read_from_parquet(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    index = pd.MultiIndex.from_arrays(
        [["a.wav"], pd.to_timedelta([61.5], unit="s"), pd.to_timedelta([None], unit="s")],
        names=["file", "start", "end"],
    )
    pd.DataFrame({"emotion": ["anger"], "tags": [[1, 2]]}, index=index).to_parquet(tmp_path / "db.parquet")
    (utterance,) = load_corpus(tmp_path / "db.parquet").utterances
    assert (utterance.path, utterance.emotion) == (tmp_path / "a.wav", "angry")
    assert (utterance.start_s, utterance.end_s) == (61.5, None)


def test_a_column_is_taken_by_its_name(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b.wav")
    manifest = write(tmp_path, "file,Recording,mood\na.wav,b.wav,sad\n")
    options = ReadOptions(columns=(("path", "recording"), ("emotion", "mood")))
    assert [each.path.name for each in load_corpus(manifest, options).utterances] == ["b.wav"]
    with pytest.raises(CorpusError, match="has no column take; has file, mood, recording"):
        load_corpus(manifest, ReadOptions(columns=(("path", "take"),)))


@pytest.mark.parametrize(
    ("on_disk", "listed"),
    [
        ("wav/a.wav", "wav\\a.wav"),
        ("odd\\name.wav", "odd\\name.wav"),
        (unicodedata.normalize("NFD", "für/é.wav"), unicodedata.normalize("NFC", "für/é.wav")),
        (unicodedata.normalize("NFC", "für/é.wav"), unicodedata.normalize("NFD", "für\\é.wav")),
    ],
)
def test_a_path_written_elsewhere_finds_its_file(tmp_path: Path, on_disk: str, listed: str) -> None:
    make(tmp_path, on_disk)
    write(tmp_path, f"path,emotion\n{listed}\n".replace("\n", ",sad\n").replace("emotion,sad", "emotion"))
    assert load_corpus(tmp_path).utterances[0].path == tmp_path / on_disk


def test_a_name_that_is_not_utf8_is_read_as_it_lies_on_the_disk(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"J\xf6rg.wav"))
    (tmp_path / "manifest.csv").write_bytes(b"path,emotion\nJ\xf6rg.wav,sad\n")
    assert os.fsencode(load_corpus(tmp_path).utterances[0].path.name) == b"J\xf6rg.wav"


def test_latin_1_is_named_where_it_cannot_be_read(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    (tmp_path / "manifest.csv").write_bytes(b"path,emotion,speaker\na.wav,sad,J\xf6rg\n")
    with pytest.raises(CorpusError, match=r"row 1: speaker holds the byte 0xf6, which is not UTF-8 but may be Latin-1"):
        load_corpus(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"path,emotion\na.wav,sad\nJ\xf6rg.wav,sad\n")
    (problem,) = load_corpus(tmp_path).problems
    assert "whose name holds the byte 0xf6: it may be in Latin-1" in problem


# Writing


WORDS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).map(
    str.strip
).filter(bool)
SECONDS = st.floats(0, 100).map(lambda seconds: round(seconds, 4))


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    start_s = draw(SECONDS)
    source = draw(st.none() | st.sampled_from(["ab12", "ab12@0.5-2"]))
    return Utterance(
        path=Path(draw(st.sampled_from(["a.wav", " b.wav", "c,\n\r.wav"]))),
        emotion=draw(st.sampled_from(EMOTIONS)),
        corpus=draw(WORDS) or "corpus",
        speaker=draw(WORDS),
        gender=draw(st.sampled_from([None, "female", "male"])),
        language=draw(WORDS),
        text=draw(WORDS),
        start_s=start_s,
        end_s=draw(st.none() | SECONDS.map(lambda length: start_s + length + 0.1)),
        split=draw(st.sampled_from([None, "train", "validation", "test"])),
        source=source,
        is_copy=source is not None and draw(st.booleans()),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(utterances(), min_size=1, unique_by=lambda each: (each.path, each.start_s, each.end_s)), st.booleans())
def test_what_is_written_is_read_again(tmp_path: Path, written: list[Utterance], parquet: bool) -> None:
    make(tmp_path, "a.wav", " b.wav", "c,\n\r.wav")
    written = [replace(each, path=tmp_path / each.path) for each in written]
    manifest = tmp_path / f"list.{'parquet' if parquet else 'csv'}"
    rows = (utterance_cells(each, tmp_path, 1.0) for each in written)
    write_manifest(manifest, rows, (*LABEL_COLUMNS, *SOURCE_COLUMNS))
    loaded = load_corpus(manifest)
    assert set(loaded.utterances) == set(written)
    assert len(loaded.utterances) == len(written)


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, str]]:
        yield {"path": "a.wav"}
        raise OSError(28, "No space left on device")

    manifest = write(tmp_path, "precious")
    with pytest.raises(OSError, match="No space left"):
        write_manifest(manifest, rows())
    assert manifest.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [manifest]


def test_parquet_says_that_it_cannot_hold_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file name is not valid UTF-8, which Parquet cannot hold"):
        write_manifest(tmp_path / "m.parquet", [{"path": os.fsdecode(b"\xff.wav"), "emotion": "sad"}])
    assert list(tmp_path.iterdir()) == []


def test_an_odd_gender_is_told_and_taken_as_unknown(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    write(tmp_path, "path,emotion,gender\na.wav,sad,tenor\n")
    corpus = load_corpus(tmp_path)
    assert corpus.utterances[0].gender is None
    assert "gender 'tenor' of 1 rows" in corpus.problems[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,emotion\na.wav,meh\n", r"none of its 1 rows can be used; .*called 'meh' \(1\). Known emotions: neutral"),
        ("recording,emotion\na.wav,sad\n", "lacks path, has emotion, recording"),
        ("file,filename,emotion\na.wav,b.wav,sad\n", "each of file, filename could be the path"),
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


def test_an_unknown_folder_is_a_problem_unless_its_meaning_is_given(tmp_path: Path) -> None:
    make(tmp_path, "happy/x.wav", "happy/y.wav", "silly/x.wav")
    corpus = load_corpus(tmp_path)
    (problem,) = corpus.problems
    assert len(corpus.utterances) == 2
    assert "1 utterances are left out, since no known emotion is called 'silly' (1)" in problem
    mapped = load_corpus(tmp_path, ReadOptions(labels=(("Silly", "amused"),)))
    assert [utterance.emotion for utterance in mapped.utterances] == ["happy", "happy", "amused"]
    assert mapped.problems == ()
