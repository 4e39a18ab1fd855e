"""Recordings behind URLs, such as s3://bucket/calls, read through fsspec.

A URL travels through the program as a path whose text keeps both slashes. What it leads to is fetched as a whole into a
file without a name, so that all that reads a recording reads a file.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.extras import require_extra

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+]+):/+(?P<rest>.*)", re.DOTALL)


class UrlPath(type(Path())):  # type: ignore[misc]
    """A URL as a path: name, suffix and parent are as those of files, its text is the URL."""

    __slots__ = ()

    def __str__(self) -> str:
        return str(super().__str__()).replace(":/", "://", 1)


@dataclass(frozen=True)
class Found:
    """A file behind a URL.

    Attributes:
        path: of the file.
        name: its path below the place that was listed; empty for that place itself.
        state: tells its versions apart.
        bytes: its size.
        changed: when it was written, in seconds since 1970; 0 where the store does not tell.
    """

    path: Path
    name: str
    state: str
    bytes: int
    changed: float


def as_path(path: str | Path) -> Path:
    """Return a path, which is a UrlPath if the text is a URL and no folder here has the name of its scheme."""
    if isinstance(path, UrlPath):
        return path
    match = _URL.fullmatch(str(path))
    if match is None or os.path.lexists(f"{match['scheme']}:"):
        return Path(path)
    return Path("/", match["rest"]) if match["scheme"] == "file" else UrlPath(f"{match['scheme']}:/{match['rest']}")


def list_files(path: Path) -> Iterator[Found]:
    """Yield the files below a URL, in no particular order, hidden ones left out; or the file itself.

    Raises:
        OSError: it cannot be listed.
        MissingExtraError: fsspec is not installed.
    """
    with open_store(path) as (system, place):
        entries = system.find(place, detail=True)
        single = set(entries) == {place}
    for address, facts in entries.items():
        name = path.name if single else address.removeprefix(place).lstrip("/")
        if single or not any(part.startswith(".") for part in name.split("/")):
            yield _found(path if single else path / name, "" if single else name, facts)


def fetch(path: Path) -> io.FileIO:
    """Return a file without a name that holds the bytes of what is behind a URL.

    Raises:
        OSError: it cannot be read.
        MissingExtraError: fsspec is not installed.
    """
    with open_store(path) as (system, place), ExitStack() as stack:
        copy = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        with system.open(place, "rb") as source:
            shutil.copyfileobj(source, copy)
        copy.seek(0)
        stack.pop_all()
    return copy


@contextmanager
def open_store(path: Path) -> Iterator[tuple[Any, str]]:
    """Give the file system of a URL, and its place in there; what the store raises in the block becomes an OSError."""
    with _Translated():
        yield _open(path)


def _open(path: Path) -> tuple[Any, str]:
    require_extra("s3", "a URL", "fsspec")
    from fsspec.core import url_to_fs

    system, place = url_to_fs(str(path))
    return system, place.rstrip("/")


def _found(path: Path, name: str, facts: dict[str, Any]) -> Found:
    changed = next((facts[key] for key in ("LastModified", "mtime", "created") if facts.get(key)), 0.0)
    size = facts.get("size") or 0
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return Found(path, name, f"{size} {facts.get('ETag') or changed}", size, seconds)


class _Translated:
    """Turns what a store raises into an OSError: no credentials, no package for its protocol."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        boto = getattr(sys.modules.get("botocore.exceptions"), "BotoCoreError", ImportError)
        if isinstance(error, (ImportError, ValueError, boto)):
            raise OSError(0, str(error)) from error
