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

The digest guards against damage, not against forgery: whoever may write into the folder can compute it. So an entry is
decoded as untrusted input: numeric dtypes alone, shapes and sizes checked against the file, special files ignored. The
features say what was spoken, so the folder and its files are for their owner alone.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import stat
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from serctl.entries import decode_entry, encode_entry
from serctl.errors import ConfigError, DamagedEntryError, Remedy
from serctl.files import atomic_path, open_input
from serctl.urls import UrlPath, as_path, list_files, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_OWNER_ALONE = 0o700
_KEY = re.compile(r"[0-9a-f]{8,64}")
_TOUCH_AFTER_S = 3600.0
_ABANDONED_AFTER_S = 3600.0

LARGEST_ENTRY = 256 * 2**20
"""Bytes of an entry's file: many times what the windows of one chunk take."""

_logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Return the user's cache folder on this platform, such as ~/.cache/serctl on Linux.

    Raises:
        ConfigError: the user has no home folder.
    """
    import platformdirs

    homeless = ConfigError("there is no home folder to keep the cache in", Remedy.CACHE_FOLDER)
    try:
        folder = Path(platformdirs.user_cache_dir("serctl", appauthor=False))
    except RuntimeError as error:
        raise homeless from error
    if not folder.is_absolute() or folder == Path("/.cache/serctl"):  # older platformdirs: no home, or an empty one
        raise homeless
    return folder


def cache_folder(folder: Path | None) -> Path:
    """Return the folder that was named, its ~ expanded, or else the default one.

    Raises:
        ConfigError: there is no home folder, or not that of the user whom ~ names.
    """
    if folder is None:
        return default_folder()
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"there is no home folder for {folder}", Remedy.CACHE_FOLDER) from error


def open_cache(folder: Path | None = None) -> Cache | None:
    """Open the cache for a run, which works without one, too: more slowly.

    Args:
        folder: where the cache lies, or is to lie; None for the default folder.

    Returns:
        The cache; None, after one warning, where it can be neither read nor written.

    Raises:
        ConfigError: the folder's path leads to or through a file.
    """
    try:
        cache = make_cache(folder)
    except ConfigError as error:
        if folder is not None:
            raise
        _logger.warning("%s; carrying on without a cache", error)
        return None
    if isinstance(cache, ObjectCache):
        return cache
    try:
        cache.folder.mkdir(mode=_OWNER_ALONE, parents=True, exist_ok=True)
        if folder is None:
            _make_private(cache.folder)
        with os.scandir(cache.folder):
            return cache
    except OSError as error:
        _logger.warning("the cache %s cannot be used (%s); carrying on without it", cache.folder, error.strerror)
        return None


def make_cache(folder: Path | None) -> Cache:
    """Return the cache in a folder, or behind a URL; nothing is written yet.

    Raises:
        ConfigError: the folder's path leads to or through a file, or there is no home folder.
    """
    place = as_path(folder) if folder else None
    return ObjectCache(place) if isinstance(place, UrlPath) else Cache(cache_folder(folder))


def _make_private(folder: Path) -> None:
    """Close the folder to others, which earlier versions left open."""
    if folder.stat().st_mode & 0o077:
        with suppress(OSError):  # it belongs to somebody else
            folder.chmod(_OWNER_ALONE)


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
    """Named arrays under opaque keys in one folder, shared safely by any number of processes of one user.

    Args:
        folder: made at the first write, for its owner alone.

    Raises:
        ConfigError: the folder's path leads to or through a file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        existing = next(path for path in (self.folder, *self.folder.parents) if os.path.lexists(path))
        if os.path.exists(existing) and not os.path.isdir(existing):  # noqa: PTH110, PTH112 - False where closed to us
            raise ConfigError(f"the cache needs a folder, but {existing} is a file", Remedy.CACHE_FOLDER)

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays stored under the key, with their dtypes and shapes.

        Returns:
            None when there is no such entry, or when it was damaged: then it has been removed, to be computed again.
        """
        path = self._path(key)
        try:
            return self._read(path, key)
        except FileNotFoundError:
            return None
        except DamagedEntryError as damage:
            _logger.debug("removed a damaged cache entry, %s: %s", path, damage)
            self._remove(path)
        except OSError as error:
            _warn_once(self.folder, f"cannot be read ({error.strerror})")
        return None

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store the arrays under the key; a cache that cannot be written is reported once and does no other harm.

        Args:
            key: what make_key gives.
            arrays: of a numeric dtype and any shape; of more than LARGEST_ENTRY bytes together, they are not stored.

        Raises:
            TypeError: an array has any other dtype.
        """
        path = self._path(key)
        pieces = encode_entry(key, arrays)
        if sum(len(piece) for piece in pieces) > LARGEST_ENTRY:
            return
        try:
            self._write(path, pieces)
        except OSError as error:
            _warn_once(self.folder, f"cannot be written ({error.strerror}); carrying on without it")

    def info(self) -> CacheInfo:
        """Count the entries and their bytes."""
        entries = list(self._entries())
        used = [datetime.fromtimestamp(entry.used, UTC) for entry in entries]
        return CacheInfo(
            folder=self.folder,
            entries=len(entries),
            bytes=sum(entry.bytes for entry in entries),
            oldest=min(used, default=None),
            newest=max(used, default=None),
        )

    def verify(self) -> list[Path]:
        """Check the digest of every entry; remove and return those that are damaged or cannot be read."""
        return [entry.path for entry in self._entries() if not self._is_whole(entry.path) and self._remove(entry.path)]

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
            removed += self._remove(entry.path)
            excess -= entry.bytes
        return removed

    def clear(self) -> int:
        """Remove every entry; return how many there were. Files that are not the cache's own are left alone."""
        self._sweep(older_than_s=0.0)
        removed = sum(self._remove(entry.path) for entry in self._entries())
        for shelf in self._shelves():
            with suppress(OSError):  # not empty: another process has just written there
                shelf.rmdir()
        return removed

    def _read(self, path: Path, key: str) -> dict[str, NDArray[Any]]:
        return _read_entry(path, key)

    def _write(self, path: Path, pieces: Sequence[bytes | memoryview]) -> None:
        if not os.path.lexists(path) or (path.is_file() and not path.is_symlink()):  # never into a pipe
            _write_entry(path, pieces)

    def _remove(self, path: Path) -> bool:
        return _remove(path)

    def _is_whole(self, path: Path) -> bool:
        try:
            self._read(path, path.stem)
        except FileNotFoundError:
            return True  # removed by another process since the listing
        except (DamagedEntryError, OSError):
            return False
        return True

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
                    status = path.lstat()
                    if _KEY.fullmatch(path.stem) and stat.S_ISREG(status.st_mode):
                        yield _Entry(path, status.st_size, status.st_mtime)

    def _sweep(self, *, older_than_s: float) -> None:
        deadline = time.time() - older_than_s
        for shelf in self._shelves():
            for path in shelf.glob("*.entry.*.tmp"):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime <= deadline:
                        _remove(path)


class ObjectCache(Cache):
    """The same behind a URL: an entry is an object that is written once, so that nothing is locked or renamed."""

    def __init__(self, folder: UrlPath) -> None:
        self.folder = folder

    def _read(self, path: Path, key: str) -> dict[str, NDArray[Any]]:
        with open_store(path) as (store, place):
            return decode_entry(bytearray(store.cat_file(place)), key)

    def _write(self, path: Path, pieces: Sequence[bytes | memoryview]) -> None:
        with open_store(path) as (store, place):
            store.pipe_file(place, b"".join(pieces))

    def _remove(self, path: Path) -> bool:
        with suppress(OSError), open_store(path) as (store, place):
            store.rm_file(place)
            return True
        return False

    def _shelves(self) -> Iterator[Path]:
        return iter(())

    def _entries(self) -> Iterator[_Entry]:
        for each in list_files(self.folder):
            if each.path.suffix == ".entry" and _KEY.fullmatch(each.path.stem):
                yield _Entry(each.path, each.bytes, each.changed)


def _write_entry(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """Write beside the entry and rename, so that other processes see all of it or nothing.

    Nothing waits for the disk: that costs milliseconds, and an entry torn by a power cut fails its digest and is
    computed again.
    """
    with atomic_path(path, durable=False) as draft, _create(draft) as file:
        for piece in pieces:
            file.write(piece)


def _create(path: Path) -> BinaryIO:
    try:
        return _open_private(path)
    except FileNotFoundError:
        path.parent.parent.mkdir(mode=_OWNER_ALONE, parents=True, exist_ok=True)
        path.parent.mkdir(mode=_OWNER_ALONE, exist_ok=True)
        return _open_private(path)


def _open_private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _read_entry(path: Path, key: str) -> dict[str, NDArray[Any]]:
    with open_input(path, follow=False) as file:
        status = os.fstat(file.fileno())
        if status.st_size > LARGEST_ENTRY:
            raise DamagedEntryError(f"{status.st_size} bytes, expected at most {LARGEST_ENTRY}")
        content = bytearray(status.st_size)
        read = file.readinto(content)
    if read != len(content):
        raise DamagedEntryError(f"read {read} of {len(content)} bytes")
    arrays = decode_entry(content, key)
    if time.time() - status.st_mtime > _TOUCH_AFTER_S:
        with suppress(OSError):  # a read-only cache is as good to read from
            os.utime(path)
    return arrays


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
