"""The bytes of a recording: its digest and its decoding come from one open file, so they cannot differ."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serctl.errors import AudioError
from serctl.files import show_path
from serctl.texts import not_utf8
from serctl.urls import UrlPath, as_path, fetch

if TYPE_CHECKING:
    import re
    from pathlib import Path

LENGTH_UNKNOWN = "no length in its header: a missing end would not show"
"""The note on a recording that may have lost its end."""

_DIGEST_BLOCK = 1 << 20
_BUFFER_BYTES = 1 << 17
_LONGEST_MATCH = 64


class RecordingFile:
    """A recording opened for reading; use as a context manager.

    size: its bytes when it was opened. Raises AudioError if it cannot be opened or is not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = as_path(path)
        try:
            self._raw = _open(self.path)
            self._identity = self._identify()
        except OSError as error:
            raise unreadable(self.path, error) from error
        self.size = self._identity[0]
        self._buffer = b""
        self._buffer_start = 0

    def __enter__(self) -> RecordingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def error(self, what: str) -> AudioError:
        """An error that names the recording and says what is wrong with it."""
        return AudioError(f"{show_path(self.path)} {what}")

    def digest(self) -> str:
        """Compute the digest of all bytes: BLAKE2b of 16 bytes, in hexadecimal. Raises AudioError if that fails."""
        digest = hashlib.blake2b(digest_size=16)
        try:
            self._raw.seek(0)
            while block := self._raw.read(_DIGEST_BLOCK):
                digest.update(block)
        except OSError as error:
            raise unreadable(self.path, error) from error
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Raise AudioError if the file was written to since it was opened."""
        if self._identify() != self._identity:
            raise self.error("changed while it was read: try again when it is complete")

    def bytes_at(self, position: int, count: int) -> bytes:
        """Up to `count` bytes from `position` on, through a buffer. Raises AudioError if they cannot be read."""
        if position >= self.size:  # also what a forged header makes too large to seek to
            return b""
        offset = position - self._buffer_start
        if not 0 <= offset <= len(self._buffer) - count:
            self._buffer = self._read(position, max(count, _BUFFER_BYTES))
            self._buffer_start, offset = position, 0
        return self._buffer[offset : offset + count]

    def find(self, pattern: re.Pattern[bytes], position: int) -> int | None:
        """Where a pattern of at most 64 bytes first matches from `position` on."""
        while self.bytes_at(position, _LONGEST_MATCH):
            if match := pattern.search(self._buffer, position - self._buffer_start):
                return self._buffer_start + match.start()
            buffered = self._buffer_start + len(self._buffer)
            position = buffered if buffered >= self.size else max(buffered - _LONGEST_MATCH, position) + 1
        return None

    def readinto_at(self, position: int, buffer: memoryview) -> int:
        """Fill the buffer with the bytes from `position` on and return their number. Raises OSError."""
        self._raw.seek(position)
        return self._raw.readinto(buffer) or 0

    def _read(self, position: int, count: int) -> bytes:
        try:
            self._raw.seek(position)
            return self._raw.read(count)
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _identify(self) -> tuple[int, int]:
        status = os.fstat(self._raw.fileno())
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Part:
    """A range of a recording's bytes that a decoder takes for a whole file.

    prefix: shown before the bytes. patches: bytes to show in place of those at a position of the recording.
    notes: what its reader should know. mpeg: whether it is MPEG audio, of frames that need those before them.
    """

    start: int
    end: int
    prefix: bytes = b""
    patches: tuple[tuple[int, bytes], ...] = ()
    notes: tuple[str, ...] = ()
    mpeg: bool = False


class PartView(io.RawIOBase):
    """A part as the callbacks of a decoder want it: a file of its own.

    failure: the error of reading, kept because a callback could only print it.
    """

    def __init__(self, file: RecordingFile, part: Part) -> None:
        super().__init__()
        self._file = file
        self._part = part
        self._offset = part.start - len(part.prefix)
        self._length = part.end - self._offset
        self._position = 0
        self.failure: OSError | None = None

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return the position in the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as io.IOBase.seek does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the part goes and return the number of bytes; 0 after a failure."""
        view = memoryview(buffer).cast("B")
        view = view[: max(min(len(view), self._length - self._position), 0)]
        head = self._part.prefix[self._position : self._position + len(view)]
        view[: len(head)] = head
        count = len(head)
        try:
            if count < len(view):
                count += self._file.readinto_at(self._offset + self._position + count, view[count:])
        except OSError as error:
            self.failure = error
            return 0
        self._patch(view[:count])
        self._position += count
        return count

    def _patch(self, view: memoryview) -> None:
        start = self._offset + self._position
        for position, content in self._part.patches:
            first, last = max(position, start), min(position + len(content), start + len(view))
            if first < last:
                view[first - start : last - start] = content[first - position : last - position]


def content_digest(path: Path) -> str:
    """Compute the digest of a file's bytes, in hexadecimal. Raises AudioError if they cannot be read."""
    with RecordingFile(path) as file:
        return file.digest()


def unreadable(path: Path, error: OSError) -> AudioError:
    """Return the error of the operating system as one that names the recording and the cause."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return AudioError(
            f"{show_path(path)} is a dangling link: it points to {show_path(path.readlink())}, which does not exist"
        )
    if isinstance(error, FileNotFoundError):
        byte = not_utf8(str(path))
        reason = f": its name holds the byte {byte}, which is not UTF-8 but may be Latin-1" if byte else ""
        return AudioError(f"{show_path(path)} does not exist{reason}")
    if isinstance(error, PermissionError):
        return AudioError(f"{show_path(path)} cannot be read: permission denied")
    if error.errno == errno.ELOOP:
        return AudioError(f"{show_path(path)} is a link that leads back to itself")
    return AudioError(f"{show_path(path)} cannot be read: {error.strerror or error}")


def _open(path: Path) -> io.FileIO:
    if isinstance(path, UrlPath):
        return fetch(path)
    _check_regular(path)
    return io.FileIO(path, "rb")


def _check_regular(path: Path) -> None:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        # Opening a named pipe would wait for a writer.
        raise AudioError(f"{show_path(path)} is not a regular file")
