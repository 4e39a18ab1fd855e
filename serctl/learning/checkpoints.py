"""The folder of a run's checkpoints, and what a checkpoint of a fit holds."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError, DivergedError, Remedy
from serctl.files import atomic_path, naming
from serctl.npz import UNREADABLE_NPZ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def open_checkpoints(folder: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> Path:
    """Return the folder for a run's checkpoints: that of an interrupted run to resume, or an empty one.

    Args:
        folder: its path.
        fingerprint: of all that determines the results.
        resume: keep the checkpoints of the same run.
        overwrite: drop those of another run.

    Raises:
        ConfigError: another run's checkpoints or foreign files are there, or nothing says what to do with them.
    """
    mark = folder / "fingerprint"
    if mark.exists():
        same = mark.read_text() == fingerprint
        if _continues(folder, same=same, resume=resume, overwrite=overwrite):
            return folder
    elif folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not a serctl checkpoint folder: move it away")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with atomic_path(mark) as draft:
        draft.write_text(fingerprint)
    return folder


def _continues(folder: Path, *, same: bool, resume: bool, overwrite: bool) -> bool:
    """Decide whether the checkpoints in a folder are kept (of the same run) or dropped."""
    if resume and same:
        return True
    if overwrite:
        return False
    if resume:
        raise ConfigError(
            f"{folder} belongs to a run with other data, options or another version",
            Remedy.RESTART,
            Remedy.OTHER_OUTPUT,
        )
    raise ConfigError(f"an interrupted run left {folder}", Remedy.RESUME, Remedy.RESTART)


@contextmanager
def removed_when_done(folder: Path) -> Iterator[None]:
    """Remove a run's checkpoints when the block ends well, or diverges: no run can go on from those."""
    try:
        yield
    except DivergedError:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def save_checkpoint(path: Path, state: Mapping[str, Any], arrays: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Write all that a fit needs to go on, in one step: a kill leaves the earlier checkpoint or this one.

    Args:
        path: the checkpoint, an npz file.
        state: JSON-able facts.
        arrays: lists of arrays by name.

    Raises:
        OSError: it cannot be written; filename says which file.
    """
    named = {f"{name}/{index:04d}": array for name, each in arrays.items() for index, array in enumerate(each)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, state=np.array(json.dumps(state)), **named)
    with naming(path), atomic_path(path) as draft:
        draft.write_bytes(content.getbuffer())


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, list[NDArray[Any]]]]:
    """Read what save_checkpoint wrote.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        with path.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as content:
            arrays: dict[str, list[NDArray[Any]]] = {}
            for name in sorted(set(content.files) - {"state"}):
                arrays.setdefault(name.rpartition("/")[0], []).append(content[name])
            return json.loads(str(content["state"])), arrays
    except UNREADABLE_NPZ as error:
        raise ConfigError(f"{path}: the checkpoint is damaged", Remedy.RESTART) from error
