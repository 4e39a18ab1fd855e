from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from serctl.corpora import ReadOptions, load_corpora, load_corpus
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from pathlib import Path


def make(root: Path, *recordings: str) -> Path:
    for recording in recordings:
        (root / recording).parent.mkdir(parents=True, exist_ok=True)
        (root / recording).touch()
    return root


def test_utterances_are_sorted_by_path(tmp_path: Path) -> None:
    make(tmp_path, "sad/b.wav", "happy/b.wav", "happy/a.wav")
    names = [utterance.path.relative_to(tmp_path).as_posix() for utterance in load_corpus(tmp_path).utterances]
    assert names == ["happy/a.wav", "happy/b.wav", "sad/b.wav"]


def test_a_manifest_comes_before_the_file_names(tmp_path: Path) -> None:
    make(tmp_path, "03-01-06-01-02-01-12.wav", "03-01-05-01-02-01-12.wav")
    (tmp_path / "manifest.csv").write_text("path,emotion\n03-01-06-01-02-01-12.wav,fear\n")
    assert len(load_corpus(tmp_path).utterances) == 1


def test_file_names_come_before_folders(tmp_path: Path) -> None:
    make(tmp_path, "happy/03-01-06-01-02-01-12.wav")
    assert load_corpus(tmp_path).utterances[0].emotion == "fearful"


def test_several_corpora_under_one_folder_are_told_apart_in_the_error(tmp_path: Path) -> None:
    make(tmp_path, "r/03-01-06-01-02-01-12.wav", "e/03a01Fa.wav", "angry/1001_DFA_ANG_XX.wav")
    with pytest.raises(CorpusError, match="1 follow RAVDESS, 1 follow EMO-DB, 1 follow CREMA-D; folders: angry, e, r"):
        load_corpus(tmp_path)


def test_an_unrecognised_folder_tells_what_was_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "misc/x.wav")
    with pytest.raises(CorpusError, match=r"Looked for IEMOCAP.*manifest.csv.*RAVDESS.*Found 1 recordings.*misc"):
        load_corpus(tmp_path)


def test_folders_named_after_the_parts_of_a_split_mark_their_recordings(tmp_path: Path) -> None:
    make(tmp_path, "Train/happy/a.wav", "sad/val/b.wav", "test/sad/c.wav", "sad/d.wav")
    splits = {utterance.path.name: utterance.split for utterance in load_corpus(tmp_path).utterances}
    assert splits == {"a.wav": "train", "b.wav": "validation", "c.wav": "test", "d.wav": None}


def test_a_corpus_known_by_its_file_names_is_marked_by_its_folders(tmp_path: Path) -> None:
    make(tmp_path / "test", "train/03-01-06-01-02-01-12.wav", "dev/03-01-05-01-02-01-12.wav")
    splits = [utterance.split for utterance in load_corpus(tmp_path / "test").utterances]
    assert splits == ["validation", "train"]


def test_no_recordings_no_corpus(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    with pytest.raises(CorpusError, match="no corpus: no recording in"):
        load_corpus(tmp_path)


def test_what_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="gone: no such folder or manifest"):
        load_corpus(tmp_path / "gone")


def test_a_recording_is_no_corpus(tmp_path: Path) -> None:
    make(tmp_path, "x.wav")
    with pytest.raises(CorpusError, match=r"x.wav: expected a folder or a manifest \(.csv, .tsv, .jsonl, .parquet\)"):
        load_corpus(tmp_path / "x.wav")


def test_a_speaker_of_two_genders_is_a_problem(tmp_path: Path) -> None:
    make(tmp_path, "n1-01-01-01-09.wav", "n1-01-02-01-09.wav", "s4-01-02-02-09.wav")
    assert load_corpus(tmp_path).problems == ("speaker ased/09 is coded female 2 times and male 1 times",)


def test_corpora_come_in_the_order_given(tmp_path: Path) -> None:
    make(tmp_path, "z/03a01Fa.wav", "a/03-01-06-01-02-01-12.wav")
    assert [corpus.name for corpus in load_corpora([tmp_path / "z", tmp_path / "a"])] == ["emodb", "ravdess"]


@pytest.mark.parametrize("second", ["corpus", "corpus/sub", "link"])
def test_the_same_recording_twice_is_an_error(tmp_path: Path, second: str) -> None:
    make(tmp_path, "corpus/sub/03a01Fa.wav")
    (tmp_path / "link").symlink_to(tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"03a01Fa.wav is in both .*corpus and "):
        load_corpora([tmp_path / "corpus", tmp_path / second])


def test_a_label_may_be_said_to_mean_what_it_means_anyway(tmp_path: Path) -> None:
    make(tmp_path, "Joyful/a.wav", "sad/b.wav")
    options = ReadOptions(labels=(("joyful", "happy"), ("afraid", "fearful")))
    assert [each.emotion for each in load_corpora([tmp_path], options)[0].utterances] == ["happy", "sad"]
