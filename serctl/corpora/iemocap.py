"""IEMOCAP: labels and times in EmoEvaluation files, audio per utterance or per dialogue.

Source: Busso et al. 2008, doi:10.1007/s10579-008-9076-6.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serctl.corpora.base import Corpus, Utterance, unknown_labels
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "iemocap"
LICENCE = "research use only, under the release form of USC SAIL"
CITATION = "Busso et al. 2008, doi:10.1007/s10579-008-9076-6"

_TREES = ("dialog/EmoEvaluation", "Session*/dialog/EmoEvaluation", "*/Session*/dialog/EmoEvaluation")
_TURN = re.compile(r"^\[(\d+(?:\.\d+)?) - (\d+(?:\.\d+)?)\]\t(\S+)\t(\w+)\t", re.MULTILINE)
_NAME = re.compile(r"Ses(?P<session>\d\d)[FM]_.+_(?P<gender>[FM])[^_]*")
_TEXT = re.compile(r"^(\S+) \[[\d.]+-[\d.]+\]: *(.*)$", re.MULTILINE)
_NO_AGREEMENT = "xxx"
_LABELS = {
    "ang": "angry",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "oth": "other",
    "sad": "sad",
    "sur": "surprised",
}


@dataclass(frozen=True)
class _Turn:
    name: str
    label: str
    start_s: float
    end_s: float
    evaluation: Path

    @property
    def session(self) -> Path:
        return self.evaluation.parents[2]


def evaluation_files(root: Path) -> list[Path]:
    """List the EmoEvaluation files of an IEMOCAP tree (the release, or one session of it); empty if root is none."""
    return sorted(file for tree in _TREES for file in root.glob(f"{tree}/*.txt"))


def load(root: Path) -> Corpus:
    """Read an IEMOCAP tree; an utterance is its own recording, or else the part of its dialogue's recording.

    Args:
        root: the release, or one session of it.

    Returns:
        The corpus; turns without an agreed label (xxx), with an unknown one or without audio become problems.

    Raises:
        CorpusError: an evaluation file cannot be read.
    """
    turns = [turn for file in evaluation_files(root) for turn in _turns(file)]
    labelled = [turn for turn in turns if turn.label in _LABELS]
    unknown = Counter(turn.label for turn in turns if turn.label not in (*_LABELS, _NO_AGREEMENT))
    texts = _transcriptions(turns)
    utterances = []
    problems = [unknown_labels(str(root), unknown)] if unknown else []
    for turn in labelled:
        utterance = _utterance(turn, texts.get(turn.name))
        if utterance is None:
            problems.append(f"{turn.evaluation}: no audio for turn {turn.name}, per utterance or per dialogue")
        else:
            utterances.append(utterance)
    disputed = sum(turn.label == _NO_AGREEMENT for turn in turns)
    if disputed:
        problems.append(f"{disputed} turns have no agreed label ({_NO_AGREEMENT}) and are left out")
    return Corpus(
        name=NAME,
        utterances=tuple(utterances),
        problems=tuple(problems),
        licence=LICENCE,
        citation=CITATION,
        root=root,
    )


def _turns(file: Path) -> Iterator[_Turn]:
    for start, end, name, label in _TURN.findall(_read(file)):
        yield _Turn(name, label, float(start), float(end), file)


def _utterance(turn: _Turn, text: str | None) -> Utterance | None:
    dialogue = turn.evaluation.stem
    alone = turn.session / "sentences" / "wav" / dialogue / f"{turn.name}.wav"
    whole = turn.session / "dialog" / "wav" / f"{dialogue}.wav"
    codes = _NAME.fullmatch(turn.name)
    if codes is None or not (alone.is_file() or whole.is_file()):
        return None
    is_alone = alone.is_file()
    return Utterance(
        path=alone if is_alone else whole,
        emotion=_LABELS[turn.label],
        corpus=NAME,
        # The letter after the session tells who wore the motion capture markers, the last one who speaks.
        speaker=codes["session"] + codes["gender"],
        gender={"F": "female", "M": "male"}[codes["gender"]],
        language="en",
        text=text,
        start_s=0.0 if is_alone else turn.start_s,
        end_s=None if is_alone else turn.end_s,
    )


def _transcriptions(turns: list[_Turn]) -> dict[str, str]:
    dialogues = Counter(turn.session / "dialog" / "transcriptions" / turn.evaluation.name for turn in turns)
    return {name: text for file in dialogues if file.is_file() for name, text in _TEXT.findall(_read(file))}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read: {error.strerror}") from error
