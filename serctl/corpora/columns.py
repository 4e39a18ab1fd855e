"""The columns of manifests: what each means, and the other names by which people call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.errors import CorpusError, Remedy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.corpora.base import ReadOptions

LABEL_COLUMNS = (
    *("path", "emotion", "speaker", "gender", "language", "text", "start", "end", "split", "corpus", "duration"),
)
"""What a manifest says of every utterance; times and durations in seconds."""

SOURCE_COLUMNS = ("source_digest", "source_start", "source_end", "copy")
"""What it says of augmented copies besides: the recording that each was made of; copy is 0 for an original."""

NAMES_OF_FILES = ("path", "source", "corpus")
"""Columns that hold file or folder names, which need not be valid UTF-8."""

NUMBERS = ("start", "end", "duration", "source_start", "source_end", "copy", "seed")
"""Columns of numbers."""

_SYNONYMS = {
    "path": ("file", "filename", "file_name", "filepath", "file_path"),
    "emotion": ("label",),
    "speaker": ("speaker_id",),
    "gender": ("sex",),
    "language": ("lang",),
    "text": ("transcript", "transcription"),
}


def find_columns(manifest: Path, found: Sequence[str], options: ReadOptions) -> dict[str, str]:
    """Find which column of a table has which meaning.

    Args:
        manifest: where the table is from, for messages.
        found: the columns of the table, in lower case.
        options: names the columns that are called otherwise.

    Returns:
        The column of each meaning that occurs.

    Raises:
        CorpusError: path or emotion is missing, several columns could be one of them, or a named column is not there.
    """
    answer = options.target or "emotion"
    names = {name: name for name in found if name in LABEL_COLUMNS or name in SOURCE_COLUMNS}
    names |= _chosen(manifest, found, options)
    if options.target and options.target in found:
        names["value"] = options.target
    for meaning, synonyms in _SYNONYMS.items():
        present = [name for name in synonyms if name in found]
        if meaning in names or not present:
            continue
        if len(present) > 1:
            raise CorpusError(f"{manifest}: each of {', '.join(present)} could be the {meaning}", Remedy.COLUMN)
        names[meaning] = present[0]
    meanings = {"path": "path", "value" if options.target else "emotion": answer}
    if missing := [called for meaning, called in meanings.items() if meaning not in names]:
        listed = ", ".join(sorted(found)) or "none"
        raise CorpusError(
            f"{manifest}: expected the columns path and {answer}; lacks {', '.join(missing)}, has {listed}",
            Remedy.COLUMN,
        )
    return names


def _chosen(manifest: Path, found: Sequence[str], options: ReadOptions) -> dict[str, str]:
    chosen = {meaning: name.strip().lower() for meaning, name in options.columns}
    absent = [name for name in chosen.values() if name not in found]
    if absent:
        raise CorpusError(f"{manifest}: has no column {', '.join(absent)}; has {', '.join(sorted(found))}")
    return chosen
