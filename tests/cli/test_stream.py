from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from serctl.audio.segments import read_audio
from serctl.bundle.store import load_bundle
from serctl.live.options import StreamOptions
from serctl.live.stream import SpeechStream

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle

RATE = 16_000


def lines_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def pcm(samples: Path, rate: int = RATE) -> bytes:
    """A recording as s16le."""
    recording = read_audio(samples / "tom-sad.flac", sample_rate=rate)
    return (recording * 32_767).astype("<i2").tobytes()


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "serctl", "stream", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.fixture(scope="module")
def seconds(samples: Path) -> float:
    return len(read_audio(samples / "tom-sad.flac", sample_rate=RATE)) / RATE


def test_a_recording_gives_a_line_of_json_for_every_step(
    serctl: Any, samples: Path, live_bundle: Bundle, seconds: float
) -> None:
    result = serctl("stream", samples / "tom-sad.flac", "--model", live_bundle.folder)
    assert (result.code, result.stderr) == (0, "")
    found = lines_of(result.stdout)
    np.testing.assert_allclose([line["time"] for line in found], np.arange(1, 1 + int(10 * seconds)) / 10)
    labels = live_bundle.facts.labels
    for line in found:
        assert set(line) == {"time", "emotion", "voiced", "latency_ms", *(f"p_{label}" for label in labels)}
        assert line["latency_ms"] >= 0
        shares = [line[f"p_{label}"] for label in labels]
        if line["voiced"]:
            assert line["emotion"] == labels[int(np.argmax(shares))]
            assert sum(shares) == pytest.approx(1, abs=1e-3)
        else:
            assert (line["emotion"], set(shares)) == ("no-speech", {None})
    assert sum(line["voiced"] for line in found) > 10


def test_every_change_shows_only_changes(serctl: Any, samples: Path, live_bundle: Bundle, tmp_path: Path) -> None:
    spoken = [
        read_audio(samples / f"{name}.flac", sample_rate=RATE) for name in ("tom-sad", "emma-happy", "jana-angry")
    ]
    pause = np.zeros(RATE, np.float32)
    soundfile.write(tmp_path / "talk.wav", np.concatenate([part for each in spoken for part in (each, pause)]), RATE)
    arguments = ("stream", tmp_path / "talk.wav", "-m", live_bundle.folder, "--window", 0.1)
    every = lines_of(serctl(*arguments).stdout)
    changes = lines_of(serctl(*arguments, "--every", "change").stdout)
    expected = [
        line["time"]
        for before, line in zip([None, *every], every, strict=False)
        if before is None or line["emotion"] != before["emotion"]
    ]
    assert [line["time"] for line in changes] == expected
    assert 5 < len(changes) < len(every)


def test_the_options_of_the_steps_arrive(
    serctl: Any, samples: Path, live_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = []

    class Listening(SpeechStream):
        def __init__(self, recogniser: Any, options: StreamOptions) -> None:
            came.append(options)
            super().__init__(recogniser, options)

    monkeypatch.setattr("serctl.live.stream.SpeechStream", Listening)
    arguments = ("stream", samples / "tom-sad.flac", "-m", live_bundle.folder)
    found = lines_of(serctl(*arguments, "--hop", 0.25, "--window", 1, "--hysteresis", 0.2).stdout)
    assert came == [StreamOptions(window_s=1.0, hop_s=0.25, hysteresis=0.2)]
    assert [line["time"] for line in found[:3]] == [0.25, 0.5, 0.75]
    serctl(*arguments)
    assert came[1] == StreamOptions()  # the defaults of the command are those of the package


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the stream ended before its first sample"),
        (b"RIFF\0\0\0\0WAVE", "expected raw samples, received WAV: give the file's name"),
        (b"ID3\4" + bytes(4000), "expected raw samples, received MP3"),
    ],
)
def test_what_is_no_raw_samples_is_refused(live_bundle: Bundle, data: bytes, message: str) -> None:
    output, errors = (process := start("-", "-m", live_bundle.folder)).communicate(data, timeout=120)
    assert (process.returncode, output) == (2, b"")
    assert message in errors.decode()


@pytest.mark.parametrize("option", [("--rate", 8000), ("--format", "f32le")])
def test_a_recording_tells_its_own_rate_and_format(serctl: Any, samples: Path, option: tuple[str, object]) -> None:
    result = serctl("stream", samples / "tom-sad.flac", *option)
    assert (result.code, result.stdout) == (2, "")
    assert "--format and --rate describe raw samples" in result.stderr


@pytest.mark.parametrize("rate", [RATE, 8_000])
def test_raw_samples_on_stdin_are_judged(live_bundle: Bundle, samples: Path, seconds: float, rate: int) -> None:
    process = start("-", "-m", live_bundle.folder, "--format", "s16le", "--rate", rate)
    output, errors = process.communicate(pcm(samples, rate), timeout=120)
    assert (process.returncode, errors) == (0, b"")
    found = lines_of(output.decode())
    assert len(found) == pytest.approx(10 * seconds, abs=1)
    assert any(line["voiced"] for line in found)


def test_stdin_gives_what_the_recording_gives(serctl: Any, samples: Path, live_bundle: Bundle, tmp_path: Path) -> None:
    data = read_audio(samples / "tom-sad.flac", sample_rate=RATE).astype("<f4").tobytes()
    recorded = lines_of(serctl("stream", samples / "tom-sad.flac", "-m", live_bundle.folder).stdout)
    piped = lines_of(serctl("stream", "-", "-m", live_bundle.folder, "--format", "f32le", stdin=data).stdout)
    for one, other in zip(recorded, piped, strict=True):
        del one["latency_ms"], other["latency_ms"]
        assert {key: one[key] for key in ("time", "emotion", "voiced")} == {
            key: other[key] for key in ("time", "emotion", "voiced")
        }
        if one["voiced"]:
            assert [one[key] for key in one if key[:2] == "p_"] == pytest.approx(
                [other[key] for key in one if key[:2] == "p_"], abs=3e-4
            )


def test_a_line_comes_while_the_pipe_is_still_open(live_bundle: Bundle, samples: Path) -> None:
    process = start("-", "-m", live_bundle.folder)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(pcm(samples)[: 2 * 1_600])
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["time"] == 0.1
        assert process.poll() is None
    finally:
        process.stdin.close()
        assert process.wait(timeout=120) == 0
        process.stdout.close()
        assert process.stderr
        process.stderr.close()


def test_a_torn_sample_leaves_the_lines_so_far_valid(serctl: Any, samples: Path, live_bundle: Bundle) -> None:
    result = serctl("stream", "-", "-m", live_bundle.folder, stdin=pcm(samples) + b"\x01")
    assert result.code != 0
    assert (
        "error: the stream ended in the middle of a sample: 1 of 2 bytes: --format states how samples are stored"
        in result.stderr
    )
    assert len(lines_of(result.stdout)) > 10


def test_a_closed_stdin_is_wrong_usage(serctl: Any, live_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serctl.cli.stream.sys", SimpleNamespace(stdin=None))
    result = serctl("stream", "-", "-m", live_bundle.folder)
    assert (result.code, "expected raw samples on stdin, which is closed" in result.stderr) == (2, True)


def test_a_reader_that_goes_away_ends_the_stream_quietly(live_bundle: Bundle, samples: Path) -> None:
    process = start("-", "-m", live_bundle.folder)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    data = pcm(samples)
    process.stdin.write(data)
    process.stdin.flush()
    assert lines_of(process.stdout.readline().decode())[0]["time"] == 0.1
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        for _ in range(600):  # it goes on speaking: stdin is never closed before the process has ended
            process.stdin.write(data)
            process.stdin.flush()
    code, errors = process.wait(timeout=60), process.stderr.read()
    process.stderr.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    assert (code, errors) == (0, b"")


def test_a_recording_is_played_at_its_own_pace(
    serctl: Any, samples: Path, live_bundle: Bundle, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("serctl.cli.stream.time", clock := FakeTime(slept))
    result = serctl("stream", samples / "tom-sad.flac", "-m", live_bundle.folder, "--realtime")
    assert result.code == 0
    assert len(lines_of(result.stdout)) == int(10 * seconds)
    assert clock.now == pytest.approx(seconds)
    assert max(slept) == pytest.approx(0.1)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self, slept: list[float]) -> None:
        self.now, self.slept = 0.0, slept

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--realtime"], "--realtime is for recordings: what comes from elsewhere has its own pace"),
        (["-", "--format", "u8"], "'u8' is not one of 's16le', 's32le', 'f32le'"),
        (["-", "--rate", "0"], "expected a rate from 4000 to 384000 Hz, received 0"),
        (["-", "--hop", "0.01"], "expected 0.05 s <= hop <= window <= 60 s. Received: 0.01 s"),
        (["-", "--hysteresis", "2"], "--hysteresis"),
        (["-", "--every", "minute"], "--every"),
        (["nowhere.wav"], "'nowhere.wav' does not exist"),
        ([], "expected one source: a FILE, - for raw samples on stdin, --mic, or --listen HOST:PORT"),
        (["talk.wav", "--mic"], "expected one source"),
        (["talk.wav", "--device", "1"], "--device names a microphone: expected --mic with it"),
        (["--mic", "--realtime"], "--realtime is for recordings"),
    ],
)
def test_wrong_usage_is_exit_code_2(serctl: Any, live_bundle: Bundle, arguments: list[str], message: str) -> None:
    result = serctl("stream", *arguments, "-m", live_bundle.folder)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_model_that_is_not_causal_is_refused(serctl: Any, samples: Path, mfcc_bundle: Bundle) -> None:
    result = serctl("stream", samples / "tom-sad.flac", "-m", mfcc_bundle.folder)
    assert (result.code, result.stdout) == (2, "")
    assert "`serctl train --arch lstm --causal` trains one" in result.stderr


def test_an_architecture_that_cannot_be_causal_is_refused(
    serctl: Any, samples: Path, tmp_path: Path, tensorflow: None
) -> None:
    result = serctl("train", samples, "-o", tmp_path / "m", "--arch", "cnn", "--causal")
    assert (result.code, "no causal cnn: expected one of lstm" in result.stderr) == (2, True)
    assert not list(tmp_path.glob("m*"))


@pytest.mark.usefixtures("tensorflow")
def test_a_causal_model_is_trained_and_followed(serctl: Any, samples: Path, tmp_path: Path, shared_cache: Any) -> None:
    model = tmp_path / "live"
    fit = ("--epochs", 1, "--batch-size", 8, "--copies", 0, "--jobs", 1, "--cache-dir", shared_cache.folder)
    result = serctl("train", samples, "-o", model, "--arch", "lstm", "--causal", *fit)
    assert result.code == 0, result.stderr
    bundle = load_bundle(model)
    assert bundle.causal
    assert sum(path.stat().st_size for path in (bundle.model_path, bundle.step_path)) < 1_000_000
    followed = serctl("stream", samples / "tom-sad.flac", "-m", model)
    assert followed.code == 0, followed.stderr
    assert any(line["voiced"] for line in lines_of(followed.stdout))
    whole = serctl("predict", samples / "tom-sad.flac", "-m", model)
    assert whole.code == 0, whole.stderr

    again = serctl("train", samples, "-o", tmp_path / "again", "--from", model, *fit)
    assert again.code == 2
    assert "is causal, and so is what continues from it" in again.stderr
    assert "--causal" in again.stderr
    assert not (tmp_path / "again").exists()
    more = serctl("train", samples, "-o", tmp_path / "more", "--from", model, "--causal", *fit)
    assert more.code == 0, more.stderr
    assert load_bundle(tmp_path / "more").causal
