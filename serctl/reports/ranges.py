"""Numbers on a page: by the range that each lies in, so that they are shown as emotions are."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from serctl.reports.schema import NO_SPEECH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

RANGE_COLOURS = ("angry", "happy", "neutral", "surprised", "sad")
"""Colour of each range by its name in page.css, lowest range first: red to blue through grey."""


@dataclass(frozen=True)
class Ranges:
    """Equal ranges of a number.

    Attributes:
        name: of the number, and of its column in a report.
        low, high: ends of its scale.
    """

    name: str
    low: float
    high: float

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each range is called, lowest first."""
        count = len(RANGE_COLOURS)
        edges = [self.low + (self.high - self.low) * edge / count for edge in range(count + 1)]
        digits = max(0, 2 - math.floor(math.log10(self.high - self.low)))
        texts = [f"{edge + 0.0:.{digits}f}" for edge in edges]
        return tuple(f"{start} to {end}" for start, end in itertools.pairwise(texts))

    def range_of(self, value: float | None) -> str:
        """Return the name of the range that a number lies in; what is beyond the scale lies in the range at its end."""
        if value is None or not math.isfinite(value):
            return NO_SPEECH
        share = (value - self.low) / (self.high - self.low)
        return self.names[min(max(int(share * len(self.names)), 0), len(self.names) - 1)]

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows whose emotion is the range of their number, and whose confidence is the number."""
        for row in rows:
            failed = row.get("status") == "error"
            yield {**row, "emotion": None if failed else self.range_of(row[self.name]), "confidence": row[self.name]}


def find_ranges(rows: Sequence[Mapping[str, Any]]) -> Ranges | None:
    """Find the number that a report has instead of emotions: the column after `end`.

    Args:
        rows: of a report, as read_report returns them.

    Returns:
        Ranges from the lowest to the highest number of the report; None for a report of emotions, or of something else.
    """
    names = list(rows[0])
    if "emotion" in names or "end" not in names[:-1]:
        return None
    name = names[names.index("end") + 1]
    values = [row[name] for row in rows if row[name] is not None]
    if not all(isinstance(value, int | float) for value in values):
        return None
    finite = [float(value) for value in values if math.isfinite(value)]
    found = Ranges(name, min(finite, default=0.0), max(finite, default=1.0))
    return found if found.low < found.high else replace(found, high=found.low + 1)
