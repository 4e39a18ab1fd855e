"""Where the augmented copies of utterances lie: a name for each, which no other has on any file system."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serctl.corpora.base import Corpus, Utterance

_LONGEST_NAME = 180  # bytes; file systems allow 255


def copy_targets(corpora: Iterable[Corpus]) -> list[tuple[Utterance, str]]:
    """Name the copies of every utterance that is not marked test.

    Args:
        corpora: what to make copies of.

    Returns:
        Each utterance with the path of its copies, relative to the output folder and without the suffix .augN.wav:
        CORPUS/FOLDERS/NAME, numbered where another utterance has that name.
    """
    taken: set[str] = set()
    return [
        (utterance, _free(f"{_folder_name(utterance.corpus)}/{name}", taken))
        for corpus in corpora
        for utterance, name in zip(corpus.utterances, _relative_names(corpus), strict=True)
        if utterance.split != "test"
    ]


def _relative_names(corpus: Corpus) -> list[str]:
    """The path of each utterance without its suffix, relative to the corpus, or to the folder of all outside it."""
    paths = [Path(os.path.abspath(utterance.path)) for utterance in corpus.utterances]  # noqa: PTH100 - takes .. out
    root = Path(os.path.abspath(corpus.root or "/"))  # noqa: PTH100
    outside = [path.parent for path in paths if not path.is_relative_to(root)]
    base = Path(os.path.commonpath(outside)) if outside else root
    names = [path.relative_to(root if path.is_relative_to(root) else base).with_suffix("") for path in paths]
    return [name.with_name(_portable(name.name)).as_posix() for name in names]


def _portable(name: str) -> str:
    """The file name in valid UTF-8, and short enough to carry the suffix of a copy, or of its draft."""
    return os.fsencode(name)[:_LONGEST_NAME].decode("utf-8", "replace")


def _folder_name(corpus: str) -> str:
    return re.sub(r"[/\\\0]", "_", corpus).lstrip(".") or "corpus"


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered if it is taken; case and the way an accent is composed do not count on every file system."""
    number, free = 1, name
    while (key := unicodedata.normalize("NFC", free).casefold()) in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(key)
    return free
