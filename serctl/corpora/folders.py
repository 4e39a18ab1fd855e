"""Corpora with one folder for each emotion."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from serctl.corpora import filename
from serctl.corpora.base import SPLITS, Corpus, ReadOptions, Utterance, normalise_emotion, unknown_labels
from serctl.corpora.manifest import MANIFEST_NAMES
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def load_class_folders(root: Path, recordings: Sequence[Path], options: ReadOptions | None = None) -> Corpus:
    """Read recordings in folders named after their emotion; of nested ones, the innermost named after one counts.

    Digits in front of a name do not matter ('01_Neutral').

    Args:
        root: the folder of the corpus.
        recordings: the recordings below it.
        options: the meanings of folder names that are not the usual ones.

    Returns:
        The corpus; recordings beside the emotion folders, and in folders of other names, become problems.

    Raises:
        CorpusError: no folder is named after an emotion.
    """
    options = options or ReadOptions()
    labels = {path: _folder_label(path.relative_to(root), options) for path in recordings}
    found = Counter(label for label in labels.values() if label)
    known = {label: options.emotion(label) for label in found}
    followed = sum(filename.matches(recordings).values())
    if not any(known.values()) or followed >= filename.MAJORITY * len(recordings):
        # Many known names, but no majority of one corpus: root holds several, and none by itself is wrong.
        raise _unrecognised(root, recordings)
    own = {label: count for label, count in found.items() if normalise_emotion(label) is None}
    foreign = {label: count for label, count in own.items() if known[label] is None}
    problems = [unknown_labels(f"{root}, labels from its folders", foreign)] if foreign else []
    name = root.resolve().name
    return Corpus(
        name=name,
        utterances=tuple(
            Utterance(path=path, emotion=emotion, corpus=name)
            for path, label in labels.items()
            if (emotion := known.get(label))
        ),
        problems=(
            *problems,
            *(f"{path}: lies in no folder named after an emotion" for path, label in labels.items() if not label),
        ),
        root=root,
        own_labels=own,
    )


def with_split(utterance: Utterance, root: Path) -> Utterance:
    """Mark an utterance below a folder named train, val, test or alike as of that part, unless it is marked already."""
    if utterance.split is not None:
        return utterance
    parts = (SPLITS.get(part.lower()) for part in utterance.path.relative_to(root).parent.parts)
    return replace(utterance, split=next(filter(None, parts), None))


def _folder_label(recording: Path, options: ReadOptions) -> str:
    """The innermost folder name that is an emotion; the whole folder path if none is, empty if there is no folder."""
    folders = recording.parent.parts
    names = (re.sub(r"^[\d\W_]+", "", folder) for folder in reversed(folders))
    return next((name for name in names if options.emotion(name)), "/".join(folders))


def _unrecognised(root: Path, recordings: Sequence[Path]) -> CorpusError:
    followed = ", ".join(f"{count} follow {title}" for title, count in filename.matches(recordings).items())
    folders = sorted({path.relative_to(root).parts[0] for path in recordings if path.parent != root})
    known = ", ".join(naming.title for naming in filename.NAMINGS)
    return CorpusError(
        f"{root}: not recognised as a corpus. Looked for IEMOCAP (dialog/EmoEvaluation), "
        f"{' or '.join(MANIFEST_NAMES)}, "
        f"file names of one of {known}, and folders named after emotions. Found {len(recordings)} recordings"
        f"{f', of which {followed}' if followed else ''}; folders: {', '.join(folders[:20]) or 'none'}. "
        "Give the folder of one corpus at a time, or a manifest with the columns path and emotion"
    )
