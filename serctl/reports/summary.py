"""What a page shows of a report: its recordings with their segments, totals, and shares of emotions over time."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serctl.reports.schema import NO_SPEECH, UNCERTAIN, utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from serctl.reports.ranges import Ranges

    Row = Mapping[str, Any]

WARNINGS = {
    "clipping": ("clipped", "over 1 % of the samples are at full scale, so the voice is distorted"),
    "snr_db": ("noisy", "speech is less than 10 dB above the noise"),
    "bandwidth_hz": ("narrow band", "nothing above 4.5 kHz, as on a telephone: expect more errors"),
    "silence": ("mostly silent", "over 80 % of it is silence"),
    "novelty": ("unlike training", "unlike the recordings that the model was trained on: expect more errors"),
}
"""Short and long text of each warning, by the column that it is about."""

_EXCEEDED: dict[str, Callable[[float], bool]] = {
    "clipping": lambda value: value > 0.01,
    "snr_db": lambda value: value < 10,
    "bandwidth_hz": lambda value: value < 4_500,
    "silence": lambda value: value > 0.8,
    "novelty": lambda value: value > 0.95,
}

FACTS = {
    "path": "File",
    "duration": "Length",
    "snr_db": "Signal to noise",
    "clipping": "Clipped",
    "silence": "Silence",
    "bandwidth_hz": "Bandwidth",
    "novelty": "Novelty",
    "notes": "Notes",
}
"""What is told of each recording, by its column."""

_FORMATS: dict[str, Callable[[Any], str]] = {
    "path": str,
    "duration": lambda value: f"{value:.1f} s",
    "snr_db": lambda value: f"{value:.0f} dB",
    "clipping": lambda value: f"{100 * value:.2f} %",
    "silence": lambda value: f"{100 * value:.0f} %",
    "bandwidth_hz": lambda value: f"{value / 1000:.1f} kHz",
    "novelty": lambda value: f"{value:.2f}",
    "notes": str,
}

MOST_BARS = 24
_TIME_OF_DAY = re.compile(r"(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d[-_T. ]{0,3}([01]\d|2[0-3])[-_.:h]?[0-5]\d")


@dataclass(frozen=True)
class Shown:
    """A recording, or a channel of it, on the page.

    emotion: index of its emotion in Summary.emotions, None if it failed. segments: start, end, emotion and confidence
    of each. In a report of numbers, emotions are ranges and a confidence is the number. warnings: indices of WARNINGS.
    facts: pairs of an index of FACTS and a text. Times are in seconds.
    """

    path: str
    name: str
    channel: int | None
    error: str | None
    duration: float | None
    emotion: int | None
    confidence: float | None
    segments: tuple[tuple[float, float, int, float | None], ...]
    warnings: tuple[int, ...]
    facts: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Summary:
    """A report as a page shows it.

    title: of the page. entries: what the rows of its list are. shares: of the time with speech, by emotion. course: the
    same for consecutive parts, each with its mark. unchecked: the warnings, by their column, of which the report holds
    no value, so that nobody can tell whether a recording has them.
    """

    recordings: list[Shown]
    title: str
    entries: str
    emotions: list[str]
    totals: list[tuple[str, str]]
    shares: dict[str, float]
    course: list[tuple[str, dict[str, float]]]
    course_title: str
    course_unit: str
    unchecked: list[str]


def summarise(rows: Iterable[Row], ranges: Ranges | None = None) -> Summary:
    """Collect what the page shows.

    Args:
        rows: of a report, as read_report returns them.
        ranges: of the number that stands for emotions; None for a report of emotions.

    Returns:
        The summary.
    """
    rows = ranges.rows(rows) if ranges else rows
    groups = [list(group) for _, group in itertools.groupby(rows, key=lambda row: (row["path"], row.get("channel")))]
    several = Counter(str(group[0]["path"]) for group in groups)
    what = ranges.name.capitalize() if ranges else "Emotions"
    emotions = _emotions(groups, ranges.names if ranges else ())
    index = {emotion: number for number, emotion in enumerate(emotions)}
    folder = _common_folder(set(several))
    recordings = [
        _shown(group, index, len(folder), ranges, apart=several[str(group[0]["path"])] > 1) for group in groups
    ]
    course_title, unit, course = _course(recordings, emotions, what)
    unchecked = _unchecked(recordings)
    return Summary(
        recordings,
        f"{what} in {len(several):,} recording{'' if len(several) == 1 else 's'}",
        "recordings" if len(several) == len(groups) else "channels",
        emotions,
        _totals(recordings, unchecked),
        _shares(recordings, emotions),
        course,
        course_title,
        unit,
        unchecked,
    )


def _emotions(groups: Sequence[Sequence[Row]], ranges: Sequence[str]) -> list[str]:
    """The labels of the model in its order, or ranges; others that occur, and what stands for none of them."""
    first = groups[0][0] if groups else {}
    labels = ranges or [name[2:] for name in first if name.startswith("p_")]
    found = dict.fromkeys(str(row["emotion"]) for group in groups for row in group if row.get("emotion"))
    special = [each for each in (UNCERTAIN, NO_SPEECH) if each in found]
    return [*dict.fromkeys([*labels, *(each for each in found if each not in special)]), *special]


def _shown(rows: Sequence[Row], index: Mapping[str, int], folder: int, ranges: Ranges | None, *, apart: bool) -> Shown:
    """A recording, or one of its channels where they are apart, its name without the folder of all."""
    first = rows[0]
    failed = first.get("status") == "error"
    emotion, confidence = (None, None) if failed else _whole(rows, ranges)
    duration = _number(first.get("duration"))
    values = _mean_facts(rows)
    return Shown(
        path=str(first["path"]),
        name=utf8(str(first["path"])[folder:]),
        channel=first.get("channel") if apart else None,
        error=str(first.get("error") or "failed") if failed else None,
        duration=duration if duration is not None or failed else _number(rows[-1].get("end")),
        emotion=None if emotion is None else index[emotion],
        confidence=confidence,
        segments=() if failed else tuple(_segment(row, index) for row in rows),
        warnings=tuple(
            number for number, name in enumerate(WARNINGS) if name in values and _EXCEEDED[name](values[name])
        ),
        facts=tuple(
            (number, utf8(_FORMATS[name](values[name]))) for number, name in enumerate(FACTS) if name in values
        ),
    )


def _segment(row: Row, index: Mapping[str, int]) -> tuple[float, float, int, float | None]:
    confidence = _number(row.get("confidence"))
    rounded = None if confidence is None else round(confidence, 3)
    return round(float(row["start"]), 2), round(float(row["end"]), 2), index[str(row["emotion"])], rounded


def _whole(rows: Sequence[Row], ranges: Ranges | None) -> tuple[str, float | None]:
    """The emotion of all rows of a recording together: of the mean of their probabilities, by their length.

    Of numbers, the mean and its range.
    """
    if len(rows) == 1:
        return str(rows[0]["emotion"]), _number(rows[0].get("confidence"))
    labels = [name for name in rows[0] if name.startswith("p_")]
    spoken = [row for row in rows if row["emotion"] != NO_SPEECH]
    if not spoken:
        return NO_SPEECH, None
    lengths = [row["end"] - row["start"] for row in spoken]
    if ranges:
        number = _mean([row["confidence"] for row in spoken], lengths)
        return ranges.range_of(number), round(number, 3)
    means = {name[2:]: _mean([row[name] for row in spoken], lengths) for name in labels}
    if not means:
        return str(max(spoken, key=lambda row: row["end"] - row["start"])["emotion"]), None
    best = max(means, key=lambda label: means[label])
    return best, round(means[best], 3)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _mean_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """Facts of a recording: a text or a number of the whole as it is, numbers of its stretches by their mean."""
    found: dict[str, Any] = {}
    for name in FACTS:
        values = [row[name] for row in rows if row.get(name) is not None and row[name] == row[name]]
        if values:
            numeric = isinstance(values[0], int | float)
            found[name] = sum(values) / len(values) if numeric else values[0]
    return found


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def _unchecked(recordings: Sequence[Shown]) -> list[str]:
    """The warnings, by their column, that no recording with a result has a value of."""
    results = [each for each in recordings if not each.error]
    told = {list(FACTS)[number] for each in results for number, _ in each.facts}
    return [name for name in WARNINGS if name not in told] if results else []


def _totals(recordings: Sequence[Shown], unchecked: Sequence[str]) -> list[tuple[str, str]]:
    whole = list({each.path: each for each in recordings}.values())
    failed = sum(each.error is not None for each in whole)
    hours = sum(each.duration or 0 for each in whole if not each.error) / 3600
    length = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
    warned = f"{len({each.path for each in recordings if each.warnings}):,}"
    return [
        ("With a result", f"{len(whole) - failed:,}"),
        ("Failed", f"{failed:,}"),
        *([(_warned(unchecked), warned)] if len(unchecked) < len(WARNINGS) else []),
        ("Length", length),
    ]


def _warned(unchecked: Sequence[str]) -> str:
    """What the number of recordings with a warning is called: by the warnings checked, unless all are."""
    *others, last = (short for name, (short, _) in WARNINGS.items() if name not in unchecked)
    named = f"{', '.join(others)} or {last}" if others else last
    return named.capitalize() if unchecked else "With a warning"


def _shares(recordings: Iterable[Shown], emotions: Sequence[str]) -> dict[str, float]:
    """Return the share of each emotion in the time with speech; empty without any speech."""
    seconds = dict.fromkeys(range(len(emotions)), 0.0)
    for each in recordings:
        for start, end, emotion, _ in each.segments:
            seconds[emotion] += end - start
    spoken = {emotion: seconds[number] for number, emotion in enumerate(emotions) if emotion != NO_SPEECH}
    total = sum(spoken.values())
    return {emotion: each / total for emotion, each in spoken.items()} if total else {}


def _course(
    recordings: Sequence[Shown], emotions: Sequence[str], what: str
) -> tuple[str, str, list[tuple[str, dict[str, float]]]]:
    """Shares by the hour of the day where the names of nearly all recordings tell it, else in their order."""
    hours = [match and int(match[1]) for match in (_TIME_OF_DAY.search(each.name) for each in recordings)]
    if recordings and sum(hour is not None for hour in hours) >= 0.9 * len(hours):
        parts = [
            (f"{hour:02d}", [r for r, h in zip(recordings, hours, strict=True) if h == hour]) for hour in range(24)
        ]
        title, unit = f"{what} over the day", "Hour"
    else:
        size = max(math.ceil(len(recordings) / MOST_BARS), 1)
        starts = range(0, len(recordings), size)
        parts = [(str(start + 1), list(recordings[start : start + size])) for start in starts]
        title, unit = f"{what} in the order of the recordings", "From recording"
    return title, unit, [(mark, _shares(part, emotions)) for mark, part in parts]


def _common_folder(paths: set[str]) -> str:
    """The folder that all paths have in common, with its separator; empty if there is none."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - tens of thousands of them
    try:
        folder = os.path.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative ones
        return ""
    return folder.rstrip(os.sep) + os.sep if folder else ""
