"""A content-addressed store on disk: an opaque key leads to named numeric arrays.

The caller builds the key from what determines the result (digest of the audio, digest of the configuration, version of
the code), so an entry is never stale, and a renamed or moved recording is still found.

Why not joblib.Memory (as of joblib 1.6), the obvious candidate:

- It keys a call by the function's name and an MD5 of its pickled arguments: for a path that is the name of the file,
  not what is in it. When the function's source text changes, every entry of that function is dropped, while a change
  in anything the function calls goes unnoticed.
- Its entries are pickles. A cache folder is often shared or writable by others, and loading a pickle runs its code.
- It keeps no checksum. An entry that cannot be unpickled is computed again, but flipped bits in an array come back as
  data.

An entry here is one file: `magic | digest | header length | header | arrays`. The header is JSON (name, dtype and shape
of each array), the arrays are raw contiguous bytes, and the digest (BLAKE2b, keyed with the entry's own key, so that a
misplaced file is found out too) covers everything behind it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
import struct
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from serctl.errors import ConfigError, DamagedEntryError, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_MAGIC = b"serctl\x00\x01"  # the last byte is the version of the format
_DIGEST_SIZE = 16
_HEADER_LENGTH = struct.Struct("<I")
_PREFIX_SIZE = len(_MAGIC) + _DIGEST_SIZE + _HEADER_LENGTH.size
_ALIGNMENT = 16
_NUMERIC_KINDS = "biufc"
_KEY = re.compile(r"[0-9a-f]{8,64}")
_TOUCH_AFTER_S = 3600.0
_ABANDONED_AFTER_S = 3600.0

_logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """The user's cache folder on this platform, such as ~/.cache/serctl on Linux."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("serctl", appauthor=False))


def make_key(*parts: str | int | float) -> str:
    """Digest of the parts in their order, as 40 hexadecimal digits; 1, 1.0 and "1" are different parts."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        encoded = _encode_part(part)
        digest.update(struct.pack("<Q", len(encoded)))
        digest.update(encoded)
    return digest.hexdigest()


def _encode_part(part: str | int | float) -> bytes:
    if isinstance(part, str):
        return b"s" + part.encode("utf-8", "surrogatepass")
    if isinstance(part, int):
        return b"i%d" % part
    return b"f" + float(part).hex().encode()


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds; oldest and newest are the times of last use (to the hour) of its entries."""

    folder: Path
    entries: int
    bytes: int
    oldest: datetime | None = None
    newest: datetime | None = None


@dataclass(frozen=True)
class _Entry:
    path: Path
    bytes: int
    used: float


class Cache:
    """Named arrays under opaque keys in one folder, shared safely by any number of processes.

    folder: made at the first write.
    Raises ConfigError when the folder's path leads to or through a file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        existing = next((path for path in (self.folder, *self.folder.parents) if path.exists()), None)
        if existing is not None and not existing.is_dir():
            raise ConfigError(f"the cache needs a folder, but {existing} is a file", Remedy.CACHE_FOLDER)

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays stored under the key, with their dtypes and shapes.

        None when there is no such entry, or when it was damaged: then it has been removed, to be computed again.
        """
        path = self._path(key)
        try:
            return _read_entry(path, key)
        except FileNotFoundError:
            return None
        except DamagedEntryError as damage:
            _logger.debug("removed a damaged cache entry, %s: %s", path, damage)
            _remove(path)
        except OSError as error:
            _warn_once(self.folder, f"cannot be read ({error.strerror})")
        return None

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store the arrays under the key; a cache that cannot be written is reported once and does no other harm.

        arrays: of boolean, integer, float or complex dtype and any shape.
        Raises TypeError for any other dtype.
        """
        path = self._path(key)
        pieces = _encode_entry(key, arrays)
        try:
            _write_entry(path, pieces)
        except OSError as error:
            _warn_once(self.folder, f"cannot be written ({error.strerror}); carrying on without it")

    def info(self) -> CacheInfo:
        """Count the entries and their bytes."""
        entries = list(self._entries())
        used = [datetime.fromtimestamp(entry.used, timezone.utc) for entry in entries]
        return CacheInfo(
            folder=self.folder,
            entries=len(entries),
            bytes=sum(entry.bytes for entry in entries),
            oldest=min(used, default=None),
            newest=max(used, default=None),
        )

    def verify(self) -> list[Path]:
        """Check the digest of every entry; remove and return those that are damaged or cannot be read."""
        return [entry.path for entry in self._entries() if not _is_whole(entry.path) and _remove(entry.path)]

    def prune(self, max_bytes: int) -> int:
        """Remove the least recently used entries until the rest fits into max_bytes; return how many were removed.

        Temporary files that a killed process left behind are swept out as well.
        """
        self._sweep(older_than_s=_ABANDONED_AFTER_S)
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        excess = sum(entry.bytes for entry in entries) - max_bytes
        removed = 0
        for entry in entries:
            if excess <= 0:
                break
            removed += _remove(entry.path)
            excess -= entry.bytes
        return removed

    def clear(self) -> int:
        """Remove every entry; return how many there were. Files that are not the cache's own are left alone."""
        self._sweep(older_than_s=0.0)
        removed = sum(_remove(entry.path) for entry in self._entries())
        for shelf in self._shelves():
            with suppress(OSError):  # not empty: another process has just written there
                shelf.rmdir()
        return removed

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"expected a key of 8 to 64 hexadecimal digits, as make_key gives. Received: {key!r}")
        return self.folder / key[:2] / f"{key}.entry"

    def _shelves(self) -> Iterator[Path]:
        """The sub-folders, which keep each folder small; by name, since the folder may be any."""
        return (shelf for shelf in self.folder.glob("[0-9a-f][0-9a-f]") if shelf.is_dir())

    def _entries(self) -> Iterator[_Entry]:
        for shelf in self._shelves():
            for path in shelf.glob("*.entry"):
                with suppress(FileNotFoundError):  # another process removed it since
                    status = path.stat()
                    if _KEY.fullmatch(path.stem):
                        yield _Entry(path, status.st_size, status.st_mtime)

    def _sweep(self, *, older_than_s: float) -> None:
        deadline = time.time() - older_than_s
        for shelf in self._shelves():
            for path in shelf.glob("*.entry.*.tmp"):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime <= deadline:
                        _remove(path)


def _encode_entry(key: str, arrays: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """The parts of an entry's file, in order; the arrays' bytes are views where the arrays are contiguous."""
    header = json.dumps([_describe(name, array) for name, array in arrays.items()]).encode()
    length = _HEADER_LENGTH.pack(len(header))
    body: list[bytes | memoryview] = [length, header, _padding(_PREFIX_SIZE + len(header))]
    for array in arrays.values():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        body += [data, _padding(data.nbytes)]
    return [_MAGIC, _digest(key, body), *body]


def _describe(name: str, array: NDArray[Any]) -> tuple[str, str, tuple[int, ...]]:
    if array.dtype.kind not in _NUMERIC_KINDS:
        raise TypeError(f"the cache holds numbers only. Received: {name!r} of dtype {array.dtype}")
    return name, array.dtype.str, array.shape


def _padding(size: int) -> bytes:
    """Zeros up to the next aligned offset: numpy works slowly on arrays that straddle their natural boundary."""
    return bytes(-size % _ALIGNMENT)


def _digest(key: str, pieces: Sequence[bytes | memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE, key=key.encode())
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _write_entry(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """Write beside the entry and rename, so that other processes see all of it or nothing.

    There is no fsync: it costs milliseconds, and an entry torn by a power cut fails its digest and is computed again.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _create(temporary) as file:
            for piece in pieces:
                file.write(piece)
        temporary.replace(path)
    except BaseException:
        _remove(temporary)
        raise


def _create(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def _read_entry(path: Path, key: str) -> dict[str, NDArray[Any]]:
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        content = bytearray(status.st_size)
        read = file.readinto(content)
    if read != len(content):
        raise DamagedEntryError(f"read {read} of {len(content)} bytes")
    arrays = _decode_entry(content, key)
    if time.time() - status.st_mtime > _TOUCH_AFTER_S:
        with suppress(OSError):  # a read-only cache is as good to read from
            os.utime(path)
    return arrays


def _decode_entry(content: bytearray, key: str) -> dict[str, NDArray[Any]]:
    """The arrays, as writable views of the content."""
    view = memoryview(content)
    body = view[len(_MAGIC) + _DIGEST_SIZE :]
    if view[: len(_MAGIC)] != _MAGIC:
        raise DamagedEntryError("not an entry of this version")
    if view[len(_MAGIC) : len(_MAGIC) + _DIGEST_SIZE] != _digest(key, [body]):
        raise DamagedEntryError("its digest does not fit its content")
    (header_length,) = _HEADER_LENGTH.unpack_from(body)
    offset = _PREFIX_SIZE + header_length
    header = json.loads(bytes(view[_PREFIX_SIZE:offset]))
    arrays = {}
    for name, dtype_text, shape in header:
        offset += -offset % _ALIGNMENT
        dtype = np.dtype(dtype_text)
        arrays[name] = np.ndarray(shape, dtype, buffer=content, offset=offset)
        offset += arrays[name].nbytes
    return arrays


def _is_whole(path: Path) -> bool:
    try:
        _read_entry(path, path.stem)
    except FileNotFoundError:
        return True  # removed by another process since the listing
    except (DamagedEntryError, OSError):
        return False
    return True


def _remove(path: Path) -> bool:
    """Remove a file if that is possible; whether it was."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


@functools.cache
def _warn_once(folder: Path, problem: str) -> None:
    """Log the problem at its first occurrence in this process: a batch of 100,000 files would repeat it as often."""
    _logger.warning("the cache %s %s", folder, problem)
