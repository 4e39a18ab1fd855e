"""Charts of an explanation as SVG that takes the colours of the page around it."""

from __future__ import annotations

import itertools
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Shown = Callable[[float], str]

WIDTH, HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 34
_LEAST_RANGE = 0.01


def bars_over_time(edges_s: Sequence[float], values: Sequence[float], *, label: str, shown: Shown) -> str:
    """Draw a bar for each part: above the line in one colour, below it in the other.

    Args:
        edges_s: bounds of the parts, one more than values.
        values: probabilities, numbers, or differences of them.
        label: what the chart shows, for screen readers.
        shown: writes a value.
    """
    top, bottom = max(0.0, *values), min(0.0, *values)
    top = max(top, bottom + _LEAST_RANGE)
    place = _Scale(edges_s[0], edges_s[-1], bottom, top)
    drawn = [
        _rect(place.x(start), place.y(max(value, 0)), place.x(end) - place.x(start), place.height(value), _sign(value))
        for (start, end), value in zip(itertools.pairwise(edges_s), values, strict=True)
    ]
    zero = f'<path class="axis" d="M{_LEFT} {place.y(0):.1f}H{WIDTH - _RIGHT}"/>'
    return _svg([*drawn, zero, *place.value_labels(shown), *place.time_labels()], label)


def heat_map(
    edges_s: Sequence[float], edges_hz: Sequence[float], values: Sequence[Sequence[float]], *, label: str
) -> str:
    """Draw a cell for each band of each part, the lowest band at the bottom; the stronger, the more opaque.

    Args:
        edges_s: bounds of the parts.
        edges_hz: bounds of the bands.
        values: one row for each band, one value for each part.
        label: what the chart shows, for screen readers.
    """
    most = max(1e-9, *(abs(value) for row in values for value in row))
    place = _Scale(edges_s[0], edges_s[-1], 0, len(values))
    cells = [
        _rect(
            place.x(start),
            place.y(band + 1),
            place.x(end) - place.x(start),
            place.height(1),
            _sign(value),
            opacity=abs(value) / most,
        )
        for band, row in enumerate(values)
        for (start, end), value in zip(itertools.pairwise(edges_s), row, strict=True)
    ]
    shown = [(band, edges_hz[band]) for band in range(0, len(edges_hz), 2)]
    labels = [_text(_LEFT - 4, place.y(band) + 4, f"{hz / 1000:.1f}k", "end") for band, hz in shown]
    return _svg([*cells, *labels, *place.time_labels()], label)


def curves(
    lines: Sequence[tuple[str, Sequence[float]]], *, bounds: tuple[float, float], label: str, shown: Shown
) -> str:
    """Draw values within bounds along equal steps; each line has the style class of its name."""
    place = _Scale(0, 1, *bounds)
    drawn = []
    for name, values in lines:
        steps = max(len(values) - 1, 1)
        points = " ".join(f"{place.x(row / steps):.1f},{place.y(value):.1f}" for row, value in enumerate(values))
        drawn.append(f'<polyline class="line {escape(name)}" points="{points}"/>')
    ends = [_text(_LEFT, HEIGHT - 12, "none", "start"), _text(WIDTH - _RIGHT, HEIGHT - 12, "all parts", "end")]
    ground = f"{place.y(bounds[0]):.1f}"
    frame = f'<path class="axis" d="M{_LEFT} {ground}H{WIDTH - _RIGHT}M{_LEFT} {ground}V{_TOP}"/>'
    return _svg([frame, *drawn, *place.value_labels(shown), *ends], label)


class _Scale:
    """Places of times and values in the picture."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        self._left, self._span = left, max(right - left, 1e-9)
        self._bottom, self._rise = bottom, max(top - bottom, 1e-9)

    def x(self, value: float) -> float:
        return _LEFT + (value - self._left) / self._span * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self._bottom) / self._rise * (HEIGHT - _TOP - _BOTTOM)

    def height(self, value: float) -> float:
        return abs(value) / self._rise * (HEIGHT - _TOP - _BOTTOM)

    def value_labels(self, shown: Shown) -> list[str]:
        """The lowest and the highest value, and zero if it lies between them."""
        top = self._bottom + self._rise
        labelled = {self._bottom, top} | ({0.0} if self._bottom < 0 < top else set())
        return [_text(_LEFT - 4, self.y(each) + 4, shown(each), "end") for each in sorted(labelled)]

    def time_labels(self) -> list[str]:
        """The start, the middle and the end, in seconds."""
        places = ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
        return [
            _text(self.x(self._left + share * self._span), HEIGHT - 12, f"{self._left + share * self._span:.1f} s", at)
            for share, at in places
        ]


def _sign(value: float) -> str:
    return "for" if value >= 0 else "against"


def _rect(x: float, y: float, width: float, height: float, style: str, *, opacity: float = 1.0) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(width - 1, 0.5):.1f}" height="{height:.1f}"'
        + (f' opacity="{opacity:.2f}"' if opacity < 1 else "")
        + "/>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
