"""What a command's process meets: closed or odd standard streams, and signals at any moment of its life."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SERCTL = f"{sys.executable} -m serctl"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", command], env={**os.environ, **environment}, capture_output=True, check=False, timeout=120
    )


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line, started by code that prepares its process."""
    code = f"import atexit, os, signal, sys, threading, time; {code}\nfrom serctl.__main__ import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def recording(samples: Path, tmp_path: Path) -> Path:
    """An MP3 with a Cyrillic name: its decoder is one that writes to stderr."""
    return shutil.copy(samples / "marek-sad.mp3", tmp_path / "Мария.mp3")


def test_stdout_is_utf8_whatever_the_locale_says(recording: Path, tmp_path: Path) -> None:
    assert shell(f"{SERCTL} predict '{recording}' -o {tmp_path}/o.csv -q").returncode == 0
    ended = shell(f"{SERCTL} predict '{recording}' -q", PYTHONIOENCODING="cp1252")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, (tmp_path / "o.csv").read_bytes(), b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_harm_a_report_in_a_file(recording: Path, tmp_path: Path, closed: str) -> None:
    ended = shell(f"{SERCTL} predict '{recording}' -o {tmp_path}/o.csv --no-cache {closed}")
    assert ended.returncode == 0, ended.stderr
    assert b",ok," in (tmp_path / "o.csv").read_bytes()


def test_a_closed_stdout_is_an_error_of_one_line(recording: Path) -> None:
    ended = shell(f"{SERCTL} predict '{recording}' -q >&-")
    assert (ended.returncode, ended.stderr) == (1, b"error: stdout is closed\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("command", ["--version", "predict 'RECORDING' -q"])
def test_a_stdout_that_is_full_is_an_error_of_one_line(recording: Path, command: str) -> None:
    ended = shell(f"{SERCTL} {command.replace('RECORDING', str(recording))} > /dev/full")
    assert (ended.returncode, ended.stderr) == (1, b"error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(("command", "code"), [("extract 'RECORDING' -o FOLDER/o.csv", 0), ("extract --nonsense", 2)])
def test_a_stderr_that_is_full_changes_nothing(recording: Path, tmp_path: Path, command: str, code: int) -> None:
    command = command.replace("RECORDING", str(recording)).replace("FOLDER", str(tmp_path))
    assert shell(f"{SERCTL} {command} --no-cache 2> /dev/full").returncode == code
    assert code or b",ok," in (tmp_path / "o.csv").read_bytes()


@pytest.mark.parametrize("source", ["predict --files-from -", "stream -"])
def test_a_closed_stdin_is_a_usage_error(source: str) -> None:
    ended = shell(f"{SERCTL} {source} <&-")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert re.fullmatch(rb"error: expected .* on stdin, which is closed\n", ended.stderr)


# Signals


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_a_signal_at_the_end_changes_nothing(sent: str) -> None:
    ended = run(f"atexit.register(os.kill, os.getpid(), signal.{sent})", "--version")
    assert (ended.returncode, ended.stderr) == (0, "")


WHEN_LOADED = """
def send(name, numbers, gap):
    while name not in sys.modules:
        time.sleep(0.001)
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(gap)
threading.Thread(target=send, args={}, daemon=True).start()
"""


@pytest.mark.parametrize("module", ["typer", "numpy", "soundfile"])
@pytest.mark.parametrize("gap_s", [0.0, 0.05])
def test_two_signals_while_it_starts_show_no_traceback(samples: Path, module: str, gap_s: float) -> None:
    numbers = (signal.SIGINT.value, signal.SIGTERM.value)
    ended = run(WHEN_LOADED.format((module, numbers, gap_s)), "predict", samples, "--no-cache")
    assert ended.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr


AT_RESULTS = """
from serctl.reports.journal import Journal
add = Journal.add
def add_and_send(self, *arguments):
    add(self, *arguments)
    if not sending:
        sending.append(True)
        threading.Thread(target=send, daemon=True).start()
def send():
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep({})
sending = []
Journal.add = add_and_send
"""


@pytest.mark.parametrize("gap_s", [0.0, 0.1])
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_again_and_again_ends_in_good_order(samples: Path, tmp_path: Path, gap_s: float, jobs: int) -> None:
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number}.flac").symlink_to(samples / "tom-sad.flac")
    arguments = [tmp_path / "many", "-o", tmp_path / "o.csv", "--no-cache", "--jobs", jobs]
    ended = run(AT_RESULTS.format(gap_s), "extract", *arguments)
    assert ended.returncode == 130
    assert re.fullmatch(
        r"interrupted: \d+ of 300 recordings (is|are) finished and kept in \S+; --resume continues it\n", ended.stderr
    )
    assert (tmp_path / "o.csv.partial").exists()
