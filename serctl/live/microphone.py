"""The microphone as a stream of samples, through PortAudio (sounddevice, the extra `mic`)."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

from serctl.errors import AudioError, ConfigError, MissingExtraError, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

PIECE_S = 0.02
"""Seconds of sound in one block of the device: adds at most this much latency."""

BACKLOG_S = 10.0
"""Seconds of sound that may wait for processing; beyond, the stream ends with an error."""

SILENT_DEVICE_S = 3.0
"""A device that delivers nothing for this long, not even silence, counts as disconnected."""


def samples_of_microphone(device: str | None, *, rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield the sound of a microphone in blocks as it is captured; never ends by itself.

    Args:
        device: its number or part of its name, as `python -m sounddevice` lists them; None for the system's default.
        rate: sample rate in Hz.

    Yields:
        float32, shape (n,), mono.

    Raises:
        MissingExtraError: sounddevice is not installed.
        ConfigError: PortAudio is not installed.
        AudioError: the device cannot be opened, stops, or captures more than is processed.
    """
    sounddevice = _import_sounddevice()
    pieces: queue.Queue[NDArray[np.float32]] = queue.Queue(maxsize=round(BACKLOG_S / PIECE_S))
    lost = False

    def hand_over(captured: NDArray[np.float32], _frames: int, _time: Any, _status: Any) -> None:
        nonlocal lost
        try:
            pieces.put_nowait(captured[:, 0].copy())
        except queue.Full:
            lost = True

    chosen = int(device) if device and device.isdigit() else device
    try:
        native = _native_rate(sounddevice, chosen, rate)
        with sounddevice.InputStream(
            device=chosen,
            samplerate=native,
            channels=1,
            dtype="float32",
            blocksize=round(PIECE_S * native),
            callback=hand_over,
        ):
            resample = _resampler(native, rate)
            while not lost:
                yield resample(pieces.get(timeout=SILENT_DEVICE_S))
    except queue.Empty:
        raise AudioError(f"the microphone sent nothing for {SILENT_DEVICE_S:.0f} s: has it been unplugged?") from None
    except (sounddevice.PortAudioError, ValueError) as error:
        # sounddevice raises ValueError if no device, or more than one, matches the name.
        raise AudioError(f"the microphone: {error}", Remedy.MICROPHONE) from error
    raise AudioError(f"more than {BACKLOG_S:.0f} s of sound wait for processing: this machine is too slow or too busy")


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtraError("the microphone needs sounddevice: pip install 'serctl[mic]'", extra="mic") from error
    except OSError as error:
        raise ConfigError(f"the microphone needs PortAudio ({error}); on Debian: apt install libportaudio2") from error
    return sounddevice


def _native_rate(sounddevice: Any, device: int | str | None, rate: int) -> int:
    """Return the rate if the device supports it, otherwise the device's default rate."""
    try:
        sounddevice.check_input_settings(device=device, channels=1, dtype="float32", samplerate=rate)
    except sounddevice.PortAudioError:
        return round(sounddevice.query_devices(device, "input")["default_samplerate"])
    return rate


def _resampler(native: int, rate: int) -> Any:
    if native == rate:
        return lambda samples: samples
    import soxr

    return soxr.ResampleStream(native, rate, 1, dtype="float32").resample_chunk
