"""Predict from speech and its transcript: find the words of each row, and mix both.

A run without transcripts does not load what reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError, CorpusError, Remedy
from serctl.features import token_states
from serctl.reports.schema import Column
from serctl.runtime.words import can_read, fuse, has_words, in_conflict, read_words, text_weight
from serctl.verbs.moments import Mixed, Prediction, shown_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from serctl.cache import Cache
    from serctl.corpora.transcript_formats import Transcript
    from serctl.features import Window

USED, MISSING, IGNORED = "used", "missing", "ignored"
"""What the column text says of a row."""

_LATE_S = 1.0

_MOST_WORDS_PER_S = 10
"""More than anyone says for long."""


@dataclass(frozen=True)
class Transcribed:
    """Where the transcripts of a run are; digest: of all of them."""

    path: Path
    digest: str


@dataclass(frozen=True)
class _Words:
    """What is known of the words of a row."""

    status: str
    text: str = ""


def check_readable(labels: Sequence[str]) -> None:
    """Check that the text expert knows enough of the emotions of a model.

    Raises:
        ConfigError: it does not, or the model answers numbers.
    """
    if not can_read(labels):
        listed = ", ".join(labels) or "none"
        raise ConfigError(f"words tell none of the emotions of this model ({listed})", Remedy.NO_TRANSCRIPTS)


def find_transcripts(path: str | None, labels: Sequence[str]) -> Transcribed | None:
    """Look for the transcripts of a run, for a model of speech.

    Args:
        path: of the folder or file; None for a run without.
        labels: those of the model.

    Raises:
        ConfigError: there are none, or the model knows too few of the emotions of the text expert.
    """
    if path is None:
        return None
    check_readable(labels)
    return open_transcribed(path)


def open_transcribed(path: str) -> Transcribed:
    """Look for transcripts.

    Args:
        path: of the folder or file.

    Raises:
        ConfigError: there are none.
    """
    from serctl.corpora.transcripts import digest_of_transcripts, open_transcripts

    open_transcripts(Path(path))
    return Transcribed(Path(path), digest_of_transcripts(Path(path)))


def text_columns(labels: Sequence[str], *, explain: bool) -> list[Column]:
    """The columns that add_words fills; explain: what each of both predicts alone, too."""
    apart = [Column(f"p_{of}_{label}", decimals=4) for of in ("speech", "text") for label in labels]
    return [
        Column("text", "text"),
        Column("conflict", "text"),
        *([Column("text_weight", decimals=4), *apart] if explain else []),
    ]


def add_words(
    predictions: Sequence[Prediction],
    recording: Path,
    *,
    channel: int | None,
    transcripts: Transcribed,
    labels: Sequence[str],
    snr_db: float,
    language: str | None,
) -> Mixed:
    """Mix the predictions from speech of a recording with those from its words.

    Args:
        predictions: one for each row, in order of time.
        recording: its file.
        channel: the one that the rows are of; None for all of them.
        transcripts: where the words are.
        labels: those of the model.
        snr_db: of the recording; NaN where it is not known.
        language: code of the language spoken; None if it is not known.
    """
    from serctl.corpora.transcripts import opened

    try:
        transcript = opened(transcripts.path, transcripts.digest).of(recording, channel)
        words = _words_of_rows(predictions, transcript, language)
        note = ""
    except CorpusError as error:
        words, note = [_Words(IGNORED)] * len(predictions), f"transcript ignored: {error}"
    # A row without words lacks the columns of words.
    mixed, rows = zip(
        *(_mix(row, each, labels, snr_db) for row, each in zip(predictions, words, strict=True)), strict=True
    )
    return Mixed(mixed, {name: [row.get(name) for row in rows] for name in sorted({*rows[0]}.union(*rows))}, note)


class WindowWords:
    """The words of a recording, for a network that takes them window by window.

    A transcript with times gives each window what is said in it, one without gives all of it to each.

    Args:
        recording: its file.
        channel: the one that the windows are of; None for all of them.
        transcripts: where the words are.
        language: code of the language spoken; None if it is not known.
        cache: of the features.
    """

    def __init__(
        self, recording: Path, channel: int | None, transcripts: Transcribed, language: str | None, cache: Cache | None
    ) -> None:
        from serctl.corpora.transcripts import opened

        self._cache = cache
        self._note = ""
        self._transcript: Transcript | None = None
        try:
            found = opened(transcripts.path, transcripts.digest).of(recording, channel)
            self._transcript = found if _is_spoken(found, language) else None
        except CorpusError as error:
            self._note = f"transcript ignored: {error}"

    def attach(self, windows: Iterable[Window]) -> Iterator[Window]:
        """Give each window its words."""
        for window in windows:
            text = self._text(window.start_s, window.end_s)
            tokens = token_states(text, self._cache) if has_words(text) else None
            yield replace(window, features=replace(window.features, tokens=tokens))

    def of_rows(self, rows: Sequence[Prediction]) -> Mixed:
        """Say of each row what became of its words, once its windows are predicted."""
        return Mixed(rows, {"text": [self._status(row) for row in rows]}, self._note)

    def _status(self, row: Prediction) -> str:
        if self._note:
            return IGNORED
        if not has_words(self._text(row.start_s, row.end_s)):
            return MISSING
        return USED if row.speech_frames else IGNORED

    def _text(self, start_s: float, end_s: float) -> str:
        if self._transcript is None:
            return ""
        return self._transcript.between(start_s, end_s) if self._transcript.timed else self._transcript.text


def _is_spoken(transcript: Transcript | None, language: str | None) -> bool:
    """Whether there are words; raises CorpusError if they are not English."""
    if transcript is None or not has_words(transcript.text):
        return False
    from serctl.encoders.english import is_english

    if not is_english(transcript.text, language or transcript.language):
        raise CorpusError("it is not English")
    return True


def _words_of_rows(rows: Sequence[Prediction], transcript: Transcript | None, language: str | None) -> list[_Words]:
    if transcript is None or not _is_spoken(transcript, language):
        return [_Words(MISSING)] * len(rows)
    if len(rows) == 1:
        _check_times(transcript, rows[0].end_s)
        return [_row_words(rows[0], transcript.text)]
    if not transcript.timed:
        raise CorpusError("it has no times, which windows need")
    _check_times(transcript, rows[-1].end_s)
    ends = [*(row.end_s for row in rows[:-1]), math.inf]
    return [_row_words(row, transcript.between(row.start_s, end)) for row, end in zip(rows, ends, strict=True)]


def _row_words(row: Prediction, text: str) -> _Words:
    # Recognisers are known to write words where nobody speaks.
    if not row.speech_frames:
        return _Words(IGNORED)
    return _Words(USED, text) if has_words(text) else _Words(MISSING)


def _check_times(transcript: Transcript, end_s: float) -> None:
    """Raise CorpusError where most words are said after the end, or no one could say as many: it is of another one."""
    if len(transcript.words) > _MOST_WORDS_PER_S * (end_s + _LATE_S):
        raise CorpusError(
            f"it has {len(transcript.words):,} words, and the recording lasts {end_s:.1f} s: it is of another one"
        )
    late = sum(word.start_s > end_s + _LATE_S for word in transcript.words)
    if late > len(transcript.words) / 2:
        last = transcript.words[-1].end_s
        raise CorpusError(f"it goes on to {last:.1f} s, but the recording ends at {end_s:.1f} s: it is of another one")


def _mix(row: Prediction, words: _Words, labels: Sequence[str], snr_db: float) -> tuple[Prediction, dict[str, Any]]:
    """The prediction from both, and the columns of its row."""
    speech = shown_probabilities(row)
    if words.status != USED:
        return row, {"text": words.status, "conflict": None, "text_weight": 0.0} | _apart("speech", labels, speech)
    opinion = read_words(words.text, labels)
    weight = text_weight(speech, opinion, labels, snr_db)
    conflict = "yes" if in_conflict(speech, opinion.probabilities, labels) else "no"
    return replace(row, probabilities=fuse(speech, opinion, weight, labels)), {
        "text": USED,
        "conflict": conflict,
        "text_weight": weight,
        **_apart("speech", labels, speech),
        **_apart("text", labels, opinion.probabilities),
    }


def _apart(of: str, labels: Sequence[str], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    return {f"p_{of}_{label}": value for label, value in zip(labels, probabilities.tolist(), strict=True)}
