"""Fusion: hybrid (functionals and deep features) against mfcc and cnn alone, on RAVDESS and EMO-DB.

Hours on 2 cores; a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _claims import Claim, gain, run_claim, runs_table
from _common import Row
from _runs import evaluation

if TYPE_CHECKING:
    from _claims import Found

PROTOCOLS = {"ravdess": "emobox-ravdess-6", "emodb": "loso"}
CLAIMED_GAIN = 8.2
RUNS = tuple(
    evaluation(arch, corpus, protocol) for corpus, protocol in PROTOCOLS.items() for arch in ("hybrid", "mfcc", "cnn")
)
NAMES = tuple(run.name for run in RUNS)


def make_rows(found: Found) -> list[Row]:
    """The gain over each single view, on each corpus."""
    return [
        Row(
            f"UAR of hybrid above {single} on {corpus}",
            gain(found[f"{corpus}-hybrid"], found[f"{corpus}-{single}"]),
            "points",
            target,
            at_least=True,
        )
        for corpus in PROTOCOLS
        for single, target in (("mfcc", CLAIMED_GAIN), ("cnn", 0))
    ]


CLAIM = Claim(
    name="fusion",
    title="Functionals fused with deep features",
    text="Claimed (on IEMOCAP): a network that fuses utterance functionals with deep features is at least "
    f"{CLAIMED_GAIN} points above one that has the MFCC functionals alone, and above the convolutional one as well. "
    "Tried here on speakers that were not in training: RAVDESS in the six folds of EmoBox, EMO-DB (a copy cut to 2 s) "
    "leaving out one speaker after the other. The deep features are those of the pretrained voice encoder; what "
    "they bring alone is told further down. Each network trains for its default number of epochs: "
    "hybrid 100, the others 40.",
    results=NAMES,
    rows=make_rows,
    tables=lambda found: [runs_table(found, NAMES)],
)

if __name__ == "__main__":
    run_claim(CLAIM, RUNS, __doc__)
