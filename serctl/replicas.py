"""Copies of folders for processes on other machines: sent as bytes, stored once, found by the digest of what they are.

A process that works for another machine is given the path of a folder (a model) as it is there. Where it has no such
folder, it says so with a MissingFolderError; then it is sent the folder's files and keeps them until it ends.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from serctl.files import atomic_folder

if TYPE_CHECKING:
    from pathlib import Path

_held: dict[str, Path] = {}


def pack_folder(folder: Path) -> bytes:
    """Return the files of a folder as one archive; folders in it are left out.

    Raises:
        OSError: a file cannot be read.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                archive.write(path, path.name)
    return packed.getvalue()


def store_folder(digest: str, packed: bytes, *, below: Path) -> Path:
    """Unpack a folder, for held_folder to find it in this process.

    Args:
        digest: names the folder.
        packed: what pack_folder returned.
        below: where to put it.

    Returns:
        The folder.

    Raises:
        OSError: it cannot be written.
    """
    folder = below / f"serctl-{digest}"
    with atomic_folder(folder) as draft, zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(draft)
    _held[digest] = folder
    return folder


def held_folder(digest: str) -> Path | None:
    """Return the folder that was stored under the digest; None if there is none."""
    return _held.get(digest)
