"""What the process of a command has to get right: its standard streams, and signals at any moment."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from typing import Any

FURTHER_SIGNALS_IGNORED_S = 5.0
"""Time to end in good order after the first; who still sends signals then ends the process at once."""

EXIT_INTERRUPTED = 130


class Interrupts:
    """Turns the first SIGINT or SIGTERM into one KeyboardInterrupt; outside of start to stop, into nothing.

    At most one is raised, so whoever has caught it is not interrupted again.
    """

    def __init__(self) -> None:
        self._active = False
        self._first: float | None = None

    @property
    def received(self) -> bool:
        """Whether a signal has come since the start."""
        return self._first is not None

    def start(self) -> None:
        """Handle both signals from now on."""
        self._active = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._raise_again

    def stop(self) -> None:
        """Let nothing disturb the end of the process."""
        self._active = False

    def _handle(self, *_: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if self._active:
                raise KeyboardInterrupt
        elif now - self._first > FURTHER_SIGNALS_IGNORED_S:
            os._exit(EXIT_INTERRUPTED)

    def _raise_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Repeat an interrupt that Python could not raise, for it came while an object was being deleted."""
        if self._active and issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._first = None
            threading.Timer(0.01, signal.raise_signal, [signal.SIGINT]).start()
        else:
            self._hook(unraisable)


def open_standard_streams() -> None:
    """Fill what was closed by `<&-`, `>&-` or `2>&-`, so that no other file takes its number; all text is UTF-8.

    Nothing can be read from a closed stdin or written to a closed stdout; what a closed stderr would show is dropped.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        if not _is_open(number):
            os.set_inheritable(os.open(os.devnull, mode), True)  # takes the lowest free number
    sys.stdout = _utf8(sys.stdout, 1, errors="surrogateescape")
    if _leads_to(sys.stderr, 2):
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(_LossyFile(2)), line_buffering=True)
    sys.stderr = _utf8(sys.stderr, 2, errors="backslashreplace")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _utf8(stream: Any, number: int, *, errors: str) -> Any:
    if stream is None:
        return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8", errors=errors)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors=errors)
    return stream


def _leads_to(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError):  # closed, or none of the system's
        return False


class _LossyFile(io.RawIOBase):
    """A descriptor to which writing never fails: what a full disk does not take is lost, and the work goes on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        try:
            return os.write(self._number, data)
        except OSError:
            return len(data)


def end_output() -> None:
    """Write what stdout still holds; if that fails, drop it, for Python would fail with a traceback at the exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
