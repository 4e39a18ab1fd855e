"""`serctl predict`: the report in every format, and every option of a run."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import soundfile

from serctl.reports.ledger import ledger_path
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.bundle.store import Bundle

LABELS = ("angry", "happy", "neutral", "sad")
HEADER = (
    "path,start,end,emotion,confidence,p_angry,p_happy,p_neutral,p_sad,status,error,notes,duration,sample_rate,channels,"
    "clipping,silence,snr_db,bandwidth_hz,model,adaptation"
)


@pytest.fixture
def predict(serctl: Any, tiny_bundle: Bundle) -> Callable[..., Any]:
    def run(*arguments: object, jobs: int = 1, stdin: bytes = b"") -> Any:
        return serctl("predict", *arguments, "--model", tiny_bundle.folder, "--jobs", jobs, stdin=stdin)

    return run


@pytest.fixture
def mixed(samples: Path, tmp_path: Path) -> Path:
    """Two good recordings and a bad one, in this order."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(samples / "emma-angry.wav", folder / "1.wav")
    (folder / "2.wav").write_text("no audio")
    shutil.copy(samples / "jana-happy.ogg", folder / "3.ogg")
    return folder


def folder_of(count: int, samples: Path, folder: Path) -> Path:
    """A folder of that many recordings, one of which is bad."""
    folder.mkdir()
    sources = sorted(path for path in samples.iterdir() if path.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    for number in range(count - 1):
        source = sources[number % len(sources)]
        (folder / f"{number:03d}{source.suffix}").symlink_to(source)
    (folder / f"{count // 2:03d}-bad.wav").write_text("no audio")
    return folder


@pytest.fixture
def many(samples: Path, tmp_path: Path) -> Path:
    """Enough recordings to be interrupted on the way."""
    return folder_of(201, samples, tmp_path / "many")


def test_the_report_has_exactly_the_documented_columns(
    predict: Callable[..., Any], samples: Path, tiny_bundle: Bundle
) -> None:
    result = predict(samples / "tom-neutral.wav", samples / "emma-angry.wav")
    assert result.code == 0
    assert result.stdout.splitlines()[0] == HEADER
    mono, stereo = csv.DictReader(result.stdout.splitlines())
    assert [row["path"] for row in (mono, stereo)] == [str(samples / f) for f in ("tom-neutral.wav", "emma-angry.wav")]
    assert (mono["sample_rate"], mono["channels"], stereo["channels"]) == ("8000", "1", "2")
    assert mono["model"] == tiny_bundle.identity
    for row in (mono, stereo):
        probabilities = [float(row[f"p_{label}"]) for label in LABELS]
        assert sum(probabilities) == pytest.approx(1, abs=5e-4)
        assert float(row["confidence"]) == max(probabilities)
        assert row["emotion"] == LABELS[int(np.argmax(probabilities))]
        assert (row["start"], row["end"], row["status"], row["error"]) == ("0.000", row["duration"], "ok", "")


def test_the_result_does_not_depend_on_workers_or_cache(
    predict: Callable[..., Any], samples: Path, tmp_path: Path, own_cache: Path
) -> None:
    many = folder_of(65, samples, tmp_path / "many")  # enough for a pool of workers
    assert predict(many, "-o", tmp_path / "alone.csv", "--no-cache").code == 3
    assert not own_cache.exists()
    assert predict(many, "-o", tmp_path / "two.csv", jobs=2).code == 3
    assert len(list(own_cache.rglob("*.entry"))) == 16
    assert predict(many, "-o", tmp_path / "cached.csv").code == 3
    expected = (tmp_path / "alone.csv").read_bytes()
    assert expected.count(b"\n") == 66
    assert (tmp_path / "two.csv").read_bytes() == expected
    assert (tmp_path / "cached.csv").read_bytes() == expected


def test_all_formats_agree(predict: Callable[..., Any], mixed: Path, tmp_path: Path) -> None:
    reports = {}
    for suffix in ("csv", "parquet", "jsonl"):
        assert predict(mixed, "-o", tmp_path / f"o.{suffix}").code == 3
        reports[suffix] = read_report(tmp_path / f"o.{suffix}")
    assert [row["status"] for row in reports["csv"]] == ["ok", "error", "ok"]
    for other in ("parquet", "jsonl"):
        assert list(reports[other][0]) == HEADER.split(",")
        for mine, theirs in zip(reports["csv"], reports[other], strict=True):
            for name, value in mine.items():
                expected = pytest.approx(value, abs=0.051) if isinstance(value, float) else value
                assert theirs[name] == expected, name


def test_stdout_is_csv_and_nothing_else(predict: Callable[..., Any], mixed: Path) -> None:
    plain, dash = predict(mixed), predict(mixed, "-o", "-")
    assert plain.stdout == dash.stdout
    assert plain.code == dash.code == 3
    lines = plain.stdout.splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 4
    assert "Predicted 2 of 3 recordings" in plain.stderr


def test_a_report_in_a_file_leaves_stdout_empty(predict: Callable[..., Any], mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder" / "o.csv"
    result = predict(mixed, "-o", output)
    assert result.stdout == ""
    assert f"report: {output}" in result.stderr
    assert "1 failed:" in result.stderr
    assert sorted(output.parent.iterdir()) == [ledger_path(output), output]


def test_quiet_means_quiet(mixed: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (mixed / "2.wav").unlink()
    command = [
        sys.executable,
        "-m",
        "serctl",
        "predict",
        mixed,
        "-m",
        tiny_bundle.folder,
        "-q",
        "-o",
        tmp_path / "o.csv",
    ]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_files_are_read_from_a_list(predict: Callable[..., Any], samples: Path, tmp_path: Path) -> None:
    names = ("tom-sad.flac", "emma-happy.flac")
    listed = "\n".join(str(samples / name) for name in names).encode() + b"\r\n\n"
    (tmp_path / "list.txt").write_bytes(listed)
    from_stdin = predict("--files-from", "-", stdin=listed)
    from_file = predict("--files-from", tmp_path / "list.txt")
    assert from_stdin.code == from_file.code == 0
    assert from_stdin.stdout == from_file.stdout
    assert [Path(row["path"]).name for row in csv.DictReader(from_file.stdout.splitlines())] == list(names)


def test_a_list_may_hold_names_that_are_no_unicode(predict: Callable[..., Any], samples: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.flac"
    Path(os.fsdecode(odd)).symlink_to(samples / "tom-sad.flac")
    assert predict("--files-from", "-", stdin=odd + b"\n").code == 0


def test_a_list_that_is_not_there_is_a_usage_error(predict: Callable[..., Any]) -> None:
    result = predict("--files-from", "nowhere.txt")
    assert (result.code, result.stderr) == (2, "error: --files-from nowhere.txt: No such file or directory\n")


def test_low_confidence_is_uncertain(predict: Callable[..., Any], samples: Path) -> None:
    sure = list(csv.DictReader(predict(samples).stdout.splitlines()))
    confidences = sorted(float(row["confidence"]) for row in sure)
    threshold = (confidences[7] + confidences[8]) / 2
    result = predict(samples, "--min-confidence", threshold)
    for before, after in zip(sure, csv.DictReader(result.stdout.splitlines()), strict=True):
        expected = before["emotion"] if float(before["confidence"]) >= threshold else "uncertain"
        assert after == {**before, "emotion": expected}
    assert "uncertain 8" in result.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_fail_fast_stops_and_keeps_what_is_finished(
    predict: Callable[..., Any], mixed: Path, tmp_path: Path, jobs: int
) -> None:
    output = tmp_path / "o.csv"
    result = predict(mixed, "-o", output, "--fail-fast", jobs=jobs)
    assert result.code == 3
    assert "stopped at the first failure" in result.stderr
    assert "2.wav" in result.stderr
    assert "--resume" in result.stderr
    assert not output.exists()
    shutil.copy(mixed / "1.wav", mixed / "2.wav")
    result = predict(mixed, "-o", output, "--resume", jobs=jobs)
    assert result.code == 0
    assert "1 of them was finished in an earlier run" in result.stderr
    assert [row["status"] for row in read_report(output)] == ["ok"] * 3


def test_fail_fast_to_stdout_prints_what_came_before(predict: Callable[..., Any], mixed: Path) -> None:
    result = predict(mixed, "--fail-fast")
    assert (result.code, len(result.stdout.splitlines())) == (3, 3)


def test_the_summary_as_json(predict: Callable[..., Any], mixed: Path, tmp_path: Path) -> None:
    result = predict(mixed, "--summary-json", tmp_path / "s.json", "--quiet")
    summary = json.loads((tmp_path / "s.json").read_text())
    assert result.stderr.count("\n") == 1
    assert {name: summary[name] for name in ("recordings", "succeeded", "failed", "resumed")} == {
        "recordings": 3,
        "succeeded": 2,
        "failed": 1,
        "resumed": 0,
    }
    assert sum(summary["emotions"].values()) == 2
    assert summary["audio_s"] == pytest.approx(2.047 + 2.653, abs=0.01)
    assert summary["failures"][0]["path"] == str(mixed / "2.wav")


def test_an_existing_report_is_replaced_only_when_asked_to(
    predict: Callable[..., Any], mixed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "o.csv"
    output.write_text("precious")
    result = predict(mixed, "-o", output)
    assert (result.code, output.read_text()) == (2, "precious")
    assert "--overwrite replaces it" in result.stderr
    assert predict(mixed, "-o", output, "--overwrite").code == 3
    assert output.read_text().startswith(HEADER)


def test_resuming_needs_a_file(predict: Callable[..., Any], mixed: Path) -> None:
    result = predict(mixed, "--resume")
    assert (result.code, "-o FILE names the report" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-o", "o.xlsx"],
            "ending in .csv, .parquet, .jsonl, .html, .srt, .vtt, .txt, .TextGrid, .rttm. Received: o.xlsx\n",
        ),
        (["-o", "."], "expected"),
        (["--window", "0.1"], "Invalid value for '--window'"),
        (["--min-confidence", "1.5"], "1.5"),
        (["--jobs", "-2"], "-2"),
        (["--per", "minute"], "minute"),
        (["--model", "nowhere"], "no model nowhere"),
        (
            ["--model", "."],
            "error: . is not a model: expected a folder that training or export wrote, with its bundle.json",
        ),
        (["--adapt", "foo"], "error: cannot adapt to foo: expected none, recordings, auto, or the file of a profile\n"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    serctl: Any, tiny_bundle: Bundle, samples: Path, arguments: list[str], message: str
) -> None:
    model = [] if "--model" in arguments else ["--model", tiny_bundle.folder]
    result = serctl("predict", samples, *model, *arguments)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_windows_are_merged_by_how_much_speech_they_hold(
    predict: Callable[..., Any], samples: Path, tmp_path: Path
) -> None:
    from serctl.audio.segments import read_audio

    parts = [read_audio(samples / name, sample_rate=16_000)[:24_000] for name in ("tom-sad.flac", "emma-angry.wav")]
    soundfile.write(tmp_path / "two.wav", np.concatenate([parts[0], np.zeros(24_000), parts[1]]), 16_000)
    arguments = (tmp_path / "two.wav", "--window", "1.5")
    windows = list(csv.DictReader(predict(*arguments, "--per", "window").stdout.splitlines()))
    (whole,) = csv.DictReader(predict(*arguments).stdout.splitlines())
    assert [(row["start"], row["end"]) for row in windows] == [
        ("0.000", "1.500"),
        ("1.500", "3.000"),
        ("3.000", "4.500"),
    ]
    assert (windows[1]["emotion"], windows[1]["p_sad"]) == ("no-speech", "")
    for label in LABELS:
        first, last = (float(windows[index][f"p_{label}"]) for index in (0, 2))
        assert min(first, last) - 1e-4 <= float(whole[f"p_{label}"]) <= max(first, last) + 1e-4


def test_a_terminal_gets_a_readable_table(
    predict: Callable[..., Any], mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", predict(mixed).stdout).splitlines()
    assert lines[0].split() == ["recording", "seconds", "emotion", "confidence", "or", "else"]
    emotion, share = lines[1].split()[-3:-1]
    assert lines[1].split()[:2] == ["1.wav", "2.0"]
    assert emotion in LABELS
    assert emotion != lines[1].split()[2]
    assert 0 < int(share) <= int(lines[1].split()[3])
    assert lines[2].startswith("2.wav")
    assert "error" in lines[2]


def test_names_and_confidences_fit_a_terminal_of_80_columns(
    predict: Callable[..., Any], samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in ("a-voice-34-surprised.flac", "b.flac"):
        (tmp_path / name).symlink_to(samples / "tom-sad.flac")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", predict(tmp_path).stdout).splitlines()
    assert [line.split()[0] for line in lines] == ["recording", "a-voice-34-surprised.flac", "b.flac"]


def test_a_language_that_the_model_does_not_know_is_judged_by_what_all_share(
    serctl: Any, samples: Path, languages_bundle: Bundle
) -> None:
    def run(*language: str) -> Any:
        return serctl(
            "predict", samples / "emma-happy.flac", "--model", languages_bundle.folder, "--jobs", 1, *language
        )

    known = ", ".join(languages_bundle.facts.languages)
    plain, foreign, english = run(), run("--language", "xx"), run("--language", "en")
    assert (plain.code, foreign.code, english.code) == (0, 0, 0)
    said = f"{languages_bundle.identity} has no adapter for xx ({known}): using the language-independent path"
    assert said in foreign.stderr
    assert foreign.stdout == plain.stdout != english.stdout
    assert "adapter" not in plain.stderr + english.stderr
    assert run("--language", "xx", "--quiet").stderr == ""


def test_a_model_that_tells_no_languages_apart_says_so(predict: Callable[..., Any], samples: Path) -> None:
    result = predict(samples / "tom-sad.flac", "--language", "de")
    assert result.code == 0
    assert "has no adapter for de (it tells no languages apart): using the language-independent path" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "advised"),
    [((), True), (("--adapt", "auto"), False), (("--quiet",), False), (("--model", "serctl-live"), False)],
)
def test_who_did_not_choose_hears_of_adaptation(
    serctl: Any, samples: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], advised: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = serctl("predict", samples, *arguments)
    assert result.code == 0
    assert ("Not adapted to these recordings" in " ".join(result.stderr.split())) == advised


def test_one_recording_is_not_advised_to_adapt(serctl: Any, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "Not adapted" not in serctl("predict", next(samples.glob("*.flac"))).stderr


def test_too_few_recordings_to_adapt_to_are_one_line(predict: Callable[..., Any], samples: Path) -> None:
    result = predict(samples / "tom-sad.flac", "--adapt", "auto")
    assert result.code == 0
    note = "note: not adapted: 'auto' needs at least 10 recordings with speech. Received: 1\n"
    assert note in result.stderr
    assert "note:" not in predict(samples / "tom-sad.flac", "--adapt", "auto", "--quiet").stderr


def test_the_default_model_comes_with_serctl(serctl: Any, samples: Path) -> None:
    result = serctl("predict", samples / "tom-sad.flac", "--jobs", 1)
    assert result.code == 0
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert row["model"].startswith("serctl-base@")


# What goes wrong around a run


def command(many: Path, tiny_bundle: Bundle, output: Path) -> list[str]:
    options = ["--model", str(tiny_bundle.folder), "-o", str(output), "--jobs", "2", "--no-cache", "--overwrite"]
    return [sys.executable, "-m", "serctl", "predict", str(many), *options]


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_keeps_the_old_report_and_can_be_resumed(
    predict: Callable[..., Any], many: Path, tiny_bundle: Bundle, tmp_path: Path, sent: signal.Signals
) -> None:
    output, journal = tmp_path / "o.csv", tmp_path / "o.csv.partial"
    output.write_text("the previous report")
    arguments = command(many, tiny_bundle, output)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        wait_for(lambda: journal.exists() and journal.stat().st_size > 10_000)
        processes = psutil.Process(running.pid).children(recursive=True)
        # Ctrl-C reaches every process of the terminal, the others only the one they are sent to.
        os.killpg(running.pid, sent) if sent == signal.SIGINT else running.send_signal(sent)
        _, stderr = running.communicate(timeout=60)
    assert len(processes) >= 2
    assert output.read_text() == "the previous report"
    wait_for(lambda: not alive(processes), timeout_s=30)
    if sent == signal.SIGKILL:
        assert running.returncode == -signal.SIGKILL
    else:
        assert running.returncode == 130
        assert "interrupted: " in stderr
        assert f"of 201 recordings are finished and kept in {journal}; --resume continues it\n" in stderr
        assert "Traceback" not in stderr

    result = predict(many, "-o", output, "--resume")
    assert result.code == 3
    resumed = int(result.stderr.split(" of them were finished in an earlier run")[0].rsplit("\n", 1)[-1])
    assert 10 < resumed < 201
    assert not journal.exists()
    predict(many, "-o", tmp_path / "at-once.csv")
    assert output.read_bytes() == (tmp_path / "at-once.csv").read_bytes()


def test_other_options_do_not_continue_a_run(predict: Callable[..., Any], mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.csv"
    predict(mixed, "-o", output, "--fail-fast")
    assert "--resume continues it" in predict(mixed, "-o", output).stderr
    result = predict(mixed, "-o", output, "--resume", "--per", "window")
    assert (result.code, "belongs to a run with another model, other options" in result.stderr) == (2, True)
    assert predict(mixed, "-o", output, "--overwrite", "--per", "window").code == 3


def test_a_recording_that_changed_is_done_again(predict: Callable[..., Any], mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.csv"
    predict(mixed, "-o", output, "--fail-fast")
    shutil.copy(mixed / "3.ogg", mixed / "1.wav")
    (mixed / "2.wav").unlink()
    assert "finished in an earlier run" not in predict(mixed, "-o", output, "--resume").stderr
    first, second = read_report(output)
    assert first["duration"] == second["duration"]


def test_a_disk_that_fills_up_leaves_the_previous_report_intact(
    many: Path, tiny_bundle: Bundle, tmp_path: Path, predict: Callable[..., Any]
) -> None:
    output = tmp_path / "o.csv"
    output.write_text("the previous report")

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    # Quiet, for a slow machine would show progress before it fails.
    ended = subprocess.run(
        [*command(many, tiny_bundle, output), "--quiet"],
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "error: [Errno 27] File too large\n"
    assert output.read_text() == "the previous report"
    assert sorted(path.name for path in tmp_path.glob("*o.csv*")) == ["o.csv", "o.csv.partial"]
    result = predict(many, "-o", output, "--resume")
    assert result.code == 3
    assert "finished in an earlier run" in result.stderr


def test_a_disk_that_is_full_at_the_end_leaves_the_previous_report_intact(
    predict: Callable[..., Any], mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "o.csv"
    output.write_text("the previous report")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        result = predict(mixed, "-o", output, "--overwrite")
    assert (result.code, "No space left on device" in result.stderr) == (1, True)
    assert output.read_text() == "the previous report"
    assert sorted(path.name for path in tmp_path.glob("*o.csv*")) == ["o.csv", "o.csv.partial"]
    result = predict(mixed, "-o", output, "--resume")
    assert (result.code, len(read_report(output))) == (3, 3)
    assert "2 of them were finished in an earlier run" in result.stderr


def test_the_reader_of_stdout_may_go_away(many: Path, tiny_bundle: Bundle) -> None:
    arguments = [sys.executable, "-m", "serctl", "predict", many, "-m", tiny_bundle.folder, "--jobs", "2", "-q"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith(b"path,")
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 0


WITHOUT_ONNXRUNTIME = """
import sys
from importlib.machinery import PathFinder

class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "onnxruntime" else PathFinder.find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv[0] = "serctl"
from serctl.cli import main
main()
"""


def test_an_onnx_model_without_its_runtime_fails_before_any_recording(
    onnx_folder: Path, samples: Path, tmp_path: Path
) -> None:
    for output in ([], ["-o", tmp_path / "o.csv"]):
        command = [sys.executable, "-c", WITHOUT_ONNXRUNTIME, "predict", samples, "-m", onnx_folder, *output]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        message = f"error: {onnx_folder / 'model.onnx'} needs ONNX Runtime (No module named 'onnxruntime'): "
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == f"{message}pip install 'serctl[onnx]'\n"
        assert not list(tmp_path.glob("*o.csv*"))
