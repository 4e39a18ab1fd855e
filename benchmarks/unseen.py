"""Corpora never heard: each of six corpora answered by a network of the other five, as it is and over bad lines.

Trains the recipe of the bundled model without each corpus in turn, and scores the corpus with and without adaptation to
its recordings; then every sixth recording clean, over a telephone, in babble of 10 dB, in a room, through MP3 at
32 kbit/s and 30 dB quieter. Confidences are calibrated on the other corpora, which were left out as well. Half an hour
on 2 cores for a seed; checkpoints are kept in runs/, and a script that was interrupted goes on from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from _common import Comparison, Row, make_parser, parse, print_table, save_result, say
from _degraded import BANGLASER, CONDITIONS, DEGRADED, make_banglaser, make_degraded, voices
from _runs import DATA, WORK, link_data

from serctl.cache import Cache, default_folder
from serctl.corpora import hold_out
from serctl.learning.dataset import load_dataset
from serctl.learning.learn import fit_network
from serctl.learning.left_out import LeftOut, fit_temperatures, leave_corpora_out, predict_left_out
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.learning.recipe import Recipe
from serctl.learning.values import recordings_in
from serctl.metrics import confusion_matrix, expected_calibration_error, temperature_scale, uar
from serctl.run import Run
from serctl.verbs.train import ignore_epoch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from serctl.learning.calibrate import Learned
    from serctl.learning.dataset import Dataset, Sample

CORPORA = ("ravdess", "emodb", "ased", "nemo", "emovo", BANGLASER)
ARCHITECTURE = "speech-attention"
LABELS = LabelOptions(
    ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"), mapping=(("calm", "neutral"),)
)
FIT = {"epochs": 12, "batch_size": 128, "weight_decay": 1.0}
EARLIER = 48.7
"""Mean UAR of hybrid, the recipe of the earlier bundled model, by a trial on clean recordings and other software."""

K = TypeVar("K")

Table = dict[tuple[str, bool], dict[str, dict[str, float]]]
"""UAR in per cent, ECE and number of recordings of each corpus, by condition and whether adapted."""

LEAST = {False: EARLIER + 6, True: EARLIER + 12}
MOST_LOST, MOST_ECE = 6.0, 0.10
CLEAN = "clean"
WAYS = {False: "not adapted", True: "adapted"}


def recipe(seed: int) -> Recipe:
    """How the bundled model is trained."""
    noise = recordings_in(str(WORK / DATA / "noise"))
    copies = {"noise_files": noise, "voice_files": voices(trained_on=True)}
    augmentation = replace(Augmentation.defaults(ARCHITECTURE), **copies)
    fit = replace(FitOptions.defaults(ARCHITECTURE), **FIT, seed=seed)
    return Recipe(ARCHITECTURE, labels=LABELS, augmentation=augmentation, fit=fit)


@dataclass(frozen=True)
class Trained:
    """Networks of all corpora but one, and how each answers on the one.

    Attributes:
        dataset: of all corpora.
        answers: on all recordings of each corpus.
        networks: one for each of the answers.
    """

    dataset: Dataset
    answers: tuple[LeftOut, ...]
    networks: tuple[Learned, ...]


def train(made: Recipe, run: Run) -> Trained:
    """Train without each corpus in turn; from the checkpoints of an earlier call where there are some."""
    paths = [WORK / (corpus if "/" in corpus else f"{DATA}/{corpus}") for corpus in CORPORA]
    dataset = load_dataset(paths, labels=LABELS, config=made.network_features, augmentation=made.augmentation, run=run)
    split = hold_out(dataset.utterances, share=made.validation_share, seed=made.fit.seed)
    training, validation = ([dataset.samples[row] for row in part] for part in (split.train, split.held_out))
    folder = WORK / f"unseen-seed{made.fit.seed}"
    folder.mkdir(exist_ok=True)
    networks: list[Learned] = []

    def fit(training: Sequence[Sample], validation: Sequence[Sample], place: Path) -> Learned:
        say(place.name)
        networks.append(
            fit_network(made, training, validation, classes=dataset.classes, folder=place, on_epoch=ignore_epoch)[0]
        )
        return networks[-1]

    found = leave_corpora_out(training, validation, classes=dataset.classes, fit=fit, folder=folder)
    return Trained(dataset, found, tuple(networks))


def answer(made: Recipe, run: Run) -> dict[str, dict[str, LeftOut]]:
    """The answers on each corpus, by condition; everything: all of its recordings as they are."""
    trained = train(made, run)
    return {
        each.corpus: {"everything": each, **_degraded(learned, each, trained.dataset.classes, run)}
        for each, learned in zip(trained.answers, trained.networks, strict=True)
    }


def _degraded(learned: Learned, clean: LeftOut, classes: Sequence[str], run: Run) -> dict[str, LeftOut]:
    say(f"{clean.corpus}, degraded")
    shared = [classes[label] for label in np.unique(clean.truth)]
    answers = {}
    for condition in CONDITIONS:
        samples = load_dataset(
            [WORK / DEGRADED / clean.corpus / condition],
            labels=replace(LABELS, classes=tuple(shared)),
            config=learned.config,
            augmentation=None,
            run=run,
        ).samples
        answers[condition] = predict_left_out(learned, samples, corpus=clean.corpus, classes=classes, shared=shared)
    return answers


def scores(found: Mapping[str, Mapping[str, LeftOut]], condition: str, *, adapted: bool) -> dict[str, dict[str, float]]:
    """UAR in per cent and ECE of each corpus under a condition, calibrated by the other corpora as they are."""
    values = {}
    for corpus, answers in found.items():
        others = [each["everything"] for name, each in found.items() if name != corpus]
        part = answers[condition]
        logs = part.adapted_logs if adapted else part.logs
        probabilities = temperature_scale(logs, fit_temperatures(others)[adapted])
        matrix = confusion_matrix(part.truth, probabilities.argmax(axis=1), n_classes=logs.shape[1])
        ece = expected_calibration_error(probabilities, part.truth)
        values[corpus] = {"uar": 100 * uar(matrix), "ece": ece, "n": float(len(part.truth))}
    return values


def average(values: Mapping[str, Mapping[str, float]], name: str) -> float:
    """The mean over the corpora."""
    return mean(each[name] for each in values.values())


def make_rows(table: Table) -> list[Row]:
    """UAR and calibration on unseen corpora, and what each condition costs."""
    rows = []
    for adapted, way in WAYS.items():
        everything, clean = table["everything", adapted], table[CLEAN, adapted]
        peer = "hybrid, clean, a trial, not adapted"
        rows += [
            Row(
                f"UAR on an unseen corpus, mean, {way}",
                average(everything, "uar"),
                "%",
                LEAST[adapted],
                at_least=True,
                peer=peer,
                peer_figure=EARLIER,
            ),
            Row(f"ECE on an unseen corpus, mean, {way}", average(everything, "ece"), "", MOST_ECE),
        ]
        for condition in CONDITIONS[1:]:
            degraded = table[condition, adapted]
            lost = average(clean, "uar") - average(degraded, "uar")
            rows.append(Row(f"UAR lost, {condition}, {way}", lost, "points", MOST_LOST))
            rows.append(Row(f"ECE, {condition}, {way}", average(degraded, "ece"), ""))
    return rows


def compare(table: Table, seeds: Sequence[int]) -> Comparison:
    """UAR of each corpus under each condition, mean over the seeds."""
    rows = [
        (
            corpus,
            way,
            f"{table['everything', adapted][corpus]['uar']:.1f} ({table['everything', adapted][corpus]['ece']:.2f})",
            *(f"{table[condition, adapted][corpus]['uar']:.1f}" for condition in CONDITIONS),
        )
        for corpus in table["everything", False]
        for adapted, way in WAYS.items()
    ]
    return Comparison(
        "UAR in % of six corpora by networks of the other five (`leave-one-corpus-out`), among the classes that each "
        "shares with the others, calm taken as neutral: all recordings with ECE, then every sixth under each "
        "condition. Adapted: features normalised by the corpus's own recordings, or by those of the condition, "
        "without labels. The babble is six voices of one half of the speakers of CREMA-D, whose other half is the "
        "babble of training; nothing else of it is trained on. Speakers 33 and 34 of BanglaSER, who are in "
        f"`sample_audio/`, take no part. Mean over the seeds {', '.join(map(str, seeds))}.",
        ("unseen corpus", "way", "all (ECE)", *CONDITIONS),
        tuple(rows),
    )


def prepare(args: argparse.Namespace) -> Run:
    """Make the corpora; returns workers and cache."""
    WORK.mkdir(exist_ok=True)
    link_data(args.data)
    make_banglaser()
    make_degraded(CORPORA)
    return Run(Cache(args.cache or default_folder()), jobs=args.jobs)


def measure(seed: int, run: Run) -> Table:
    """Train and score."""
    found = answer(recipe(seed), run)
    return {
        (condition, adapted): scores(found, condition, adapted=adapted)
        for condition in ("everything", *CONDITIONS)
        for adapted in WAYS
    }


def mean_of(tables: Sequence[Mapping[K, Mapping[str, Mapping[str, float]]]]) -> dict[K, dict[str, dict[str, float]]]:
    """The mean over the seeds of every figure."""
    return {
        key: {
            name: {figure: mean(table[key][name][figure] for table in tables) for figure in figures}
            for name, figures in part.items()
        }
        for key, part in tables[0].items()
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Seeds, workers and the cache."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the splits and the trainings")
    parser.add_argument("--jobs", type=int, default=-1, help="worker processes for the features")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="folder of the feature cache")


def main() -> None:
    """Measure, print, and save if asked to."""
    parser = make_parser(__doc__, data=True, quick=False)
    add_options(parser)
    args = parse(parser)
    run = prepare(args)
    tables = [measure(seed, run) for seed in args.seeds]
    table = mean_of(tables)
    rows, comparison = make_rows(table), compare(table, args.seeds)
    print_table(("measure", "serctl", "target", "peer"), [row.cells() for row in rows])
    print_table(comparison.titles, comparison.rows)
    if args.save:
        figures = {
            f"seed {seed}": {f"{condition}, {WAYS[adapted]}": values for (condition, adapted), values in each.items()}
            for seed, each in zip(args.seeds, tables, strict=True)
        }
        save_result("unseen", rows, figures=figures, comparison=comparison)


if __name__ == "__main__":
    main()
