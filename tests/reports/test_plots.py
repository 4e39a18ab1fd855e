from __future__ import annotations

import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import image, rcParams
from matplotlib.text import Text

from serctl.errors import ConfigError
from serctl.metrics.facts import GroupScores
from serctl.reports import plots

pytestmark = pytest.mark.drawn

CLASSES = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
COUNTS = np.diag(np.arange(90, 98)) + 3
HISTORY = {
    "loss": [2.0, 1.5, 1.1, 0.9],
    "val_loss": [2.1, 1.8, float("nan"), 1.9],
    "val_uar": [0.2, 0.41, 0.523, 0.5],
    "learning_rate": [0.001] * 4,
}
SPEAKERS = {f"actor {index:02d}": GroupScores(60 + index, 0.3 + 0.02 * index, 0.5) for index in range(24)}


@pytest.fixture
def curve():
    """Ten bins: the first three empty, the fourth never right."""
    nothing = [np.nan] * 3
    return SimpleNamespace(
        centre=np.arange(0.05, 1, 0.1),
        confidence=np.array([*nothing, 0.36, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]),
        accuracy=np.array([*nothing, 0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0]),
        count=np.array([0, 0, 0, 2, 5, 9, 20, 31, 12, 4]),
    )


@pytest.fixture
def draw(curve):
    """Each public function with plausible arguments, by its name."""
    return {
        "confusion": lambda path, **changes: plots.plot_confusion(
            path, COUNTS, CLASSES, **{"title": "Predicted against true emotion", **changes}
        ),
        "reliability": lambda path, **changes: plots.plot_reliability(
            path, curve, ece=0.123, **{"title": "Confidence against accuracy", **changes}
        ),
        "history": lambda path, **changes: plots.plot_history(
            path, HISTORY, best_epoch=3, **{"title": "Loss and UAR per epoch", **changes}
        ),
        "speakers": lambda path, **changes: plots.plot_speakers(
            path, SPEAKERS, **{"title": "UAR of each speaker", **changes}
        ),
    }


every_plot = pytest.mark.parametrize("name", ["confusion", "reliability", "history", "speakers"])


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


@every_plot
def test_plot_writes_a_png_that_is_not_blank(name, draw, tmp_path):
    path = tmp_path / f"{name}.png"
    draw[name](path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = image.imread(path)
    height, width = pixels.shape[:2]
    assert width == 1500
    assert 600 <= height <= 1650
    # Ink on at least one percent of the white page, and some of it in colour.
    assert (pixels[..., :3].min(axis=2) < 0.9).mean() > 0.01
    assert np.ptp(pixels[..., :3], axis=2).max() > 0.5


@every_plot
def test_plot_leaves_nothing_but_the_png(name, draw, tmp_path):
    draw[name](tmp_path / "plot.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["plot.png"]


@every_plot
def test_plot_is_the_same_bytes_whatever_the_users_settings(name, draw, tmp_path, monkeypatch):
    draw[name](tmp_path / "one.png")
    monkeypatch.setitem(rcParams, "font.size", 30.0)
    monkeypatch.setitem(rcParams, "axes.facecolor", "black")
    draw[name](tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert rcParams["font.size"] == 30.0


def test_plot_gives_the_file_the_usual_permissions(draw, tmp_path):
    previous = os.umask(0o022)
    try:
        draw["history"](tmp_path / "plot.png")
    finally:
        os.umask(previous)
    assert (tmp_path / "plot.png").stat().st_mode & 0o777 == 0o644


def test_failed_plot_keeps_the_previous_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "plot.png"
    path.write_bytes(b"previous")

    def fill_the_disk(self, target, **options):
        target.write_bytes(b"half a pict")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        plots.plot_confusion(path, COUNTS, CLASSES, title="Confusion")
    assert path.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [path]


def test_plots_use_neither_pyplot_nor_a_display(tmp_path):
    code = (
        "import sys; from pathlib import Path; from serctl.reports import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plots.plot_confusion(Path({str(tmp_path / 'plot.png')!r}), [[1, 0], [0, 2]], ['happy', 'sad'], title='Two')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)


@every_plot
def test_titles_are_wrapped_and_shown_as_they_are(name, draw, tmp_path):
    # Read as a formula, \frac without its arguments would be an error.
    title = r"Scores of $\frac$: " + "RAVDESS, EMO-DB, ASED and nEMO, " * 5
    draw[name](tmp_path / "plot.png", title=title)
    assert image.imread(tmp_path / "plot.png").shape[1] == 1500


def test_confusion_shows_percentages_counts_and_recalls():
    shown = texts(plots._confusion_figure([[30, 10], [1, 2]], ["happy", "sad"], title="Predicted against true"))
    for expected in ("75 %\n(30)", "25 %\n(10)", "33 %\n(1)", "67 %\n(2)", "75.0 % (40)", "66.7 % (3)", "happy", "sad"):
        assert expected in shown
    assert "Predicted against true" in shown


def test_confusion_has_the_truth_in_its_rows():
    axes = plots._confusion_figure([[30, 10], [1, 2]], ["happy", "sad"], title="t").axes[0]
    position = {text.get_text(): text.get_position() for text in axes.texts}
    assert position["25 %\n(10)"] == (1, 0)
    assert axes.get_ylabel() == "True"
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_confusion_says_when_a_class_has_no_utterances(tmp_path):
    counts = [[4, 1], [0, 0]]
    plots.plot_confusion(tmp_path / "plot.png", counts, ["happy", "sad"], title="t")
    shown = texts(plots._confusion_figure(counts, ["happy", "sad"], title="t"))
    assert "no utterances" in shown
    assert not any("nan" in text for text in shown)


def test_confusion_of_many_classes_leaves_out_the_counts():
    shown = texts(plots._confusion_figure(np.eye(24, dtype=int) * 7, [f"class {i}" for i in range(24)], title="t"))
    assert shown.count("100") == 24
    assert "100 %\n(7)" not in shown


def test_title_and_subtitle_are_cut_into_lines_that_fit():
    figure = plots.new_figure(4, "a title " * 15, "a subtitle " * 15)
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert (box.x0 >= 0, box.x1 <= figure.bbox.width) == (True, True)
    assert figure.get_suptitle().count("subtitle") == 15


def test_confusion_shortens_and_flattens_long_names(tmp_path):
    classes = ["an emotion with a very long name", "with a\nnew line"]
    shown = texts(plots._confusion_figure([[1, 0], [0, 1]], classes, title="t"))
    assert "an emotion with a very …" in shown
    assert "with a new line" in shown


@pytest.mark.parametrize("counts", [[[1, 2], [3, 4]], [1, 2, 3], [[1, 2, 3]]])
def test_confusion_refuses_a_matrix_of_other_classes(counts, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a confusion matrix of 3 classes\. Received: shape"):
        plots.plot_confusion(tmp_path / "plot.png", counts, ["happy", "sad", "angry"], title="t")
    assert list(tmp_path.iterdir()) == []


def test_reliability_shows_error_accuracies_and_counts(curve):
    figure = plots._reliability_figure(curve, ece=0.1234, title="Confidence against accuracy")
    above, below = figure.axes
    assert "Confidence against accuracy\nExpected calibration error 12.3 % over 83 predictions" in texts(figure)
    filled = curve.count > 0
    np.testing.assert_allclose([bar.get_height() for bar in above.patches], curve.accuracy[filled])
    np.testing.assert_array_equal([bar.get_height() for bar in below.patches], curve.count)
    points = lines(above)["Accuracy at mean confidence"]
    np.testing.assert_allclose(points.get_xydata(), np.c_[curve.confidence, curve.accuracy][filled])


def test_reliability_draws_a_single_prediction(tmp_path):
    single = SimpleNamespace(
        centre=np.array([0.25, 0.75]),
        confidence=np.array([np.nan, 0.8]),
        accuracy=np.array([np.nan, 1.0]),
        count=np.array([0, 1]),
    )
    plots.plot_reliability(tmp_path / "plot.png", single, ece=0.2, title="One prediction")
    assert (tmp_path / "plot.png").exists()


def test_history_marks_no_epoch_where_none_was_kept():
    above, below = plots._history_figure(HISTORY, best_epoch=0, title="t").axes
    assert not [line for line in (*above.lines, *below.lines) if "Best epoch" in str(line.get_label())]


def test_history_shows_the_series_and_marks_the_best_epoch():
    above, below = plots._history_figure(HISTORY, best_epoch=3, title="t").axes
    np.testing.assert_allclose(lines(above)["Training loss"].get_xydata(), np.c_[[1, 2, 3, 4], HISTORY["loss"]])
    np.testing.assert_allclose(lines(above)["Validation loss"].get_ydata(), HISTORY["val_loss"])
    np.testing.assert_allclose(lines(below)["Validation UAR"].get_ydata(), [20, 41, 52.3, 50])
    np.testing.assert_allclose(lines(below)["Best epoch 3: 52.3 %"].get_xydata(), [[3, 52.3]])


def test_history_of_one_epoch_has_one_tick(tmp_path):
    history = {"loss": [2.0], "val_loss": [2.1], "val_uar": [0.2]}
    plots.plot_history(tmp_path / "plot.png", history, best_epoch=1, title="t")
    _, below = plots._history_figure(history, best_epoch=1, title="t").axes
    assert [tick for tick in below.get_xticks() if 0.5 <= tick <= 1.5] == [1]


@pytest.mark.parametrize(
    ("changes", "best_epoch", "message"),
    [
        ({"val_loss": [1.0]}, 1, r"expected series of one length, at least 1\. Received: lengths \[4, 1, 4\]"),
        ({"loss": [], "val_loss": [], "val_uar": []}, 1, r"Received: lengths \[0, 0, 0\]"),
        ({}, -1, r"expected a best epoch from 0 to 4\. Received: -1"),
        ({}, 5, r"expected a best epoch from 0 to 4\. Received: 5"),
    ],
)
def test_history_refuses_series_that_do_not_fit(changes, best_epoch, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        plots.plot_history(tmp_path / "plot.png", {**HISTORY, **changes}, best_epoch=best_epoch, title="t")


def test_history_names_what_it_expected_and_what_came(tmp_path):
    with pytest.raises(ConfigError, match=r"expected loss, val_loss, val_uar\. Received: loss, accuracy"):
        plots.plot_history(tmp_path / "plot.png", {"loss": [1.0], "accuracy": [0.5]}, best_epoch=1, title="t")


def test_speakers_are_sorted_with_the_best_on_top():
    unsorted = {name: SPEAKERS[name] for name in ("actor 07", "actor 20", "actor 01")}
    figure = plots._speakers_figure(unsorted, title="t")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["actor 01", "actor 07", "actor 20"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [32, 44, 70])
    assert {"32.0 % (61)", "44.0 % (67)", "70.0 % (80)", "Mean of the speakers 48.7 %"} <= set(texts(figure))


def test_speakers_beyond_sixty_are_cut_to_both_ends_and_the_title_says_so():
    many = {f"s{index:03d}": GroupScores(5, index / 200, 0.5) for index in range(200)}
    figure = plots._speakers_figure(many, title="UAR of each speaker")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"s{index:03d}" for index in [*range(30), *range(170, 200)]]
    assert "UAR of each speaker\nThe highest 30 and the lowest 30 of 200 speakers" in texts(figure)


def test_speakers_in_a_script_the_font_lacks_do_not_warn(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plots.plot_speakers(tmp_path / "plot.png", {"ሰላም": GroupScores(4, 0.5, 0.5)}, title="ተናጋሪዎች")
    assert caught == []


def test_speakers_refuses_an_empty_table(tmp_path):
    with pytest.raises(ConfigError, match="at least one speaker"):
        plots.plot_speakers(tmp_path / "plot.png", {}, title="t")
