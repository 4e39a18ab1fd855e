"""The pictures of an evaluation or a training run, as PNG files 1,500 pixels wide.

Figures are built without pyplot, so nothing is global and no display is needed, and with matplotlib's defaults, so the
user's matplotlibrc does not change them: the same input gives the same bytes. Colours are those of Okabe & Ito, which
colour-blind readers can tell apart.
"""

from __future__ import annotations

import textwrap
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from serctl.errors import ConfigError
from serctl.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from serctl.metrics.facts import GroupScores

BLUE = "#0072B2"
_SKY = "#56B4E9"
VERMILLION = "#D55E00"
GREY = "#666666"
_PALE = "#EEEEEE"

_WIDTH_IN = 10.0
_STYLE = {
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # Class and speaker names are shown as they are, also when they hold a dollar sign.
    "text.parse_math": False,
}
_TITLE_CHARACTERS = 80
_NAME_CHARACTERS = 24
_MOST_SPEAKERS = 60
_MOST_CLASSES_WITH_COUNTS = 12
_HISTORY_SERIES = ("loss", "val_loss", "val_uar")
_NUMBER_SERIES = ("loss", "val_loss", "val_ccc")


class Reliability(Protocol):
    """Bins of confidence, each array of shape (bins,), as in metrics.ReliabilityCurve."""

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of each bin."""

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Mean confidence, nan in an empty bin."""

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of correct predictions, nan in an empty bin."""

    @property
    def count(self) -> NDArray[np.int64]:
        """Number of predictions."""


class LearningPoint(Protocol):
    """The UAR, 0 to 1, of a network that learned from so many utterances, as in learning.curve.CurvePoint."""

    @property
    def utterances(self) -> int:
        """How many it learned from."""

    @property
    def uar(self) -> float:
        """The score."""

    @property
    def low(self) -> float:
        """The lower end of its interval."""

    @property
    def high(self) -> float:
        """The upper end."""


def plot_confusion(path: Path, matrix: ArrayLike, classes: Sequence[str], *, title: str) -> None:
    """Draw a confusion matrix: percentages of each row with the counts, and the recall of each class at the right.

    Args:
        path: the PNG file to write.
        matrix: counts, shape (k, k), rows are the truth.
        classes: names of the k classes.
        title: title of the figure.

    Raises:
        ConfigError: the matrix does not fit the classes.
    """
    save_figure(path, lambda: _confusion_figure(matrix, classes, title=title))


def plot_reliability(path: Path, curve: Reliability, *, ece: float, title: str) -> None:
    """Draw accuracy against confidence, with a histogram of the confidences below.

    Args:
        path: the PNG file to write.
        curve: bins of confidence.
        ece: expected calibration error, 0 to 1.
        title: title of the figure.
    """
    save_figure(path, lambda: _reliability_figure(curve, ece=ece, title=title))


def plot_history(path: Path, history: Mapping[str, Sequence[float | None]], *, best_epoch: int, title: str) -> None:
    """Draw training loss, validation loss and the validation score of each epoch, with the best epoch marked.

    Args:
        path: the PNG file to write.
        history: `loss`, `val_loss` and `val_uar` (0 to 1), or `val_ccc` of numbers (-1 to 1), one value for
            each epoch; other series are left out.
        best_epoch: counted from 1; 0 if none of the epochs was kept.
        title: title of the figure.

    Raises:
        ConfigError: a series is missing, their lengths differ, or best_epoch is not one of the epochs.
    """
    save_figure(path, lambda: _history_figure(history, best_epoch=best_epoch, title=title))


def plot_learning_curve(path: Path, points: Sequence[LearningPoint], *, title: str) -> None:
    """Draw the UAR by the number of training utterances, with its interval.

    Args:
        path: the PNG file to write.
        points: the smallest number first.
        title: title of the figure.
    """
    save_figure(path, lambda: _learning_figure(points, title=title))


def plot_speakers(path: Path, per_speaker: Mapping[str, GroupScores], *, title: str) -> None:
    """Draw the UAR of each speaker as a bar, the best on top; of more than 60 speakers, the best and the worst 30.

    Args:
        path: the PNG file to write.
        per_speaker: scores of each speaker.
        title: title of the figure.

    Raises:
        ConfigError: there are no speakers.
    """
    save_figure(path, lambda: _speakers_figure(per_speaker, title=title))


def plot_numbers(path: Path, truth: ArrayLike, predicted: ArrayLike, *, name: str, title: str) -> None:
    """Draw predicted numbers against the truth, a point for each utterance.

    Args:
        path: the PNG file to write.
        truth: shape (n,).
        predicted: shape (n,); NaN is left out.
        name: of the numbers.
        title: title of the figure.
    """
    save_figure(path, lambda: _numbers_figure(np.asarray(truth), np.asarray(predicted), name=name, title=title))


def save_figure(path: Path, build: Callable[[], Figure]) -> None:
    """Save the figure so that path never holds half a picture."""
    with atomic_path(path) as draft, _style():
        draw_figure(build(), draft)


def draw_figure(figure: Figure, path: Path) -> None:
    """Draw a figure to a PNG file; the same figure gives the same bytes."""
    # The Software entry would make the bytes depend on the version of matplotlib.
    figure.savefig(path, format="png", metadata={"Software": None})


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # The built-in font lacks some scripts: a name in one of them is drawn as boxes, without a warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def new_figure(height_in: float, title: str, subtitle: str = "") -> Figure:
    """Make an empty figure of the usual width, with its title and its subtitle in lines that fit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in))
    lines = [line for text in (title, subtitle) for line in textwrap.wrap(text, _TITLE_CHARACTERS)]
    figure.suptitle("\n".join(lines), fontsize=15)
    return figure


def _shorten(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _confusion_figure(matrix: ArrayLike, classes: Sequence[str], *, title: str) -> Figure:
    counts = np.asarray(matrix)
    if not classes or counts.shape != (len(classes), len(classes)):
        raise ConfigError(f"expected a confusion matrix of {len(classes)} classes. Received: shape {counts.shape}")
    support = counts.sum(axis=1)
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, support[:, np.newaxis], out=shares, where=support[:, np.newaxis] > 0)
    figure = new_figure(min(2.4 + 0.75 * len(classes), 11), title)
    axes = figure.add_subplot(facecolor=_PALE)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _write_cells(axes, counts, shares)
    _label_classes(axes, [_shorten(name) for name in classes])
    _label_recalls(axes, [_recall_text(recall, n) for recall, n in zip(shares.diagonal(), support, strict=True)])
    return figure


def _write_cells(axes: Axes, counts: NDArray[Any], shares: NDArray[np.float64]) -> None:
    spacious = len(counts) <= _MOST_CLASSES_WITH_COUNTS
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            continue
        text = f"{100 * share:.0f} %\n({counts[row, column]})" if spacious else f"{100 * share:.0f}"
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=12 if spacious else 9, color=colour)


def _label_classes(axes: Axes, names: Sequence[str]) -> None:
    ticks = range(len(names))
    tilted = max(map(len, names)) * len(names) > 80
    axes.set_xticks(ticks, names, rotation=40 if tilted else 0, ha="right" if tilted else "center")
    axes.set_yticks(ticks, names)
    axes.set_xlabel("Predicted: % of the row" + (" (utterances)" if len(names) <= _MOST_CLASSES_WITH_COUNTS else ""))
    axes.set_ylabel("True")
    axes.spines[:].set_visible(False)


def _label_recalls(axes: Axes, texts: Sequence[str]) -> None:
    margin = axes.secondary_yaxis("right")
    margin.spines[:].set_visible(False)
    margin.set_ticks(range(len(texts)), labels=texts)
    margin.tick_params(length=0)
    margin.set_ylabel("Recall (utterances)", labelpad=10)


def _recall_text(recall: float, n: int) -> str:
    return "no utterances" if n == 0 else f"{_percent(recall)} ({n})"


def _reliability_figure(curve: Reliability, *, ece: float, title: str) -> Figure:
    subtitle = f"Expected calibration error {_percent(ece)} over {curve.count.sum()} predictions"
    figure = new_figure(9, title, subtitle)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw_reliability(above, curve)
    below.bar(curve.centre, curve.count, width=1 / len(curve.centre), color=GREY, edgecolor="white")
    below.set_ylabel("Predictions")
    below.yaxis.get_major_locator().set_params(integer=True)
    below.set_xlabel("Confidence")
    below.set_xlim(0, 1)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_reliability(axes: Axes, curve: Reliability) -> None:
    filled = curve.count > 0
    accuracy = curve.accuracy[filled]
    width = 1 / len(curve.centre)
    axes.bar(curve.centre[filled], accuracy, width, color=_SKY, edgecolor="white", label="Accuracy of the bin")
    # An accuracy of 0 leaves no bar: its point must not be cut off by the axis.
    axes.plot(curve.confidence[filled], accuracy, "o", color=BLUE, clip_on=False, label="Accuracy at mean confidence")
    axes.plot([0, 1], [0, 1], "--", color=VERMILLION, linewidth=2, label="Perfect calibration")
    axes.set_ylim(0, 1)
    axes.set_ylabel("Accuracy")


def _history_figure(history: Mapping[str, Sequence[float | None]], *, best_epoch: int, title: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    loss, val_loss, val_score = _history_series(history)
    numbers = _NUMBER_SERIES[-1] in history
    name, label, scale = ("CCC", "CCC", 1) if numbers else ("UAR", "UAR (%)", 100)
    if not 0 <= best_epoch <= len(loss):
        raise ConfigError(f"expected a best epoch from 0 to {len(loss)}. Received: {best_epoch}")
    figure = new_figure(8, title)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = np.arange(1, len(loss) + 1)
    marker = "o" if len(epochs) <= 40 else None
    above.plot(epochs, loss, color=BLUE, marker=marker, markersize=4, label="Training loss")
    above.plot(epochs, val_loss, "--", color=VERMILLION, marker=marker, markersize=4, label="Validation loss")
    above.set_ylabel("Loss")
    below.plot(epochs, scale * val_score, color=BLUE, marker=marker, markersize=4, label=f"Validation {name}")
    below.set_ylabel(label)
    below.set_xlabel("Epoch")
    below.set_xlim(0.5, len(epochs) + 0.5)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if best_epoch:
        best = val_score[best_epoch - 1]
        told = f"Best epoch {best_epoch}: {f'{best:.3f}' if numbers else _percent(best)}"
        below.plot(best_epoch, scale * best, "*", color=VERMILLION, markersize=16, label=told)
    for axes in (above, below):
        _finish_history(axes, best_epoch)
    return figure


def _learning_figure(points: Sequence[LearningPoint], *, title: str) -> Figure:
    figure = new_figure(6, title)
    axes = figure.add_subplot()
    counts = [each.utterances for each in points]
    low, uar, high = (100 * np.array([getattr(each, name) for each in points]) for name in ("low", "uar", "high"))
    axes.fill_between(counts, low, high, color=_SKY, alpha=0.3, label="95 % interval")
    axes.plot(counts, uar, color=BLUE, marker="o", label="UAR")
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="Training utterances", ylabel="UAR on the held-out part (%)")
    axes.legend(loc="lower right")
    return figure


def _numbers_figure(truth: NDArray[np.float64], predicted: NDArray[np.float64], *, name: str, title: str) -> Figure:
    figure = new_figure(8, title)
    axes = figure.add_subplot()
    low, high = float(truth.min()), float(truth.max())
    axes.plot([low, high], [low, high], "--", color=VERMILLION, linewidth=2, label="Equal")
    axes.plot(truth, predicted, "o", color=BLUE, markersize=4, alpha=0.4, label="Utterances")
    axes.set_xlabel(f"{_shorten(name)}, truth")
    axes.set_ylabel(f"{_shorten(name)}, predicted")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure


def _history_series(history: Mapping[str, Sequence[float | None]]) -> list[NDArray[np.float64]]:
    expected = _NUMBER_SERIES if _NUMBER_SERIES[-1] in history else _HISTORY_SERIES
    missing = [name for name in expected if name not in history]
    if missing:
        raise ConfigError(f"history: expected {', '.join(expected)}. Received: {', '.join(history) or 'nothing'}")
    series = [np.asarray(history[name], dtype=np.float64) for name in expected]
    lengths = [len(values) for values in series]
    if lengths[0] == 0 or len(set(lengths)) > 1:
        raise ConfigError(f"history: expected series of one length, at least 1. Received: lengths {lengths}")
    return series


def _finish_history(axes: Axes, best_epoch: int) -> None:
    if best_epoch:
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=2, zorder=1)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="best")


def _speakers_figure(per_speaker: Mapping[str, GroupScores], *, title: str) -> Figure:
    if not per_speaker:
        raise ConfigError("expected the scores of at least one speaker. Received: none")
    ranked = sorted(per_speaker, key=lambda name: (per_speaker[name].uar, name))
    half = _MOST_SPEAKERS // 2
    crowded = len(ranked) > _MOST_SPEAKERS
    shown = ranked[:half] + ranked[-half:] if crowded else ranked
    subtitle = f"The highest {half} and the lowest {half} of {len(ranked)} speakers" if crowded else ""
    figure = new_figure(2.4 + 0.3 * len(shown), title, subtitle)
    axes = figure.add_subplot()
    _draw_bars(axes, {name: per_speaker[name] for name in shown})
    if crowded:
        axes.axhline(half - 0.5, color=GREY)
    mean = float(np.mean([scores.uar for scores in per_speaker.values()]))
    label = f"Mean of the speakers {_percent(mean)}"
    axes.axvline(100 * mean, color=VERMILLION, linestyle="--", linewidth=2, label=label)
    figure.legend(loc="outside lower center")
    return figure


def _draw_bars(axes: Axes, speakers: Mapping[str, GroupScores]) -> None:
    rows = range(len(speakers))
    axes.barh(rows, [100 * scores.uar for scores in speakers.values()], color=_SKY)
    for row, scores in enumerate(speakers.values()):
        axes.text(1, row, f"{_percent(scores.uar)} ({scores.n})", va="center", fontsize=10)
    axes.set_yticks(rows, [_shorten(name) for name in speakers])
    axes.set_ylim(-0.6, len(speakers) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("UAR in % (utterances)")
