from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from serctl.audio.segments import read_audio
from serctl.live.options import ListenOptions, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serctl.bundle.store import Bundle

ENOUGH_S = 120
"""For any of these tests, however busy the machine; what hangs fails."""


@contextlib.contextmanager
def serving(*arguments: object, token: str | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-m", "serctl", "stream", "--listen", "127.0.0.1:0", *map(str, arguments)]
    environment = {**os.environ, **({"SERCTL_TOKEN": token} if token else {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr
            said = process.stderr.readline()
            assert said.startswith("listening on 127.0.0.1:"), said
            yield process, int(said.rpartition(":")[2])
        finally:
            process.kill()


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=ENOUGH_S)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_streams_are_followed_until_the_server_is_stopped(
    live_bundle: Bundle, samples: Path, how: signal.Signals
) -> None:
    data = (read_audio(samples / "tom-sad.flac", sample_rate=16_000) * 32_767).astype("<i2").tobytes()
    with serving("-m", live_bundle.folder) as (process, port):
        with dial(port) as whole, dial(port) as still_open, still_open.makefile() as answers:
            still_open.sendall(data[:3_200])
            assert json.loads(answers.readline())["time"] == 0.1
            whole.sendall(data)
            whole.shutdown(socket.SHUT_WR)
            with whole.makefile() as lines:
                assert len([json.loads(line) for line in lines]) == len(data) // 3_200
            process.send_signal(how)
            assert json.loads(answers.readline()) == {"error": "the server was stopped"}
            assert answers.readline() == ""
        said = {signal.SIGINT: "interrupted\n", signal.SIGTERM: ""}[how]
        assert process.communicate(timeout=ENOUGH_S) == ("", said)
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 0}[how]


def test_the_token_may_come_from_the_environment(live_bundle: Bundle) -> None:
    with serving("-m", live_bundle.folder, token="open-sesame") as (process, port):
        with dial(port) as stranger, stranger.makefile() as answers:
            stranger.sendall(b"let me in\n")
            assert json.loads(answers.readline()) == {"error": "expected the server's token in the first line"}
        with dial(port) as friend, friend.makefile() as answers:
            friend.sendall(b"open-sesame\n" + bytes(3_200))
            assert json.loads(answers.readline())["emotion"] == "no-speech"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=ENOUGH_S)
        assert "expected the server's token in the first line\n" in errors
        assert "open-sesame" not in errors


def test_the_options_arrive(serctl: Any, live_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    came = []
    monkeypatch.setattr("serctl.cli.stream.run_server", lambda _, options: came.append(options))
    command = ("stream", "--listen", "[::1]:7700", "-m", live_bundle.folder)
    steps = (
        "--hop",
        0.25,
        "--window",
        1,
        "--hysteresis",
        0.2,
        "--every",
        "change",
        "--format",
        "f32le",
        "--rate",
        48_000,
    )
    assert serctl(*command, *steps, "--token", "t", "--max-connections", 3, "--idle", 1.5).code == 0
    assert serctl(*command).code == 0
    assert came == [
        ListenOptions("::1", 7700, StreamOptions(1.0, 0.25, 0.2), "f32le", 48_000, "change", "t", 3, 1.5),
        ListenOptions("::1", 7700),  # the defaults of the command are those of the package
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one source: a FILE, - for raw samples on stdin, --mic, or --listen HOST:PORT"),
        (["talk.wav", "--listen", "127.0.0.1:0"], "expected one source"),
        (["-", "--listen", "127.0.0.1:0"], "expected one source"),
        (["--mic", "--listen", "127.0.0.1:0"], "expected one source"),
        (["--listen", "127.0.0.1:0", "--device", "1"], "--device names a microphone"),
        (["--listen", "127.0.0.1:0", "--realtime"], "--realtime is for recordings"),
        (["--listen", "7700"], "expected HOST:PORT, such as 127.0.0.1:7700, received 7700"),
        (["--listen", "0.0.0.0:0"], "0.0.0.0 can be reached from other machines: expected a token"),
        (["--listen", "127.0.0.1:0", "--token", "two words"], "expected a token of 1 to 512 ASCII characters"),
        (["--listen", "127.0.0.1:0", "--max-connections", "0"], "--max-connections"),
        (["--listen", "127.0.0.1:0", "--idle", "0"], "expected --idle above 0"),
        (["--listen", "127.0.0.1:0", "--format", "u8"], "'u8' is not one of 's16le', 's32le', 'f32le'"),
    ],
)
def test_wrong_usage_is_exit_code_2(serctl: Any, live_bundle: Bundle, arguments: list[str], message: str) -> None:
    result = serctl("stream", *arguments, "-m", live_bundle.folder)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
