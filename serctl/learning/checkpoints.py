"""The folder of a run's checkpoints."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from serctl.errors import ConfigError, Remedy
from serctl.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path


def open_checkpoints(folder: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> Path:
    """The folder for a run's checkpoints: that of an interrupted run to resume, or an empty one.

    overwrite drops another run's checkpoints; with resume as well, those of the same run are kept.
    Raises ConfigError if another run's checkpoints or foreign files are there, or nothing says what to do with them.
    """
    mark = folder / "fingerprint"
    if not mark.exists() and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
        raise ConfigError(f"{folder} exists and is not a serctl checkpoint folder: move it away")
    if mark.exists() and not (resume or overwrite):
        raise ConfigError(f"an interrupted run left {folder}", Remedy.RESUME, Remedy.RESTART)
    if mark.exists() and resume and mark.read_text() == fingerprint:
        return folder
    if mark.exists() and not overwrite:
        raise ConfigError(
            f"{folder} belongs to a run with other data, options or another version",
            Remedy.RESTART,
            Remedy.OTHER_OUTPUT,
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with atomic_path(mark) as draft:
        draft.write_text(fingerprint)
    return folder
