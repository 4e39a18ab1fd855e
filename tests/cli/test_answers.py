"""Where predict writes to, by its options."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest
import srt

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Serctl


@pytest.fixture
def recordings(samples: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("tom-sad.flac", "emma-happy.flac"):
        shutil.copy(samples / name, folder / name)
    (folder / "broken.wav").write_bytes(b"")
    return folder


def test_labels_of_one_recording_are_a_file(serctl: Serctl, recordings: Path, tmp_path: Path) -> None:
    output = tmp_path / "tom.srt"
    words = ("predict", str(recordings / "tom-sad.flac"), "-q", "-j", "1", "--window", "1", "-o", str(output))
    assert serctl(*words).code == 0
    cues = list(srt.parse(output.read_text(encoding="utf-8")))
    assert len(cues) > 1
    assert all(before.end == after.start for before, after in itertools.pairwise(cues))
    refused = serctl("predict", str(recordings), "-q", "-o", str(tmp_path / "all.srt"))
    assert (refused.code, "holds the labels of one recording. Received: 3: -o FOLDER --format" in refused.stderr) == (
        2,
        True,
    )


def test_a_folder_gets_the_labels_of_each_recording(serctl: Serctl, recordings: Path, tmp_path: Path) -> None:
    words = ("predict", str(recordings), "-j", "1", "-o", str(tmp_path / "labels"), "--format", "textgrid")
    done = serctl(*words)
    assert (done.code, done.stdout) == (3, "")
    assert f"report: {tmp_path / 'labels'}" in done.stderr
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["emma-happy.TextGrid", "tom-sad.TextGrid"]
    assert "exists: --overwrite" in serctl(*words).stderr
    assert "expected no --format" in serctl(*words, "--resume").stderr


def test_rttm_holds_all_recordings(serctl: Serctl, recordings: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.rttm"
    assert serctl("predict", str(recordings), "-q", "-j", "1", "-o", str(output)).code == 3
    assert {line.split()[1] for line in output.read_text().splitlines()} == {"tom-sad", "emma-happy"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "srt"), "expected -o FOLDER"),
        (("--excel", "-o", "x.parquet"), "expected -o NAME.csv"),
        (("--excel",), "expected -o NAME.csv"),
        (("-o", "x.doc"), "expected an output ending in .csv, .parquet, .jsonl, .html, .srt, "),
    ],
)
def test_what_does_not_go_together_is_refused(
    serctl: Serctl, recordings: Path, words: tuple[str, ...], message: str
) -> None:
    refused = serctl("predict", str(recordings), "-q", *words)
    assert (refused.code, message in refused.stderr) == (2, True), refused.stderr
