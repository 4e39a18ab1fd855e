"""Files and folders that appear whole or not at all, and paths as messages show them."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def show_path(path: Path) -> str:
    """The path in quotes, on one line whatever its name holds."""
    return repr(str(path))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside the path; when the block ends well, what was written there replaces it in one step.

    Whatever goes wrong (a full disk, Ctrl-C), the previous file stays as it was and the temporary one is removed.
    """
    target = Path(os.path.realpath(path))  # a link stays a link: the file it leads to is replaced
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the folder, which takes its place when the block ends well.

    Whatever goes wrong in the block, a previous folder stays as it was and the temporary one is removed.
    """
    folder = Path(os.path.realpath(folder))  # a link stays a link: the folder it leads to is replaced
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    draft.mkdir()
    try:
        yield draft
        if folder.exists():
            outgoing = draft.with_suffix(".old")
            folder.replace(outgoing)
            draft.replace(folder)
            shutil.rmtree(outgoing)
        else:
            draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
