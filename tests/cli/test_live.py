from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from serctl.cli._live import STRIP_S, LiveView
from serctl.live.stream import StepPrediction

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle

LABELS = ("happy", "sad", "surprised")
SILENCE = (np.nan,) * len(LABELS)


def prediction(time_s: float, emotion: str, shares: tuple[float, ...]) -> StepPrediction:
    return StepPrediction(time_s, emotion, np.array(shares), emotion in LABELS, 0.0021)


def picture(view: LiveView) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    with console.capture() as capture:
        console.print(view.picture())
    return capture.get().splitlines()


@pytest.fixture
def view() -> LiveView:
    return LiveView(LABELS, Console(file=io.StringIO()))


def test_it_waits_for_sound(view: LiveView) -> None:
    assert picture(view) == ["waiting for sound"]


def test_it_shows_the_emotion_the_time_and_a_bar_for_each_label(view: LiveView) -> None:
    view.show(prediction(61.5, "sad", (0.1, 0.7, 0.2)))
    title, _, *bars, _, strip = picture(view)
    assert title.split() == ["sad", "01:01.5", "predicted", "in", "2.1", "ms"]
    assert [line.split() for line in bars] == [
        ["h", "happy", "\u2588" * 3, "10", "%"],
        ["s", "sad", "\u2588" * 21, "70", "%"],
        ["u", "surprised", "\u2588" * 6, "20", "%"],  # 's' is taken
    ]
    assert strip.endswith("s")


def test_the_strip_has_a_cell_for_each_second_of_the_last_minute(view: LiveView) -> None:
    seconds = [*["happy"] * 5, *["no-speech"] * 3, *["surprised"] * 60]
    for index, emotion in enumerate(seconds):
        shares = (0.5, 0.2, 0.3) if emotion != "no-speech" else SILENCE
        view.show(prediction(index + 0.5, emotion, shares))
        view.show(prediction(index + 0.9, "no-speech", SILENCE))  # speech counts, however little there is of it
        if index == 9:
            assert picture(view)[-1] == "last minute  hhhhh\u00b7\u00b7\u00b7uu"
    assert picture(view)[-1] == "last minute  " + "u" * STRIP_S


def test_silence_has_no_bars(view: LiveView) -> None:
    view.show(prediction(0.1, "no-speech", SILENCE))
    title, _, *bars, _, strip = picture(view)
    assert title.startswith("no-speech")
    assert [line.split() for line in bars] == [["h", "happy"], ["s", "sad"], ["u", "surprised"]]
    assert strip == "last minute  \u00b7"


def on_a_terminal(*arguments: object, kind: str = "xterm-256color") -> str:
    """What `serctl stream` writes to a terminal of this kind."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "serctl", "stream", *map(str, arguments)]
    environment = {**os.environ, "TERM": kind, "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while piece := _read(ours):
        written += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0, written
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""


def test_a_terminal_gets_the_live_view_and_with_json_or_at_once_the_lines(samples: Path, live_bundle: Bundle) -> None:
    live = (samples / "tom-sad.flac", "-m", live_bundle.folder, "--realtime")
    shown = on_a_terminal(*live)
    assert "last minute" in shown
    assert '"time"' not in shown
    assert shown.index("waiting for sound") < shown.index("last minute")
    plain = on_a_terminal(*live, "--json"), on_a_terminal(*live[:-1]), on_a_terminal(*live, kind="dumb")
    for lines in plain:
        assert "last minute" not in lines
        assert lines.startswith('{"time": 0.1')


def test_a_pipe_gets_lines(serctl: Any, samples: Path, live_bundle: Bundle) -> None:
    assert serctl("stream", samples / "tom-sad.flac", "-m", live_bundle.folder).stdout.startswith('{"time": 0.1')
