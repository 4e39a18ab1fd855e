from __future__ import annotations

import math
from typing import Any

import pytest

from serctl.reports.ranges import Ranges, find_ranges
from serctl.reports.summary import summarise

RANGES = Ranges("sentiment", -3, 3)


def row(path: str, start: float, value: float | None, **more: Any) -> dict[str, Any]:
    facts = {"path": path, "start": start, "end": start + 2, "sentiment": value, "status": "ok", "error": None}
    return facts | {"duration": 4.0} | more


ROWS = [
    *(row("a.wav", 0, -3.0), row("a.wav", 2, 2.0, end=8.0)),
    *(row("b.wav", 0, math.nan), row("b.wav", 2, 0.1)),
    row("c.wav", 0, math.nan),
    {**row("d.wav", 0, None), "start": None, "end": None, "status": "error", "error": "empty"},
]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (-3.0, "-3.00 to -1.80"),
        (-1.81, "-3.00 to -1.80"),
        (-1.79, "-1.80 to -0.60"),
        (0.0, "-0.60 to 0.60"),
        (3.0, "1.80 to 3.00"),
        (-9.0, "-3.00 to -1.80"),
        (9.0, "1.80 to 3.00"),
        (math.nan, "no-speech"),
        (None, "no-speech"),
    ],
)
def test_a_number_lies_in_a_range(value: float | None, name: str) -> None:
    assert RANGES.range_of(value) == name


@pytest.mark.parametrize("width", [0.013, 0.5, 1, 1.7, 4, 9.99, 100, 12_345])
def test_no_two_ranges_are_called_the_same_and_no_number_seems_outside(width: float) -> None:
    ranges = Ranges("x", 0.1, 0.1 + width)
    assert len(set(ranges.names)) == 5
    for step in range(101):
        value = 0.1 + width * step / 100
        low, high = map(float, ranges.range_of(value).split(" to "))
        assert low - width / 50 <= value <= high + width / 50


def test_numbers_are_summarised_by_the_time_in_each_range() -> None:
    summary = summarise(ROWS, RANGES)
    assert summary.title == "Sentiment in 4 recordings"
    assert summary.emotions == [*RANGES.names, "no-speech"]
    assert [summary.shares[name] for name in RANGES.names] == pytest.approx([0.2, 0, 0.2, 0, 0.6])
    mean = (-3.0 * 2 + 2.0 * 6) / 8
    assert [(each.emotion, each.confidence) for each in summary.recordings] == [
        *((3, mean), (2, 0.1), (5, None), (None, None))
    ]
    assert summary.recordings[0].segments == ((0, 2, 0, -3.0), (2, 8, 4, 2.0))


def test_a_report_tells_its_number_by_the_column_after_the_times() -> None:
    assert find_ranges(ROWS) == Ranges("sentiment", -3, 2)
    assert find_ranges([row("a", 0, 1.0)]) == Ranges("sentiment", 1, 2)
    assert find_ranges([{**row("a", 0, 1.0), "emotion": "sad"}]) is None
    assert find_ranges([row("a", 0, "good")]) is None  # type: ignore[arg-type]
    assert find_ranges([{"path": "a", "start": 0, "end": 1}]) is None
