"""Adaptation where a user brings few recordings of an unseen corpus, mostly neutral ones, or those of one speaker.

Takes the networks of `unseen.py`, each of five corpora, and draws recordings of the sixth; trains them first where
runs/ does not hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
from _common import Comparison, Row, make_parser, parse, print_table, save_result
from unseen import Trained, add_options, mean_of, prepare, recipe, train

from serctl.learning.left_out import predict_left_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from serctl.learning.calibrate import Learned
    from serctl.learning.dataset import Sample
    from serctl.learning.left_out import LeftOut

DRAWS, SEED = 20, 7
NEUTRAL = "neutral"


@dataclass(frozen=True)
class Mix:
    """Recordings that a user may bring.

    Attributes:
        size: how many, if the corpus has as many.
        neutral: share of the neutral ones; None for as many of each emotion.
        speaker: whether all are of one speaker, with the emotions that the corpus has of them.
    """

    size: int = 0
    neutral: float | None = None
    speaker: bool = False


MIXES = {
    "10, even mix": Mix(10),
    "50, even mix": Mix(50),
    "200, even mix": Mix(200),
    "50, 80 % neutral": Mix(50, 0.8),
    "200, 80 % neutral": Mix(200, 0.8),
    "one speaker's": Mix(speaker=True),
}
MOST_LOST = 1.0
"""Points of UAR that adaptation may cost in any corpus to be the default."""


Change = dict[str, float]


def changes(learned: Learned, samples: Sequence[Sample], found: LeftOut, classes: Sequence[str]) -> dict[str, Change]:
    """Measure UAR and accuracy, in points, that adaptation adds on each mix of a corpus; means over the draws.

    Args:
        learned: a network of the other corpora.
        samples: of the corpus.
        found: its answers on all of them, whose emotions are drawn.
        classes: of the network.
    """
    shared = [classes[label] for label in np.unique(found.truth)]
    spoken = {each.path for each in found.utterances}
    tested = [sample for sample in samples if sample.utterance.path in spoken]

    def answer(rows: NDArray[np.intp]) -> Change:
        part = [tested[row] for row in rows]
        return _gain(predict_left_out(learned, part, corpus=found.corpus, classes=classes, shared=shared))

    values = {}
    for name, mix in MIXES.items():
        gained = [answer(rows) for rows in _draw(mix, tested)]
        values[name] = {key: mean(each[key] for each in gained) for key in gained[0]}
    return values


def _draw(mix: Mix, samples: Sequence[Sample]) -> list[NDArray[np.intp]]:
    speakers = np.array([sample.utterance.speaker_id for sample in samples])
    if mix.speaker:
        return [np.flatnonzero(speakers == speaker) for speaker in sorted(set(speakers))[:DRAWS]]
    emotions = np.array([sample.utterance.emotion for sample in samples])
    kinds, counts = np.unique(emotions, return_counts=True)
    shares = np.full(len(kinds), 1 / len(kinds))
    if mix.neutral is not None:
        shares = np.where(kinds == NEUTRAL, mix.neutral, (1 - mix.neutral) / (len(kinds) - 1))
    chance = (shares / counts)[np.searchsorted(kinds, emotions)]
    rng = np.random.default_rng([SEED, mix.size, len(samples)])
    size = min(mix.size, len(samples))
    return [rng.choice(len(samples), size, replace=False, p=chance / chance.sum()) for _ in range(DRAWS)]


def _gain(part: LeftOut) -> Change:
    plain, adapted = ((logs.argmax(axis=1) == part.truth) for logs in (part.logs, part.adapted_logs))
    recalls = [(adapted[part.truth == label].mean() - plain[part.truth == label].mean()) for label in set(part.truth)]
    return {"uar": 100 * float(np.mean(recalls)), "wa": 100 * float(adapted.mean() - plain.mean())}


def measure(trained: Trained) -> dict[str, dict[str, Change]]:
    """The changes by corpus and mix."""
    by_corpus = {}
    for found, learned in zip(trained.answers, trained.networks, strict=True):
        samples = [sample for sample in trained.dataset.samples if sample.utterance.corpus == found.corpus]
        by_corpus[found.corpus] = changes(learned, samples, found, trained.dataset.classes)
    return by_corpus


def make_rows(found: Mapping[str, Mapping[str, Change]]) -> Iterable[Row]:
    """UAR gained in the mean, and lost in the worst corpus."""
    for name in MIXES:
        gained = [mixes[name]["uar"] for mixes in found.values()]
        yield Row(f"UAR gained by `--adapt auto`, mean, {name}", mean(gained), "points")
        yield Row(f"UAR lost in the worst corpus, {name}", -min(gained), "points", MOST_LOST)


def compare(found: Mapping[str, Mapping[str, Change]]) -> Comparison:
    """Each mix: the change in the mean of the corpora, and in the worst one."""
    rows = []
    for name in MIXES:
        cells = []
        for key in ("uar", "wa"):
            values = {corpus: mixes[name][key] for corpus, mixes in found.items()}
            worst = min(values, key=lambda corpus: values[corpus])
            cells += [f"{mean(values.values()):+.1f}", f"{values[worst]:+.1f} ({worst})"]
        rows.append((name, *cells))
    return Comparison(
        "What `--adapt auto` changes where a user brings a part of an unseen corpus, in points of UAR and of accuracy "
        f"(WA): means over the six corpora and {DRAWS} draws each, and the corpus that fares worst. One speaker's: "
        f"all recordings of each of up to {DRAWS} speakers.",
        ("recordings at hand", "UAR", "worst corpus", "WA", "worst corpus"),
        tuple(rows),
    )


def main() -> None:
    """Measure, print, and save if asked to."""
    parser = make_parser(__doc__, data=True, quick=False)
    add_options(parser)
    args = parse(parser)
    run = prepare(args)
    tables = [measure(train(recipe(seed), run)) for seed in args.seeds]
    found = mean_of(tables)
    rows, comparison = list(make_rows(found)), compare(found)
    print_table(("measure", "serctl", "target", "peer"), [row.cells() for row in rows])
    print_table(comparison.titles, comparison.rows)
    if args.save:
        figures = {f"seed {seed}": table for seed, table in zip(args.seeds, tables, strict=True)}
        save_result("adaptation", rows, figures=figures, comparison=comparison)


if __name__ == "__main__":
    main()
