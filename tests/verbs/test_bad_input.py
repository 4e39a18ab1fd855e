"""Recordings as they come: each that cannot be used gets a row that says why, and costs the others nothing."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle

RATE = 16_000
GOOD = ("a-good.flac", "z-good.flac")


@pytest.fixture
def folder(samples: Path, tmp_path: Path) -> Path:
    """Two good recordings, with room for others between them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, source in zip(GOOD, ("tom-sad.flac", "jana-angry.flac"), strict=True):
        shutil.copy(samples / source, folder / name)
    return folder


@pytest.fixture(params=["predict", "extract"])
def run(request: pytest.FixtureRequest, serctl: Any, tiny_bundle: Bundle) -> Callable[..., Any]:
    model = ["--model", tiny_bundle.folder] if request.param == "predict" else []

    def run(*arguments: object) -> Any:
        return serctl(request.param, *arguments, *model, "--jobs", 1)

    return run


@pytest.fixture
def predict(serctl: Any, tiny_bundle: Bundle) -> Callable[..., Any]:
    return lambda *arguments: serctl("predict", *arguments, "--model", tiny_bundle.folder, "--jobs", 1)


def rows(text: str) -> dict[str, dict[str, str]]:
    return {Path(row["path"]).name: row for row in csv.DictReader(text.splitlines(keepends=True))}


def wav(path: Path, samples: NDArray[Any], rate: int = RATE, subtype: str = "PCM_16") -> None:
    soundfile.write(path, samples, rate, subtype=subtype, format="WAV")


def empty(path: Path, speech: NDArray[np.float32]) -> None:
    path.touch()


def truncated(path: Path, speech: NDArray[np.float32]) -> None:
    wav(path, speech)
    os.truncate(path, path.stat().st_size // 2)


def text(path: Path, speech: NDArray[np.float32]) -> None:
    path.write_text("Dear all, please find attached the recordings.\n" * 20)


def header_only(path: Path, speech: NDArray[np.float32]) -> None:
    wav(path, speech[:0])


def dangling_link(path: Path, speech: NDArray[np.float32]) -> None:
    path.symlink_to("moved-away.wav")


def link_to_itself(path: Path, speech: NDArray[np.float32]) -> None:
    path.symlink_to(path.name)


def not_numbers(path: Path, speech: NDArray[np.float32]) -> None:
    wav(path, np.where(np.arange(len(speech)) == 9_000, np.nan, speech), subtype="FLOAT")


def infinite(path: Path, speech: NDArray[np.float32]) -> None:
    wav(path, np.where(np.arange(len(speech)) == 9_000, np.inf, speech), subtype="DOUBLE")


def truncated_flac(path: Path, speech: NDArray[np.float32]) -> None:
    soundfile.write(path, speech, RATE, format="FLAC")
    os.truncate(path, path.stat().st_size // 2)


CAUSES = {
    empty: "is empty (0 bytes)",
    truncated: "is truncated",
    text: "is not audio that can be read",
    header_only: "holds no samples",
    dangling_link: "is a dangling link",
    link_to_itself: "is a link that leads back to itself",
    not_numbers: "not numbers (NaN)",
    infinite: "infinite samples (Inf)",
    truncated_flac: "truncated",
}


def test_bad_recordings_get_rows_that_say_why_and_the_others_are_unharmed(
    run: Callable[..., Any], folder: Path, speech: NDArray[np.float32]
) -> None:
    alone = rows(run(folder).stdout)
    for spoil in CAUSES:
        spoil(folder / f"bad-{spoil.__name__}.wav", speech)
    result = run(folder)
    found = rows(result.stdout)
    assert result.code == 3
    assert set(found) == {*GOOD, *(f"bad-{spoil.__name__}.wav" for spoil in CAUSES)}
    assert list(found) == sorted(found)
    for spoil, cause in CAUSES.items():
        name = f"bad-{spoil.__name__}.wav"
        assert (found[name]["status"], found[name]["duration"]) == ("error", "")
        assert cause in found[name]["error"]
        assert name in found[name]["error"]
    assert any(row["error"] in result.stderr for row in found.values() if row["error"])  # one line for each kind
    assert all(found[name] == alone[name] and alone[name]["status"] == "ok" for name in GOOD)


def without_root_privileges() -> None:
    """Take from root, before it runs a program, the right to read what it may not read."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_recording_that_may_not_be_read_says_so(folder: Path, samples: Path, tiny_bundle: Bundle) -> None:
    shutil.copy(samples / "emma-sad.flac", folder / "bad.flac")
    (folder / "bad.flac").chmod(0)
    (folder / "closed").mkdir(mode=0)
    command = [sys.executable, "-m", "serctl", "predict", folder, "--model", tiny_bundle.folder, "--jobs", "1"]
    privileges = without_root_privileges if os.getuid() == 0 else None
    ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=privileges, check=False, timeout=60)
    found = rows(ended.stdout)
    assert ended.returncode == 3
    assert list(found) == ["a-good.flac", "bad.flac", "closed", "z-good.flac"]
    assert found["bad.flac"]["error"].endswith("bad.flac' cannot be read: permission denied")
    assert found["closed"]["error"].endswith("closed' cannot be read: permission denied")
    assert all(found[name]["status"] == "ok" for name in GOOD)


def noise(count: int, *, scale: float = 0.1) -> NDArray[np.float64]:
    return scale * np.random.default_rng(0).standard_normal(count)


@dataclass(frozen=True)
class Odd:
    """An unusual recording, made of speech at 16 kHz, and its status or the error that it ends with."""

    make: Callable[[NDArray[np.float32]], NDArray[Any]]
    expected: str = "ok"
    rate: int = RATE
    subtype: str = "PCM_16"


ODD = {
    "one-sample": Odd(lambda speech: speech[:1], "lasts 0.0001 s, expected at least 0.1 s of speech"),
    "10-ms": Odd(lambda speech: speech[:160], "lasts 0.0100 s, expected at least 0.1 s of speech"),
    "silence": Odd(lambda speech: 0 * speech, "no-speech"),
    "constant": Odd(lambda speech: np.full_like(speech, 0.5), "no-speech"),
    "clipped": Odd(lambda speech: np.clip(20 * speech, -1, 1)),
    "8-channels": Odd(lambda speech: np.tile(speech[:, None], 8)),
    "8-kHz": Odd(lambda speech: speech[::2], rate=8_000),
    "192-kHz": Odd(lambda speech: np.repeat(speech, 12), rate=192_000),
    "24-bits": Odd(lambda speech: speech, subtype="PCM_24"),
    "float64": Odd(lambda speech: speech, subtype="DOUBLE"),
    "float32": Odd(lambda speech: speech, subtype="FLOAT"),
    "8-bits": Odd(lambda speech: speech, subtype="PCM_U8"),
    "mu-law": Odd(lambda speech: speech, subtype="ULAW"),
    "just-long-enough": Odd(lambda speech: speech[:1_700]),
}


def test_odd_recordings_work_or_say_why_not(
    predict: Callable[..., Any], folder: Path, speech: NDArray[np.float32]
) -> None:
    for name, odd in ODD.items():
        wav(folder / f"{name}.wav", odd.make(speech), odd.rate, odd.subtype)
    result = predict(folder)
    assert result.code == 3
    found = rows(result.stdout)
    for name, odd in ODD.items():
        row = found[f"{name}.wav"]
        if odd.expected == "ok":
            length, channels = len(odd.make(speech)), 8 if name == "8-channels" else 1
            assert (row["status"], row["error"]) == ("ok", ""), name
            assert row["emotion"] in ("angry", "happy", "neutral", "sad")
            assert float(row["duration"]) == pytest.approx(length / odd.rate, abs=1e-3)
            assert (int(row["sample_rate"]), int(row["channels"])) == (odd.rate, channels)
        elif odd.expected == "no-speech":
            assert (row["status"], row["emotion"], row["confidence"], row["p_sad"]) == ("ok", "no-speech", "", "")
        else:
            assert (row["status"], row["emotion"]) == ("error", ""), name
            assert odd.expected in row["error"]
            assert f"{name}.wav" in row["error"]


def test_extract_takes_every_length(serctl: Any, folder: Path, speech: NDArray[np.float32]) -> None:
    wav(folder / "one.wav", speech[:1])
    wav(folder / "ten.wav", speech[:160])
    wav(folder / "zero.wav", 0 * speech)
    result = serctl("extract", folder, "--jobs", 1)
    assert (result.code, [row["status"] for row in rows(result.stdout).values()]) == (0, ["ok"] * 5)


def test_eight_equal_channels_are_as_one(
    predict: Callable[..., Any], tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    for name, samples in (("one.wav", speech), ("eight.wav", np.tile(speech[:, None], 8))):
        wav(tmp_path / name, samples)
    found = rows(predict(tmp_path / "one.wav", tmp_path / "eight.wav").stdout)
    assert float(found["one.wav"]["confidence"]) == pytest.approx(float(found["eight.wav"]["confidence"]), abs=2e-3)


NAMES = ["žluťoučký 語.wav", "two\nlines.wav", 'quo"te, comma.wav', "-dash.wav", "[red]x[bold].wav"]


def test_every_name_works_and_is_reported_as_it_is(
    run: Callable[..., Any], folder: Path, speech: NDArray[np.float32]
) -> None:
    for name in NAMES:
        wav(folder / name, speech)
    result = run(folder)
    assert result.code == 0
    found = {row["path"]: row["status"] for row in csv.DictReader(result.stdout.splitlines(keepends=True))}
    assert found == {str(folder / name): "ok" for name in (*GOOD, *NAMES)}


def test_every_name_can_fail_on_one_line(predict: Callable[..., Any], folder: Path) -> None:
    for name in NAMES:
        wav(folder / name, noise(1))
    result = predict(folder)
    assert result.code == 3
    messages = [line for line in result.stderr.splitlines() if "expected at least" in line]
    assert len(messages) == len(NAMES)
    for name in ("two\nlines.wav", "[red]x[bold].wav"):
        assert sum(repr(name)[1:-1] in message for message in messages) == 1


def test_a_name_that_is_no_unicode_works(
    predict: Callable[..., Any], folder: Path, speech: NDArray[np.float32]
) -> None:
    wav(folder / "good.wav", speech)
    (folder / "good.wav").rename(folder / os.fsdecode(b"\xff.wav"))
    output = folder.parent / "o.csv"
    assert predict(folder, "-o", output, "--summary-json", folder.parent / "s.json").code == 0
    assert "\\udcff.wav" in output.read_text(encoding="utf-8")


def test_equal_stems_in_two_folders_stay_two(run: Callable[..., Any], samples: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(samples / "tom-sad.flac", tmp_path / folder / "take.flac")
    shutil.copy(samples / "tom-neutral.wav", tmp_path / "two" / "take.wav")
    found = [row["path"] for row in csv.DictReader(run(tmp_path).stdout.splitlines())]
    assert found == [str(tmp_path / name) for name in ("one/take.flac", "two/take.flac", "two/take.wav")]


def test_a_folder_called_like_a_recording_is_searched(run: Callable[..., Any], folder: Path, samples: Path) -> None:
    (folder / "x.wav").mkdir()
    shutil.copy(samples / "tom-neutral.wav", folder / "x.wav" / "y.wav")
    result = run(folder)
    assert (result.code, "y.wav" in rows(result.stdout), len(rows(result.stdout))) == (0, True, 3)


def test_a_loop_of_links_ends(run: Callable[..., Any], folder: Path) -> None:
    (folder / "again").symlink_to(folder, target_is_directory=True)
    result = run(folder)
    assert (result.code, list(rows(result.stdout))) == (0, list(GOOD))


def test_a_path_that_does_not_exist_is_a_row(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", "-o", tmp_path / "o.csv")
    assert (result.code, result.stdout) == (4, "")
    (row,) = rows((tmp_path / "o.csv").read_text()).values()
    assert row["status"] == "error"
    assert "nowhere' does not exist" in row["error"]


def test_a_folder_without_recordings_is_a_usage_error(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    result = run(tmp_path / "in", "-o", tmp_path / "o.csv")
    assert (result.code, result.stdout) == (2, "")
    assert re.search(r"looked for .*\.flac .*\.mp3 .*\.wav", result.stderr.replace("\n", " "))
    assert not list(tmp_path.glob("o.csv*"))


def test_no_recording_at_all_is_a_usage_error(run: Callable[..., Any]) -> None:
    result = run()
    assert (result.code, "no recordings given" in result.stderr) == (2, True)


def test_nothing_succeeded_is_exit_code_4(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "in" / name).touch()
    result = run(tmp_path / "in", "-o", tmp_path / "o.csv", "--summary-json", tmp_path / "s.json")
    assert result.code == 4
    assert [row["status"] for row in rows((tmp_path / "o.csv").read_text()).values()] == ["error", "error"]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["recordings"], summary["succeeded"], summary["failed"]) == (2, 0, 2)
    assert "a.wav" in summary["failures"][0]["error"]


def test_a_long_recording_becomes_a_timeline(
    predict: Callable[..., Any], tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    with soundfile.SoundFile(tmp_path / "long.flac", "w", RATE, 1, format="FLAC") as file:
        for minute in range(10):
            file.write(np.tile(speech, 30) if minute != 5 else np.zeros(60 * RATE))
    result = predict(tmp_path / "long.flac", "--per", "window", "--window", 4)
    timeline = list(csv.DictReader(result.stdout.splitlines()))
    assert (result.code, len(timeline)) == (0, 150)
    ends = [float(row["end"]) for row in timeline]
    assert ends == [4.0 * number for number in range(1, 151)]
    assert [float(row["start"]) for row in timeline] == [0, *ends[:-1]]
    assert {row["emotion"] for row in timeline[75:90]} == {"no-speech"}
    assert "no-speech" not in {row["emotion"] for row in timeline[:75] + timeline[90:]}
    assert {row["duration"] for row in timeline} == {"600.000"}

    (whole,) = csv.DictReader(predict(tmp_path / "long.flac", "--window", 4).stdout.splitlines())
    assert (whole["start"], whole["end"]) == ("0.000", "600.000")
    spoken = [float(row["p_sad"]) for row in timeline if row["p_sad"]]
    assert float(whole["p_sad"]) == pytest.approx(np.mean(spoken), abs=5e-3)
