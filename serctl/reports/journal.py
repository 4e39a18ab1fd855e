"""The journal of a run: finished results on disk, from which an interrupted run continues."""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from serctl.arrays import UNREADABLE, describe_arrays, view_arrays
from serctl.errors import ConfigError, Remedy

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from serctl.reports.schema import Table


_MAGIC = b"serctl journal 1\n"
_RECORD = struct.Struct("<QI")  # length and CRC-32 of the record's content
_HEADER_LENGTH = struct.Struct("<I")
_UNREADABLE = (*UNREADABLE, struct.error)
"""What decoding a record that is none of ours raises."""


def journal_path(output: Path) -> Path:
    """Return where the journal of a run that writes this output lies."""
    return output.with_name(f"{output.name}.partial")


class Journal:
    """The finished part of a run, on disk beside its output: one table for each input's key, readable in any order.

    A record is appended with one write, so a killed process tears at most the last one, which is dropped when the
    journal is opened again. Adding a key anew replaces its table. Memory holds the keys and where their tables lie.

    Args:
        output: the report; the journal lies beside it.
        fingerprint: what determined the results (model, options, version); only a run with the same one may resume.
        resume: go on from the journal that an interrupted run left, if there is one.

    Raises:
        ConfigError: the journal to resume belongs to another run, or the file is not a journal.
        OSError: the file cannot be opened or written.
    """

    def __init__(self, output: Path, *, fingerprint: str, resume: bool) -> None:
        self.path = journal_path(output)
        self._places: dict[str, int] = {}
        self._file: BinaryIO = self._open(fingerprint, resume=resume)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, key: str, table: Table) -> None:
        """Append the table of a finished input. Raises OSError when the disk is full; what was added before is kept."""
        self._append(key, _encode(key, table))

    def read(self, key: str) -> dict[str, Any]:
        """Return the table of an input.

        Raises:
            KeyError: the key was not added.
            OSError: the record is not, or no longer, the one that was added: another program has changed the file.
        """
        self._file.seek(self._places[key])
        content = _read_record(self._file)
        with suppress(*_UNREADABLE):
            found, table = _decode(content or b"")
            if found == key:
                return table
        raise OSError(f"{self.path} was changed by another program while in use")

    def close(self) -> None:
        """Close the file, which stays for a later run to resume."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file, once the report is written."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self, fingerprint: str, *, resume: bool) -> BinaryIO:
        with ExitStack() as stack:
            file: BinaryIO = stack.enter_context(_open_regular(self.path))
            if not _MAGIC.startswith(file.read(len(_MAGIC))):
                raise ConfigError(f"{self.path} is not a serctl journal: move it away", Remedy.OTHER_OUTPUT)
            if not (resume and self._recover(file, fingerprint)):
                file.truncate(0)
                file.seek(0)
                file.write(_MAGIC + _framed(fingerprint.encode()))
            stack.pop_all()
        return file

    def _recover(self, file: BinaryIO, fingerprint: str) -> bool:
        """Find the whole records and cut off a torn tail; False when not even the fingerprint is whole."""
        found = _read_record(file)
        if found is None:
            return False
        if found != fingerprint.encode():
            raise ConfigError(
                f"{self.path} belongs to a run with another model, other options or another version",
                Remedy.RESTART,
                Remedy.OTHER_OUTPUT,
            )
        end = file.tell()
        while (content := _read_record(file)) is not None:
            try:
                key, _ = _decode(content)
            except _UNREADABLE:
                break
            self._places[key] = end
            end = file.tell()
        file.truncate(end)
        return True

    def _append(self, key: str, content: bytes) -> None:
        place = self._file.seek(0, os.SEEK_END)
        record = _framed(content)
        try:
            written = self._file.write(record)
            if written < len(record):  # the disk filled up; writing the rest says so
                self._file.write(record[written:])
        except OSError:
            self._file.truncate(place)
            raise
        self._places[key] = place


def _open_regular(path: Path) -> BinaryIO:
    """Open or create the file. Raises ConfigError if it is a special file, for which nothing waits."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError(f"{path} is not a serctl journal: move it away", Remedy.OTHER_OUTPUT)
    return os.fdopen(descriptor, "r+b", buffering=0)


def _framed(content: bytes) -> bytes:
    return _RECORD.pack(len(content), zlib.crc32(content)) + content


def _read_record(file: BinaryIO) -> bytes | None:
    """The content of the record at the file's position; None at the end of the file or where a record is torn."""
    frame = file.read(_RECORD.size)
    if len(frame) < _RECORD.size:
        return None
    length, checksum = _RECORD.unpack(frame)
    if length > os.fstat(file.fileno()).st_size:
        return None
    content = file.read(length)
    return content if len(content) == length and zlib.crc32(content) == checksum else None


def _encode(key: str, table: Table) -> bytes:
    """A JSON header with the key and the plain values, then the bytes of the arrays."""
    arrays = {name: value for name, value in table.items() if isinstance(value, np.ndarray) and value.ndim}
    plain = {name: value for name, value in table.items() if name not in arrays}
    facts = {"key": key, "plain": plain, "arrays": describe_arrays(arrays)}
    header = json.dumps(facts, default=_plain_scalar).encode()
    return b"".join([_HEADER_LENGTH.pack(len(header)), header, *(array.tobytes() for array in arrays.values())])


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    raise TypeError(f"expected text and numbers in a table. Received: {type(value).__name__}")


def _decode(content: bytes) -> tuple[str, dict[str, Any]]:
    """The key and the table of a record. Raises one of _UNREADABLE if the record is none of ours."""
    (length,) = _HEADER_LENGTH.unpack_from(content)
    offset = _HEADER_LENGTH.size + length
    header = json.loads(content[_HEADER_LENGTH.size : offset])
    arrays, end = view_arrays(header["arrays"], content, offset=offset)
    if end != len(content):
        raise ValueError(f"expected {end} bytes. Received: {len(content)}")
    return str(header["key"]), dict(header["plain"]) | arrays
