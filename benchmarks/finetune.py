"""Continue training with few speakers: does `serctl train --from` ever make a model worse?

A base model learns RAVDESS from 16 speakers. It is continued with two speakers: others of RAVDESS, or of nEMO, another
language and other recordings. Base and new model are tested on speakers that neither was trained on: six of RAVDESS,
four of nEMO. The seed draws the speakers. One of the two speakers is held out to choose among the epochs and the base.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from _common import Comparison, Row, make_parser, parse, print_table, save_result, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from serctl.bundle.store import Bundle
    from serctl.corpora import Utterance
    from serctl.run import Run

SEEDS = (0, 1, 2)
BASE_SPEAKERS, NEW_SPEAKERS = 16, 2
BASE_EPOCHS = 30
CORPORA = ("ravdess", "nemo")
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class Trial:
    """UAR of a base and of what continued from it, on the same new speakers; from 0 to 1."""

    corpus: str
    seed: int
    base: float
    continued: float
    best_epoch: int

    @property
    def gain(self) -> float:
        """Points that continuing gained."""
        return 100 * (self.continued - self.base)


def measure(args: argparse.Namespace, seed: int) -> list[Trial]:
    """Train a base, continue it with new speakers of each corpus, and test both."""
    import numpy as np

    from serctl.bundle.store import load_bundle
    from serctl.cache import Cache, default_folder
    from serctl.run import Run

    run = Run(Cache(default_folder()), jobs=args.jobs)
    trials = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for corpus in CORPORA:
            spoken = by_speaker(args.data / corpus)
            order = [sorted(spoken)[index] for index in np.random.default_rng(seed).permutation(len(spoken))]
            if corpus == CORPORA[0]:
                base = train(folder / "base", spoken, order[:BASE_SPEAKERS], args.arch, seed, run)
                order = order[BASE_SPEAKERS:]
            model = load_bundle(base)
            new = train(folder / corpus, spoken, order[:NEW_SPEAKERS], args.arch, seed, run, base=model)
            test = write_manifest(folder / f"{corpus}-test.csv", spoken, order[NEW_SPEAKERS:])
            scores = [uar(test, each, run) for each in (model, load_bundle(new))]
            epoch = load_bundle(new).facts.metrics["validation"].best_epoch
            trials.append(Trial(corpus, seed, *scores, best_epoch=epoch or 0))
            say(f"{trials[-1]}: {trials[-1].gain:+.1f}")
    return trials


def by_speaker(corpus: Path) -> dict[str, list[Utterance]]:
    """The utterances of each speaker of a corpus."""
    from serctl.corpora import load_corpora

    spoken: dict[str, list[Utterance]] = {}
    for utterance in load_corpora([corpus])[0].utterances:
        spoken.setdefault(utterance.speaker or "", []).append(utterance)
    return spoken


def write_manifest(path: Path, spoken: dict[str, list[Utterance]], speakers: Sequence[str]) -> Path:
    """A manifest of some speakers."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("path", "emotion", "speaker", "language", "corpus"))
        for speaker in speakers:
            rows.writerows((each.path, each.emotion, speaker, each.language, each.corpus) for each in spoken[speaker])
    return path


def train(
    output: Path,
    spoken: dict[str, list[Utterance]],
    speakers: Sequence[str],
    architecture: str,
    seed: int,
    run: Run,
    *,
    base: Bundle | None = None,
) -> Path:
    """Train as the command does, without copies, which keeps the benchmark short."""
    import keras

    from serctl.learning.options import Augmentation, FitOptions
    from serctl.verbs.train import TrainOptions
    from serctl.verbs.train import train as verb

    fit = FitOptions.defaults(architecture, continued=base is not None)
    fit = replace(fit, seed=seed) if base else replace(fit, seed=seed, epochs=BASE_EPOCHS)
    options = TrainOptions(architecture, base=base, fit=fit, augmentation=Augmentation(copies=0, seed=seed))
    manifest = write_manifest(output.with_suffix(".csv"), spoken, speakers)
    folder = verb([manifest], output=output, options=options, run=run).folder
    keras.utils.clear_session()
    return folder


def uar(test: Path, model: Bundle, run: Run) -> float:
    """UAR of a model on the utterances of a manifest, from 0 to 1."""
    from serctl.learning.dataset import load_dataset
    from serctl.learning.earlier import base_uar
    from serctl.learning.options import LabelOptions

    config = model.facts.features
    dataset = load_dataset([test], labels=LabelOptions(), config=config, augmentation=None, run=run)
    found = base_uar(model, dataset.samples, dataset.labels, dataset.classes)
    assert found is not None
    return found


def rows_of(trials: Sequence[Trial]) -> list[Row]:
    """The mean of each corpus, and the worst trial."""
    rows = []
    for corpus in CORPORA:
        own = [trial for trial in trials if trial.corpus == corpus]
        rows += [
            Row(f"{corpus}, UAR, {name}", 100 * statistics.mean(getattr(trial, name) for trial in own), "%")
            for name in ("base", "continued")
        ]
        gain = statistics.mean(trial.gain for trial in own)
        rows.append(Row(f"{corpus}, gain, mean of {len(own)} seeds", gain, "points", 0.0, at_least=True))
    rows.append(Row("least gain of a trial", min(trial.gain for trial in trials), "points", 0.0, at_least=True))
    return rows


def table_of(trials: Sequence[Trial]) -> Comparison:
    """Every trial."""
    cells = tuple(
        (t.corpus, str(t.seed), f"{100 * t.base:.1f}", f"{100 * t.continued:.1f}", f"{t.gain:+.1f}", str(t.best_epoch))
        for t in trials
    )
    titles = ("corpus", "seed", "UAR % of the base", "continued", "gain", "best epoch (0: the base)")
    return Comparison(f"Continued with {NEW_SPEAKERS} speakers.", titles, cells)


def main() -> None:
    """Measure, print, save."""
    parser = make_parser(__doc__, data=True, quick=False)
    parser.add_argument("--arch", default="hybrid", help="architecture (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N", help="default: 0 1 2")
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="worker processes for the features")
    args = parse(parser)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    from serctl.learning.backend import import_tensorflow

    import_tensorflow()
    trials = [trial for seed in args.seeds for trial in measure(args, seed)]
    rows, table = rows_of(trials), table_of(trials)
    print_table(table.titles, table.rows)
    for row in rows:
        print(": ".join(row.cells()[:3]))
    if args.save:
        figures = {"trials": [vars(trial) for trial in trials]}
        save_result(f"finetune-{args.arch}", rows, figures=figures, comparison=table)


if __name__ == "__main__":
    main()
