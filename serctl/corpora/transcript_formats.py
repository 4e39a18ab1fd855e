"""Read what speech recognisers write: JSON of whisper, whisperX and whisper.cpp, SRT, VTT, CSV, TSV, plain text."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from serctl.corpora.rows import OVERFLOW, read_rows, read_text
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SUFFIXES = (".json", ".srt", ".vtt", ".tsv", ".csv", ".txt")
"""The formats, the one that says most about times first."""

_CUE = re.compile(r"((?:\d+:)?\d?\d:\d\d(?:[.,]\d+)?)[ \t]*-->[ \t]*((?:\d+:)?\d?\d:\d\d(?:[.,]\d+)?).*")
_MARKUP = re.compile(r"<[^<>]*>")
_PAGE = re.compile(r"\s*<(!doctype|html)\b", re.IGNORECASE)
_CELLS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "transcript", "transcription", "word", "words", "sentence"),
    "start": ("start", "start_s", "start_time", "begin", "from"),
    "end": ("end", "end_s", "end_time", "stop", "to"),
}
_FEWEST_WORDS_PER_S = 0.05
_MS = 1000


@dataclass(frozen=True)
class Word:
    """A word and when it is said, in seconds; NaN where the transcript does not say."""

    text: str
    start_s: float = math.nan
    end_s: float = math.nan


@dataclass(frozen=True)
class Transcript:
    """The words of a recording.

    Attributes:
        words: in the order of the transcript.
        language: ISO 639-1 code, where the transcript says it.
    """

    words: tuple[Word, ...] = ()
    language: str | None = None

    @property
    def timed(self) -> bool:
        """Whether every word has its time."""
        return not any(math.isnan(word.start_s) for word in self.words)

    def between(self, start_s: float, end_s: float) -> str:
        """Return the words whose middle lies from start_s to before end_s."""
        return " ".join(word.text for word in self.words if start_s <= (word.start_s + word.end_s) / 2 < end_s)

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(word.text for word in self.words)


def read_transcript(path: Path) -> Transcript:
    """Read a transcript in the format that its suffix says.

    Args:
        path: named *.json, *.srt, *.vtt, *.tsv, *.csv or *.txt; text in UTF-8, or UTF-16 with a byte order mark.

    Returns:
        The words. Where a sentence has times and its words have none, they are spread evenly over it.

    Raises:
        CorpusError: the file cannot be read, is damaged, a web page, or in another format or encoding, or a time is
            none.
    """
    readers = {".json": _from_json, ".srt": _from_cues, ".vtt": _from_cues, ".txt": _from_text}
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path}: expected a transcript ({', '.join(SUFFIXES)})")
    text = _checked(path, read_text(path))
    return readers[suffix](path, text) if suffix in readers else _from_table(path)


def words_of_text(text: str, start_s: float = math.nan, end_s: float = math.nan) -> tuple[Word, ...]:
    """Split a sentence into words, without markup; its time is spread evenly over them."""
    texts = html.unescape(_MARKUP.sub(" ", text)).split()
    step = (end_s - start_s) / max(len(texts), 1)
    return tuple(Word(each, start_s + place * step, start_s + (place + 1) * step) for place, each in enumerate(texts))


def _checked(path: Path, text: str) -> str:
    if _PAGE.match(text):
        raise CorpusError(f"{path}: is a web page, expected a transcript")
    byte = next((ord(mark) - 0xDC00 for mark in text if "\udc80" <= mark <= "\udcff"), None)
    if byte is not None:
        raise CorpusError(f"{path}: holds the byte 0x{byte:02x}, which is not UTF-8: save the file in UTF-8")
    return text


def _from_text(path: Path, text: str) -> Transcript:  # noqa: ARG001 - every reader is called alike
    return Transcript(words_of_text(text))


def _from_json(path: Path, text: str) -> Transcript:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: is not whole JSON: {error}") from error
    facts = found if isinstance(found, dict) else {"segments": found}
    segments = facts.get("segments", facts.get("transcription"))
    language = facts.get("language") or (facts.get("result") or {}).get("language")
    if isinstance(segments, list):
        words = tuple(word for segment in segments for word in _of_segment(path, segment))
    elif isinstance(facts.get("text"), str):
        words = words_of_text(facts["text"])
    else:
        raise CorpusError(f"{path}: expected segments with text, as whisper and whisperX write them")
    return Transcript(words, language if isinstance(language, str) else None)


def _of_segment(path: Path, segment: Any) -> tuple[Word, ...]:
    if not isinstance(segment, dict):
        raise CorpusError(f"{path}: expected each segment to be an object. Received: {str(segment)[:40]}")
    offsets = segment.get("offsets")
    if isinstance(offsets, dict):
        start, end = (seconds(path, offsets.get(side)) / _MS for side in ("from", "to"))
    else:
        start, end = (seconds(path, segment.get(side)) for side in ("start", "end"))
    _check_span(path, start, end)
    words = segment.get("words")
    if isinstance(words, list) and words:
        return _placed(path, words, start, end)
    return words_of_text(str(segment.get("text") or ""), start, end)


def _placed(path: Path, words: list[Any], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Words with times of their own; one without (whisperX has none for digits) stands where it would be if even."""
    texts = [str(word.get("word", word.get("text", ""))) if isinstance(word, dict) else str(word) for word in words]
    even = words_of_text(" ".join("".join(text.split()) or "-" for text in texts), start_s, end_s)
    placed: list[Word] = []
    for word, text, place in zip(words, texts, even, strict=True):
        start, end = (
            seconds(path, word.get(side)) if isinstance(word, dict) else math.nan for side in ("start", "end")
        )
        known = math.isfinite(start) and math.isfinite(end)
        placed += words_of_text(text, *((start, end) if known else (place.start_s, place.end_s)))
    return tuple(placed)


def _from_cues(path: Path, text: str) -> Transcript:
    """SRT and VTT: blocks of a line of times and lines of text; what stands in other blocks is left out."""
    lines = text.splitlines()
    cues = [(place, cue) for place, line in enumerate(lines) if (cue := _CUE.fullmatch(line.strip()))]
    if not cues and text.strip() and text.strip() != "WEBVTT":
        raise CorpusError(f"{path}: expected lines such as 00:00:01,000 --> 00:00:02,500; found none")
    words: list[Word] = []
    for (place, cue), (following, _) in pairwise([*cues, (len(lines), None)]):
        start, end = map(_clock, cue.groups())  # type: ignore[union-attr]
        _check_span(path, start, end)
        words += words_of_text(" ".join(_until_blank(lines[place + 1 : following])), start, end)
    return Transcript(tuple(words))


def _until_blank(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip():
            return
        yield line


def _clock(text: str) -> float:
    """Seconds of 01:02:03,500 or 02:03.500."""
    parts = [float(part) for part in text.replace(",", ".").split(":")]
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def _from_table(path: Path) -> Transcript:
    rows = read_rows(path)
    names = {meaning: _column(rows[0], meaning) for meaning in _CELLS} if rows else {}
    if rows and names["text"] is None:
        raise CorpusError(f"{path}: expected a column text; has {', '.join(sorted(set(rows[0]) - {OVERFLOW}))}")
    spans = [tuple(seconds(path, _cell(row, names[side])) for side in ("start", "end")) for row in rows]
    texts = [_cell(row, names["text"]) for row in rows]
    unit = _MS if _in_ms(spans, texts) else 1
    words: list[Word] = []
    for (start, end), text in zip(spans, texts, strict=True):
        _check_span(path, start, end)
        words += words_of_text(text, start / unit, end / unit)
    return Transcript(tuple(words))


def _column(row: Mapping[str, str], meaning: str) -> str | None:
    return next((name for name in _CELLS[meaning] if name in row), None)


def _cell(row: Mapping[str, str], name: str | None) -> str:
    return row.get(name, "") if name else ""


def _in_ms(spans: list[tuple[float, ...]], texts: list[str]) -> bool:
    """Whether times are in milliseconds, as whisper writes them in TSV: nobody speaks so few words a second."""
    numbers = [number for span in spans for number in span if math.isfinite(number)]
    spoken = sum(len(text.split()) for text in texts)
    whole = all(number.is_integer() for number in numbers)
    return bool(numbers) and whole and spoken < max(numbers) * _FEWEST_WORDS_PER_S


def seconds(path: Path, value: Any) -> float:
    """Read a time.

    Args:
        path: of the transcript, for messages.
        value: a number, or a number as text.

    Returns:
        The time in seconds; NaN where there is none.

    Raises:
        CorpusError: it is negative, infinite, or no number.
    """
    if value is None or value == "":
        return math.nan
    try:
        number = float(str(value).replace(",", "."))
    except ValueError:
        number = math.inf
    if math.isinf(number) or number < 0:
        raise CorpusError(f"{path}: expected times in seconds from 0 up. Received: {str(value)[:40]}")
    return number


def _check_span(path: Path, start_s: float, end_s: float) -> None:
    if end_s < start_s:
        raise CorpusError(f"{path}: a stretch ends at {end_s:g}, before its start at {start_s:g}")
