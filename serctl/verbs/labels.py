"""Write predictions as labels over time: one file for each recording, or one for all."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from serctl.errors import ConfigError, Remedy
from serctl.files import atomic_path, check_new_file
from serctl.reports.labels import LabelFormat, track_of
from serctl.verbs.batch import STATUS_OK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from serctl.audio.find import Recording
    from serctl.reports.schema import Columns, Table


class LabelFolder:
    """Writes the labels of each recording into a file of its own, named as the recording is.

    The files lie below the folder as the recordings do below the folder that they have in common. Where two recordings
    differ in their suffix alone, the names of their labels keep it.

    Args:
        folder: where to; it is made.
        recordings: all that will be written.
        form: the format.
        overwrite: replace files that exist.

    Raises:
        ConfigError: a file exists or cannot be written.
    """

    def __init__(self, folder: Path, recordings: Sequence[Recording], form: LabelFormat, *, overwrite: bool) -> None:
        self._form = form
        self._places = _places(folder, [str(each.path) for each in recordings], form.suffix)
        for place in self._places.values():
            check_new_file(place, overwrite=overwrite)

    def __call__(self, table: Table) -> None:
        """Write the labels of a recording; nothing for one that failed."""
        if table["status"] != STATUS_OK:
            return
        with atomic_path(self._places[table["path"]]) as draft:
            draft.write_text(self._form.write(track_of(table)), encoding="utf-8", newline="\n")


def _places(folder: Path, paths: Sequence[str], suffix: str) -> dict[str, Path]:
    """The file of each recording, by its path."""
    absolute = {path: os.path.abspath(path) for path in paths}  # noqa: PTH100 - links stay what they are
    common = os.path.commonpath([os.path.dirname(each) for each in absolute.values()])  # noqa: PTH120
    below = {path: os.path.relpath(each, common) for path, each in absolute.items()}
    stems = Counter(os.path.splitext(each)[0].casefold() for each in below.values())  # noqa: PTH122
    named = {
        path: os.path.splitext(each)[0] if stems[os.path.splitext(each)[0].casefold()] == 1 else each  # noqa: PTH122
        for path, each in below.items()
    }
    return {path: folder / f"{each}{suffix}" for path, each in named.items()}


def check_single(recordings: Sequence[Recording], output: Path, form: LabelFormat) -> None:
    """Check that a file of labels can hold those of the recordings. Raises ConfigError if it holds those of one."""
    if len(recordings) > 1 and not form.joined:
        raise ConfigError(f"{output} holds the labels of one recording. Received: {len(recordings)}", Remedy.FOLDER)


def write_labels(path: Path, *, columns: Columns, tables: Iterable[Table], form: LabelFormat) -> None:  # noqa: ARG001
    """Write the labels of all recordings into one file; see reports.tables.Writer."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(form.write(track_of(table)) for table in tables if table["status"] == STATUS_OK)
