"""Classics: resnet and lstm, the usual starting points, on RAVDESS (6 speaker-independent folds of EmoBox)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _claims import Claim, percent, run_claim, runs_table
from _common import Row
from _runs import evaluation

if TYPE_CHECKING:
    from _claims import Found

RUNS = tuple(evaluation(arch, "ravdess", "emobox-ravdess-6") for arch in ("resnet", "lstm"))
NAMES = tuple(run.name for run in RUNS)


def make_rows(found: Found) -> list[Row]:
    """The scores; nothing is claimed of them."""
    return [
        Row(f"UAR on ravdess, emobox-ravdess-6, {name.removeprefix('ravdess-')}", percent(metrics, "uar"), "%")
        for name, metrics in found.items()
    ]


CLAIM = Claim(
    name="classics",
    title="The classic starting points",
    text="A residual network over the log-mel spectrogram and a bidirectional LSTM with attention pooling, for "
    "comparison, on RAVDESS in the six speaker-independent folds of EmoBox.",
    results=NAMES,
    rows=make_rows,
    tables=lambda found: [runs_table(found, NAMES)],
)

if __name__ == "__main__":
    run_claim(CLAIM, RUNS, __doc__)
