"""librosa, imported where the user has no home folder as well."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

_CACHE_HOME = "XDG_CACHE_HOME"


@cache
def import_librosa() -> Any:
    """Import librosa with its short-time transform, for which numba compiles code and keeps it in a cache folder.

    Where the user's own cannot be written, a private one below the folder for temporary files takes its place. One
    process at a time: two that fill numba's cache leave code in it that crashes every later one (numba issue 10128).
    """
    with _cache_folder() as folder, _alone(folder / "numba"):
        import librosa
        import librosa.core.spectrum  # librosa itself imports them when they are used
        import librosa.util.utils

    return librosa


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for the other processes of this user that are in here; not where the system or the folder has no locks."""
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "serctl.lock").open("w")
    except (ImportError, OSError):
        yield
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _cache_folder() -> Iterator[Path]:
    """The folder for caches, which libraries find as well."""
    own = _own_cache()
    if own is not None and (os.name != "posix" or _can_write(own)):
        yield own
        return
    before = os.environ.get(_CACHE_HOME)
    private = _private_folder()
    os.environ[_CACHE_HOME] = str(private)
    try:
        yield private
    finally:
        if before is None:
            del os.environ[_CACHE_HOME]
        else:
            os.environ[_CACHE_HOME] = before


def _own_cache() -> Path | None:
    try:
        return Path(platformdirs.user_cache_dir())
    except RuntimeError:  # no home folder
        return None


def _can_write(folder: Path) -> bool:
    """Whether the folder, or the one in which it is to be made, can be written."""
    if not folder.is_absolute():
        return False
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """A folder that this user alone can write: code is loaded from it."""
    folder = Path(tempfile.gettempdir()) / f"serctl-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="serctl-"))
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return folder if ours else Path(tempfile.mkdtemp(prefix="serctl-"))
