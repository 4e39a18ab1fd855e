"""Emotions as labels over time, in the formats of subtitle players and of audio and phonetics programs.

SubRip (SRT), WebVTT (https://www.w3.org/TR/webvtt1/), Audacity label tracks, Praat TextGrid
(https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html), and RTTM (NIST Rich Transcription 2009, as
pyannote reads it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

from serctl.reports.schema import NO_SPEECH, Table, row_count, utf8, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True)
class Label:
    """An emotion from one time to another, in seconds; confidence is None where there is none."""

    start: float
    end: float
    emotion: str
    confidence: float | None
    channel: int

    @property
    def text(self) -> str:
        """The emotion with its confidence, in one line."""
        return self.emotion if self.confidence is None else f"{self.emotion} {100 * self.confidence:.0f} %"


@dataclass(frozen=True)
class Track:
    """The labels of a recording, those of silence left out.

    Attributes:
        name: of the recording, without its folder.
        duration: in seconds.
        labels: in order of channel and time.
        several: whether the channels have labels of their own.
    """

    name: str
    duration: float
    labels: tuple[Label, ...]
    several: bool


def track_of(table: Table) -> Track:
    """Return the labels of the table of a recording, as predict makes it."""
    rows = row_count(table)
    names = ("start", "end", "emotion", "confidence", "channel")
    found = zip(*(values_of(name, table, rows) for name in names), strict=True)
    labels = tuple(
        Label(start, end, _plain(emotion), None if confidence != confidence else confidence, channel or 1)
        for start, end, emotion, confidence, channel in found
        if emotion != NO_SPEECH
    )
    duration = max(float(table["duration"]), *(label.end for label in labels), 0.0)
    return Track(PurePath(str(table["path"])).name, duration, labels, table.get("channel") is not None)


def _plain(text: str) -> str:
    """The text without line breaks and other control characters."""
    return re.sub(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+", " ", utf8(text))


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(1000 * seconds)
    whole = milliseconds // 1000
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{mark}{milliseconds % 1000:03d}"


def _by_time(track: Track) -> Iterator[tuple[Label, str]]:
    """The labels of all channels in order of time, each with its text."""
    for label in sorted(track.labels, key=lambda each: (each.start, each.channel)):
        yield label, f"{label.channel}: {label.text}" if track.several else label.text


def srt(track: Track) -> str:
    """Return the labels as SubRip subtitles."""
    cues = (
        f"{number}\n{_clock(label.start, ',')} --> {_clock(label.end, ',')}\n{text}\n"
        for number, (label, text) in enumerate(_by_time(track), start=1)
    )
    return "\n".join(cues)


def vtt(track: Track) -> str:
    """Return the labels as WebVTT subtitles."""
    cues = (
        f"\n{_clock(label.start, '.')} --> {_clock(label.end, '.')}\n{escape(text, quote=False)}\n"
        for label, text in _by_time(track)
    )
    return "WEBVTT\n" + "".join(cues)


def audacity(track: Track) -> str:
    """Return the labels as a label track of Audacity."""
    return "".join(f"{label.start:.6f}\t{label.end:.6f}\t{text}\n" for label, text in _by_time(track))


def textgrid(track: Track) -> str:
    """Return the labels as a TextGrid, one tier for each channel; where labels overlap, the earlier one ends."""
    channels = sorted({label.channel for label in track.labels} or {1})
    end = _seconds(track.duration)
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}", "tiers? <exists>"]
    lines = [*head, f"size = {len(channels)}", "item []:"]
    for number, channel in enumerate(channels, start=1):
        intervals = _intervals([label for label in track.labels if label.channel == channel], track.duration)
        name = f"channel {channel}" if track.several else "emotion"
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for index, (start, stop, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {_seconds(start)}"]
            quoted = text.replace('"', '""')
            lines += [f"            xmax = {_seconds(stop)}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _intervals(labels: Sequence[Label], duration: float) -> list[tuple[float, float, str]]:
    """Consecutive intervals from 0 to the duration, empty ones where there is no label."""
    found = []
    at = 0.0
    starts = [*(label.start for label in labels[1:]), duration]
    for label, following in zip(labels, starts, strict=bool(labels)) if labels else ():
        if label.start > at:
            found.append((at, label.start, ""))
        at = min(label.end, following)
        found.append((label.start, at, label.text))
    return [*found, (at, duration, "")] if at < duration else found


def rttm(track: Track) -> str:
    """Return the labels as RTTM, in which the emotion takes the place of the speaker."""
    name = _word(PurePath(track.name).stem)
    lines = []
    for label in track.labels:
        place = f"{label.channel} {label.start:.3f} {label.end - label.start:.3f}"
        confidence = "<NA>" if label.confidence is None else f"{label.confidence:.4f}"
        lines.append(f"SPEAKER {name} {place} <NA> <NA> {_word(label.emotion)} {confidence} <NA>\n")
    return "".join(lines)


def _word(text: str) -> str:
    """The text as one field of RTTM, which spaces separate."""
    return re.sub(r"\s+", "_", _plain(text)) or "_"


@dataclass(frozen=True)
class LabelFormat:
    """A format of labels: the suffix of its files, and the text of a recording's. joined: whether a file holds many."""

    suffix: str
    write: Callable[[Track], str]
    joined: bool = False


LABEL_FORMATS = {
    "srt": LabelFormat(".srt", srt),
    "vtt": LabelFormat(".vtt", vtt),
    "audacity": LabelFormat(".txt", audacity),
    "textgrid": LabelFormat(".TextGrid", textgrid),
    "rttm": LabelFormat(".rttm", rttm, joined=True),
}


def label_format(path: PurePath) -> LabelFormat | None:
    """Return the format of labels that the suffix of a file stands for; None if it is none."""
    return next((each for each in LABEL_FORMATS.values() if each.suffix.lower() == path.suffix.lower()), None)
