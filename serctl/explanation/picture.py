"""An explanation as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.explanation.words import answer_words, change_words, name_of, order_words, speak_for
from serctl.reports.plots import BLUE, GREY, VERMILLION, new_figure, save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from serctl.explanation.recording import Explanation


def draw(path: Path, explanation: Explanation) -> None:
    """Draw the importance of moments, the map, the groups of features and the curves of the faithfulness.

    Args:
        path: the PNG file to write.
        explanation: what to draw.
    """
    save_figure(path, lambda: _figure(explanation))


def _figure(each: Explanation) -> Figure:
    figure = new_figure(9.0, f"{name_of(each)}: {answer_words(each)}", change_words(each)[0])
    (time, groups), (band_map, trust) = figure.subplots(2, 2)
    _draw_time(time, each)
    _draw_groups(groups, each)
    _draw_map(band_map, each)
    _draw_trust(trust, each)
    return figure


def _draw_time(axes: Axes, each: Explanation) -> None:
    colours = [BLUE if value >= 0 else VERMILLION for value in each.importance]
    widths = np.diff(each.edges_s)
    costs = each.quantity.in_points(1) * np.array(each.importance)
    axes.bar(each.edges_s[:-1], costs, widths, align="edge", color=colours, edgecolor="white")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(title=f"Which moments {speak_for(each)}", xlabel="s", ylabel=each.quantity.points)


def _draw_map(axes: Axes, each: Explanation) -> None:
    values = each.quantity.in_points(1) * np.array(each.band_importance)
    most = max(float(np.abs(values).max()), 1e-9)
    edges_khz = np.array(each.edges_hz) / 1000
    mesh = axes.pcolormesh(each.edges_s, range(len(edges_khz)), values, cmap="RdBu", vmin=-most, vmax=most)
    axes.set_yticks(range(0, len(edges_khz), 2), [f"{khz:.1f}" for khz in edges_khz[::2]])
    axes.set(title="Which moments and frequencies", xlabel="s", ylabel="kHz")
    axes.figure.colorbar(mesh, ax=axes, label=each.quantity.points)


def _draw_groups(axes: Axes, each: Explanation) -> None:
    found = each.contributions.groups[::-1] if each.contributions else ()
    colours = [BLUE if group.points >= 0 else VERMILLION for group in found]
    points = [each.quantity.in_points(group.points) for group in found]
    axes.barh([group.group for group in found], points, color=colours)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(title="Which features" if found else "This model takes the spectrogram", xlabel=each.quantity.points)


def _draw_trust(axes: Axes, each: Explanation) -> None:
    shares = np.linspace(0, 100, len(each.importance) + 1)
    found = each.faithfulness
    axes.plot(shares, found.deletion, color=VERMILLION, label="hiding the most important first")
    axes.plot(shares, found.insertion, color=BLUE, label="showing the most important first")
    axes.plot(shares, found.random, color=GREY, linestyle="--", label="hiding in random order")
    bounds = each.quantity.bounds
    axes.set(title="How far to trust this", xlabel="% of the speech", ylabel=each.quantity.name, ylim=bounds)
    axes.legend(fontsize=9)
    axes.annotate(order_words(found, each.quantity).rpartition(": ")[2], (0.02, 0.02), xycoords="axes fraction")
