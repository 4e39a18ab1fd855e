"""What commands over recordings share: bad paths, files that are no recordings, the summary, names on a terminal."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from serctl.bundle.store import write_bundle
from serctl.cli._terminal import terminal_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle


@pytest.fixture
def extract(serctl: Any) -> Callable[..., Any]:
    return lambda *arguments, **options: serctl("extract", *arguments, "--jobs", 1, **options)


# Paths that cannot be read


BAD_PATHS = {
    "missing": ("nowhere.wav", "does not exist"),
    "below a file": ("good.flac/x.wav", "cannot be read: Not a directory"),
    "too long": ("x" * 300 + ".wav", "cannot be read: File name too long"),
    "an endless link": ("self.wav", "is a link that leads back to itself"),
}


@pytest.mark.parametrize("how", ["argument", "list"])
@pytest.mark.parametrize("kind", BAD_PATHS)
def test_a_bad_path_costs_one_row(
    extract: Callable[..., Any], samples: Path, tmp_path: Path, how: str, kind: str
) -> None:
    (tmp_path / "good.flac").symlink_to(samples / "tom-sad.flac")
    (tmp_path / "self.wav").symlink_to("self.wav")
    name, error = BAD_PATHS[kind]
    paths = [str(tmp_path / "good.flac"), str(tmp_path / name)]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    result = extract(*(paths if how == "argument" else ["--files-from", tmp_path / "list.txt"]))
    good, bad = csv.DictReader(result.stdout.splitlines())
    assert (result.code, good["status"], bad["status"], bad["path"]) == (3, "ok", "error", paths[1])
    assert error in bad["error"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_path_in_a_closed_folder_costs_one_row(extract: Callable[..., Any], samples: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    shutil.copy(samples / "tom-sad.flac", closed / "x.flac")
    closed.chmod(0)
    result = extract(samples / "tom-sad.flac", closed / "x.flac")
    closed.chmod(0o700)
    assert (result.code, "permission denied" in result.stdout) == (3, True)


LISTS = {
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "NUL": lambda text: text.replace("\n", "\0").encode(),
    "Windows": lambda text: text.replace("/", "\\").encode(),
    "NFD": lambda text: unicodedata.normalize("NFD", text).encode(),
    "Latin-1": lambda text: text.encode("latin-1"),
}


@pytest.mark.parametrize("how", ["file", "stdin"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_another_system_finds_its_recordings(
    extract: Callable[..., Any], samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "für").mkdir()
    recording, *_ = sorted(samples.glob("*.flac"))
    (tmp_path / "für" / "é.flac").symlink_to(recording)
    data = LISTS[kind]("für/é.flac\n")
    (tmp_path / "list.txt").write_bytes(data)
    result = extract("--files-from", "list.txt") if how == "file" else extract("--files-from", "-", stdin=data)
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert (result.code, row["path"], row["status"]) == (0, "für/é.flac", "ok")


def test_a_missing_name_in_latin_1_says_so(extract: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"J\xf6rg.wav\n")
    assert "0xf6, which is not UTF-8 but may be Latin-1" in extract("--files-from", tmp_path / "list.txt").stderr


# Files that are no recordings


@pytest.fixture
def downloads(samples: Path, tmp_path: Path) -> Path:
    """A recording among other files."""
    folder = tmp_path / "downloads"
    (folder / "more").mkdir(parents=True)
    shutil.copy(samples / "tom-sad.flac", folder)
    for name in ("a.docx", "b.DOCX", "more/c.docx", "more/notes.txt", "README", ".hidden"):
        (folder / name).write_text("text")
    return folder


def test_files_that_are_no_recordings_are_counted_by_suffix(
    extract: Callable[..., Any], samples: Path, downloads: Path, tmp_path: Path
) -> None:
    result = extract(downloads, "--summary-json", tmp_path / "s.json")
    assert result.code == 0
    assert "5 files are not recordings: .docx 3, " in result.stderr
    assert json.loads((tmp_path / "s.json").read_text())["not_recordings"] == {".docx": 3, ".txt": 1, "": 1}
    (tmp_path / "one").mkdir()
    shutil.copy(samples / "tom-sad.flac", tmp_path / "one")
    (tmp_path / "one" / "notes.txt").write_text("text")
    assert "1 file is not a recording: .txt 1\n" in extract(tmp_path / "one").stderr


def test_strict_refuses_files_that_are_no_recordings(extract: Callable[..., Any], downloads: Path) -> None:
    result = extract(downloads, "--strict")
    assert (result.code, result.stdout) == (2, "")
    assert re.fullmatch(r"error: 5 files are not recordings: \.docx 3, .*\n", result.stderr)
    assert extract(downloads / "tom-sad.flac", "--strict").code == 0


# Before any work


@pytest.mark.parametrize("output", [[], ["-o", "o.csv"]])
def test_a_network_that_cannot_be_loaded_is_one_error(
    serctl: Any, tiny_bundle: Bundle, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    write_bundle(
        folder,
        tiny_bundle.facts,
        model=b"TFL3" + bytes(1000),
        weights=[],
        normaliser=tiny_bundle.normaliser,
        training=[],
        card="",
    )
    result = serctl("predict", samples, "--model", folder, *output)
    assert (result.code, result.stdout) == (2, "")
    assert re.fullmatch(r"error: .*model\.tflite.*\n", result.stderr)
    assert not list(tmp_path.glob("o.csv*"))


@pytest.mark.parametrize(
    ("place", "message"),
    [("file/s.json", "Not a directory|File exists"), (".", "is a folder"), ("x" * 256, "File name too long")],
)
def test_a_summary_that_cannot_be_written_is_refused_before_any_work(
    extract: Callable[..., Any], samples: Path, tmp_path: Path, place: str, message: str
) -> None:
    (tmp_path / "file").write_text("")
    result = extract(samples, "-o", tmp_path / "o.csv", "--summary-json", tmp_path / place)
    assert (result.code, result.stdout) == (2, "")
    assert re.search(message, result.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_summary_in_the_place_of_the_report_is_refused(
    extract: Callable[..., Any], samples: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.json").symlink_to("o.jsonl")
    for summary in ("o.jsonl", "link.json", f"../{tmp_path.name}/o.jsonl"):
        result = extract(samples, "-o", tmp_path / "o.jsonl", "--summary-json", tmp_path / summary)
        assert (result.code, "is to hold the report: expected another file" in result.stderr) == (2, True)
    assert not (tmp_path / "o.jsonl").exists()


def test_the_summary_goes_to_stdout_if_the_report_does_not(
    extract: Callable[..., Any], samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = extract(samples / "tom-sad.flac", "-o", "o.csv", "--summary-json", "-")
    assert (result.code, json.loads(result.stdout)["succeeded"]) == (0, 1)
    refused = extract(samples / "tom-sad.flac", "--summary-json", "-")
    assert (refused.code, refused.stdout, "expected -o FILE" in refused.stderr) == (2, "", True)
    assert not (tmp_path / "-").exists()


# The speed


def test_the_speed_counts_what_this_run_worked_on(extract: Callable[..., Any], samples: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "folder", tmp_path / "o.csv"
    folder.mkdir()
    shutil.copy(samples / "tom-sad.flac", folder)
    first = extract(folder, "-o", output).stderr
    assert re.search(r"1 of 1 recording, 3\.\d s of audio in \d+\.\d s \(\d+ x real time\)\n", first)
    nothing = extract(folder, "-o", output, "--update").stderr
    assert re.search(r"1 of 1 recording, 3\.\d s of audio\n", nothing)
    assert "1 of them was finished in an earlier run; this run had nothing to do\n" in nothing
    assert "real time" not in nothing
    shutil.copy(samples / "emma-happy.flac", folder)
    more = extract(folder, "-o", output, "--update", "--summary-json", tmp_path / "s.json").stderr
    facts = json.loads((tmp_path / "s.json").read_text())
    assert facts["new_audio_s"] < 0.6 * facts["audio_s"]
    said = re.search(r"earlier run; this run: (\S+) s of audio in \S+ s \((\d+) x real time\)", more)
    assert said, more
    assert said[1] == f"{facts['new_audio_s']:.1f}"
    assert int(said[2]) == pytest.approx(facts["new_audio_s"] / facts["wall_s"], rel=0.1, abs=1)
    (folder / "bad.wav").write_text("no audio")
    failed = extract(folder, "-o", output, "--update").stderr
    assert re.search(r"earlier run; this run: 0\.0 s of audio in \d+\.\d s\n", failed)


# Failures


def test_quiet_shows_one_line_for_each_kind_of_failure(
    extract: Callable[..., Any], samples: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(samples / "tom-sad.flac", folder)
    for number in range(7):
        (folder / f"text-{number}.wav").write_text("no audio")
        (folder / f"gone-{number}.wav").symlink_to("nowhere")
    result = extract(folder, "-q", "-o", tmp_path / "o.csv")
    first, second = result.stderr.splitlines()
    assert result.code == 3
    assert re.fullmatch(r"error: '.*gone-0\.wav' is a dangling link.* \(and 6 more of this kind\)", first)
    assert re.fullmatch(r"error: '.*text-0\.wav' .* \(and 6 more of this kind\)", second)


# What reaches a terminal


EVIL = "\x1b]0;owned\x07\x1b[2J\u202egnp"


def test_control_characters_are_escaped() -> None:
    assert terminal_text("a\tb\x1b[2J\u202e\udcff é 語\n") == r"a\tb\x1b[2J\u202e\udcff é 語" + "\n"


@pytest.fixture
def evil(samples: Path, tmp_path: Path, tiny_bundle: Bundle) -> tuple[Path, Path]:
    """A folder with a good and a bad recording, and a model; the names of all are made to confuse a terminal."""
    folder, model = tmp_path / f"corpus{EVIL}", tmp_path / "model"
    folder.mkdir()
    model.mkdir()
    for emotion in ("sad", "happy"):
        shutil.copy(samples / f"tom-{emotion}.flac", folder / f"tom{EVIL}-{emotion}.flac")
    (folder / f"bad{EVIL}.wav").write_text("no audio")
    (folder / f"notes.txt{EVIL}").write_text("text")
    write_bundle(
        model,
        replace(tiny_bundle.facts, labels=tuple(f"{label}{EVIL}" for label in tiny_bundle.facts.labels)),
        model=tiny_bundle.model_path.read_bytes(),
        weights=[],
        normaliser=tiny_bundle.normaliser,
        training=[],
        card=f"# Model {EVIL}",
    )
    return folder, model


@pytest.mark.parametrize(
    "command", ["predict FOLDER -m MODEL", "predict FOLDER -m MODEL -q", "corpus scan FOLDER", "models info MODEL"]
)
def test_no_name_or_label_controls_a_terminal(
    serctl: Any, evil: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    places = {"FOLDER": evil[0], "MODEL": evil[1]}
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "4000")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    result = serctl(*(places.get(word, word) for word in command.split()))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)
    assert "owned" in shown
    assert not [letter for letter in shown if letter != "\n" and not letter.isprintable()]


def test_a_scan_in_a_pipe_breaks_no_line(serctl: Any, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "-".join(["long"] * 40)
    for emotion in ("sad", "happy"):
        (folder / emotion).mkdir(parents=True)
        shutil.copy(samples / f"tom-{emotion}.flac", folder / emotion)
    (folder / "sad" / "gone.flac").symlink_to("nowhere")
    lines = serctl("corpus", "scan", folder).stdout.splitlines()
    assert f"({folder})" in lines[0]
    assert any(str(folder / "sad" / "gone.flac") in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []


# Progress


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_long_recording_shows_how_far_it_is(
    extract: Callable[..., Any],
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
) -> None:
    from serctl.cli import _progress

    speech, rate = soundfile.read(samples / "tom-sad.flac")
    soundfile.write(tmp_path / "long.wav", np.tile(speech, 40), rate)
    monkeypatch.setattr(_progress, "PLAIN_INTERVAL_S", 0.0)
    if is_terminal:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("COLUMNS", "200")
    shown = extract(tmp_path / "long.wav").stderr
    assert re.search(r"0/1.*[1-9]:[0-5][0-9] into the next", shown)
