"""The microphone, with a stand-in for PortAudio: a machine that runs tests seldom has one."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.errors import AudioError, ConfigError
from serctl.live import microphone

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle

RATE = 16_000


class PortAudioError(Exception):
    pass


class Device:
    """A device of one native rate; it hands over each piece as soon as the stream is opened."""

    def __init__(self, pieces: list[Any], rate: int = RATE) -> None:
        self.pieces, self.rate = pieces, rate
        self.opened: dict[str, Any] = {}
        self.closed = False
        self.module = SimpleNamespace(
            PortAudioError=PortAudioError,
            check_input_settings=self.check,
            query_devices=lambda _device, _kind: {"default_samplerate": float(rate)},
            InputStream=self.open,
        )

    def check(self, *, device: Any, samplerate: int, **_: Any) -> None:
        if device == "nobody":
            raise ValueError("No input device matching 'nobody'")
        if samplerate != self.rate:
            raise PortAudioError("Invalid sample rate")

    def open(self, **options: Any) -> Device:
        self.opened = options
        return self

    def __enter__(self) -> None:
        for piece in self.pieces:
            self.opened["callback"](piece, len(piece), None, None)

    def __exit__(self, *_: object) -> None:
        self.closed = True


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(microphone, "SILENT_DEVICE_S", 0.1)

    def give(device: Device) -> Device:
        monkeypatch.setitem(sys.modules, "sounddevice", device.module)
        return device

    return give


def pieces_of(samples: np.ndarray, size: int = 320) -> list[np.ndarray]:
    return [samples[first : first + size, None] for first in range(0, len(samples), size)]


def test_it_gives_what_is_heard_and_says_when_the_device_is_gone(use: Any) -> None:
    spoken = np.random.default_rng(0).standard_normal(3_200).astype(np.float32)
    device = use(Device(pieces_of(spoken)))
    heard = []
    with pytest.raises(AudioError, match="sent nothing for 0 s: has it been unplugged"):
        heard.extend(microphone.samples_of_microphone(None, rate=RATE))
    np.testing.assert_array_equal(np.concatenate(heard), spoken)
    assert device.closed
    assert (device.opened["samplerate"], device.opened["channels"], device.opened["blocksize"]) == (RATE, 1, 320)


def test_a_device_of_another_rate_is_resampled(use: Any) -> None:
    t = np.arange(48_000) / 48_000
    device = use(Device(pieces_of(np.sin(2 * np.pi * 440 * t).astype(np.float32), 960), rate=48_000))
    heard = []
    with pytest.raises(AudioError):
        heard.extend(microphone.samples_of_microphone("1", rate=RATE))
    assert (device.opened["samplerate"], device.opened["device"]) == (48_000, 1)
    sound = np.concatenate(heard)
    assert len(sound) == pytest.approx(RATE, abs=RATE // 10)
    loudest = np.abs(np.fft.rfft(sound)).argmax() * RATE / len(sound)
    assert loudest == pytest.approx(440, abs=2)


def test_the_sound_is_copied_since_the_device_uses_its_buffer_again(use: Any) -> None:
    buffer = np.zeros((320, 1), np.float32)
    device = use(Device([]))
    heard = microphone.samples_of_microphone(None, rate=RATE)

    def enter() -> None:
        for value in (1, 2):
            buffer[:] = value
            device.opened["callback"](buffer, 320, None, None)

    device.__class__ = type("Reusing", (Device,), {"__enter__": lambda _self: enter()})
    assert [float(next(heard)[0]) for _ in range(2)] == [1, 2]
    heard.close()
    assert device.closed


def test_more_than_can_be_processed_is_an_error_and_not_a_silent_gap(use: Any) -> None:
    most = round(microphone.BACKLOG_S / microphone.PIECE_S)
    use(Device([np.zeros((320, 1), np.float32)] * (most + 1)))
    with pytest.raises(AudioError, match="more than 10 s of sound wait for processing"):
        list(microphone.samples_of_microphone(None, rate=RATE))


def test_an_unknown_device_is_named(use: Any) -> None:
    use(Device([]))
    with pytest.raises(AudioError, match="No input device matching 'nobody'"):
        next(microphone.samples_of_microphone("nobody", rate=RATE))


def test_without_sounddevice_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigError, match=r"pip install 'serctl\[mic\]'"):
        next(microphone.samples_of_microphone(None, rate=RATE))


def test_without_portaudio_the_message_says_how_to_get_it(tmp_path: Path, live_bundle: Bundle) -> None:
    """As sounddevice fails where it finds no PortAudio."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    command = [sys.executable, "-m", "serctl", "stream", "--mic", "-m", str(live_bundle.folder)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(tmp_path), timeout=120
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "needs PortAudio (PortAudio library not found); on Debian: apt install libportaudio2" in result.stderr


def test_ctrl_c_is_how_listening_ends(tmp_path: Path, live_bundle: Bundle) -> None:
    (tmp_path / "sounddevice.py").write_text(ENDLESS)
    command = [sys.executable, "-m", "serctl", "stream", "--mic", "-m", str(live_bundle.folder)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(tmp_path), timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 10


ENDLESS = """
import os, signal, threading, time
import numpy as np
class PortAudioError(Exception): pass
def check_input_settings(**_): pass
class InputStream:
    def __init__(self, *, callback, blocksize, **_):
        self.callback, self.blocksize = callback, blocksize
    def speak(self):
        for _ in range(50):
            self.callback(np.zeros((self.blocksize, 1), np.float32), self.blocksize, None, None)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)
    def __enter__(self):
        threading.Thread(target=self.speak, daemon=True).start()
    def __exit__(self, *_): pass
"""


def _environment(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
