"""Federated training against central training: what share of the UAR is left when no recording leaves its party.

python benchmarks/federated.py --data DIR [--settings ravdess languages] [--methods central scaffold] [--save]

Three settings: five parties of RAVDESS and five of ASED, each with speakers of its own, and four parties that are one
language each. The speakers of the test belong to no party. Every cell (setting, fold, seed, method) is trained once, is
kept in runs/ as it ends, and is not trained again. All parties are in one process, with the messages and the rounds of
`serctl federate`; processes: `serctl federate local` with scaffold, so each party is a process and messages go over
TLS. central: one training on the recordings of all parties, with the same recordings held out to choose the epoch;
alone: each party by itself; secure: scaffold with secure aggregation; epsilon: fedavg with noise of the server. The
attack on membership guesses from its loss whether a recording was fitted. Needs serctl[train,federated].
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from _common import Comparison, Row, make_parser, parse, print_table, save_result, say, serctl
from _common import run as run_command
from _runs import THREADS, WORK

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from serctl.corpora import Utterance
    from serctl.learning.calibrate import Learned
    from serctl.learning.dataset import Dataset, Sample
    from serctl.learning.federated.network import LocalNetwork
    from serctl.learning.federated.outcome import Federated
    from serctl.learning.federated.plan import FederationOptions
    from serctl.learning.recipe import Recipe
    from serctl.run import Run

ARCHITECTURE = "speech"
CENTRAL, ALONE, PROCESSES = "central", "alone", "processes"
ROUNDS = 100
FIVE_EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful")


@dataclass(frozen=True)
class Setting:
    """Who the parties are.

    Attributes:
        corpora: folders below --data.
        protocol: whose folds divide speakers of the parties from those of the test, within each corpus.
        parties: how many; 0: one for each language.
        classes: emotions that take part; empty for all.
        target: least share of the central UAR, in percent.
    """

    corpora: tuple[str, ...]
    protocol: str
    parties: int
    title: str
    target: float
    classes: tuple[str, ...] = ()


SETTINGS = {
    "ravdess": Setting(("ravdess",), "emobox-ravdess-6", 5, "RAVDESS, five parties by speaker", 98.0),
    "ased": Setting(("ased",), "speaker-kfold:5", 5, "ASED, five parties by speaker", 98.0),
    "languages": Setting(
        ("ased", "emodb", "emovo", "ravdess"), "speaker-kfold:3", 0, "one language each", 95.0, FIVE_EMOTIONS
    ),
}
METHODS: dict[str, dict[str, Any]] = {
    CENTRAL: {},
    "scaffold": {"strategy": "scaffold"},
    "fedavg": {"strategy": "fedavg"},
    ALONE: {},
    PROCESSES: {"strategy": "scaffold"},
    "fedprox": {"strategy": "fedprox"},
    "secure": {"strategy": "scaffold", "secure": True},
    "epsilon 8": {"strategy": "fedavg", "epsilon": 8.0},
    "epsilon 3": {"strategy": "fedavg", "epsilon": 3.0},
}


@dataclass(frozen=True)
class Cell:
    """A training of the grid, or as many as there are parties."""

    setting: str
    fold: int
    seed: int
    method: str
    rounds: int

    @property
    def path(self) -> Path:
        """Where its figures are kept."""
        name = "-".join(str(each) for each in vars(self).values())
        return WORK / "federated" / f"{name}.json"


@dataclass
class Shares:
    """The recordings of a setting: those of each party, fitted and held out, and those of the test."""

    dataset: Dataset
    fitted: dict[str, list[int]]
    held_out: dict[str, list[int]]
    test: list[int]

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        """Samples by their place."""
        return [self.dataset.samples[row] for row in rows]


def recipe_of(setting: Setting, seed: int) -> Recipe:
    """How the network is made; without changed copies, which keeps the grid short."""
    from serctl.learning.options import Augmentation, FitOptions, LabelOptions
    from serctl.learning.recipe import Recipe

    return Recipe(
        ARCHITECTURE,
        labels=LabelOptions(setting.classes),
        augmentation=Augmentation(copies=0),
        fit=replace(FitOptions.defaults(ARCHITECTURE), seed=seed),
    )


def load(setting: Setting, data: Path, run: Run) -> Dataset:
    """Extract the features of a setting."""
    from serctl.learning.dataset import load_dataset

    recipe = recipe_of(setting, 0)
    paths = [data / name for name in setting.corpora]
    return load_dataset(paths, labels=recipe.labels, config=recipe.extracted_features, augmentation=None, run=run)


def divide(setting: Setting, dataset: Dataset, fold: int, seed: int) -> Shares:
    """Hold the speakers of the fold out, and divide the others among parties."""
    from serctl.corpora import hold_out
    from serctl.learning.federated.parties import split_parties

    utterances = dataset.utterances
    test = tested(setting, utterances, fold)
    rest = sorted(set(range(len(utterances))) - set(test))
    own = [utterances[row] for row in rest]
    values = [each.speaker_id if setting.parties else each.language for each in own]
    parties = split_parties(own, values, setting.parties or len(setting.corpora))
    fitted, held_out = {}, {}
    for name, positions in parties.items():
        rows = [rest[position] for position in positions]
        split = hold_out([utterances[row] for row in rows], share=recipe_of(setting, seed).validation_share, seed=seed)
        fitted[name] = [rows[position] for position in split.train]
        held_out[name] = [rows[position] for position in split.held_out]
    return Shares(dataset, fitted, held_out, test)


def tested(setting: Setting, utterances: Sequence[Utterance], fold: int) -> list[int]:
    """Places of the utterances whose speakers belong to no party: those of this fold (from 1) of each corpus."""
    from serctl.corpora import make_protocol

    test: list[int] = []
    for corpus in setting.corpora:
        rows = [row for row, each in enumerate(utterances) if each.corpus == corpus]
        protocol = make_protocol(setting.protocol, [utterances[row] for row in rows], seed=0)
        test += [rows[position] for position in protocol.folds[fold - 1].test]
    return sorted(test)


def train_whole(recipe: Recipe, shares: Shares, names: Sequence[str]) -> Learned:
    """Train on the recordings of some parties in one place."""
    from serctl.learning.learn import fit_network, ignore_epoch

    fitted = shares.samples([row for name in names for row in shares.fitted[name]])
    held_out = shares.samples([row for name in names for row in shares.held_out[name]])
    with tempfile.TemporaryDirectory() as folder:
        learned, _ = fit_network(
            recipe, fitted, held_out, classes=shares.dataset.classes, folder=Path(folder), on_epoch=ignore_epoch
        )
    return learned


def train_federated(recipe: Recipe, shares: Shares, options: FederationOptions) -> Federated:
    """Train with all parties in this process."""
    from serctl.corpora import Split
    from serctl.learning.dataset import Dataset
    from serctl.learning.federated.client_app import make_app
    from serctl.learning.federated.parties import Party
    from serctl.learning.federated.server_app import Server
    from serctl.learning.federated.simulation import LocalGrid
    from serctl.run import Run

    class Share(Party):
        """A party whose features are here already."""

        def _data(self, plan: Any) -> tuple[Dataset, Split]:
            fitted, held_out = shares.fitted[self.name], shares.held_out[self.name]
            samples = tuple(shares.samples([*fitted, *held_out]))
            present = {each.utterance.emotion for each in samples}
            classes = plan.classes or tuple(each for each in shares.dataset.classes if each in present)
            first = len(fitted)
            rows = tuple(range(first)), tuple(range(first, len(samples)))
            return Dataset(samples, classes, (), ()), Split(*rows, speaker_disjoint=False, reason="")

    networks: dict[str, LocalNetwork] = {}
    parties = [Share(name, [], run=Run(), networks=networks) for name in shares.fitted]
    apps = {node: make_app(party, finish=lambda: None) for node, party in enumerate(parties, start=1)}
    server = Server(LocalGrid(apps), recipe, options, parties=len(apps), checkpoint=None, on_round=lambda _: None)
    return server.run()


def by_processes(cell: Cell, shares: Shares, data: Path) -> dict[str, Any]:
    """Train as `serctl federate local` does, and score the model on the speakers of no party, both as a user would."""
    setting = SETTINGS[cell.setting]
    place = cell.path.with_suffix("")
    shutil.rmtree(place, ignore_errors=True)
    rows = set(shares.test)
    for row, utterance in enumerate(shares.dataset.utterances):
        link = place / ("test" if row in rows else "parties") / utterance.path.relative_to(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(utterance.path.resolve())
    among = ["--parties", setting.parties or len(setting.corpora), "--by", "speaker" if setting.parties else "language"]
    network = ["--arch", ARCHITECTURE, "--copies", 0, "--degraded-copies", 0, "--seed", cell.seed]
    labels = ["--classes", ",".join(setting.classes)] if setting.classes else []
    federation = ["--rounds", cell.rounds, "--strategy", METHODS[PROCESSES]["strategy"]]
    model = place / "model"
    command = [serctl(), "federate", "local", *folders_in(place / "parties"), "-o", model, "--overwrite", "-q"]
    run_command(list(map(str, [*command, *among, *network, *labels, *federation])))
    scores = place / "scores"
    command = [serctl(), "evaluate", *folders_in(place / "test"), "--model", model, "-o", scores, "--overwrite", "-q"]
    run_command(list(map(str, command)))
    made = json.loads((model / "bundle.json").read_text())["training"]["federation"]
    return {
        "uar": {"all": 100 * json.loads((scores / "metrics.json").read_text())["uar"]},
        "bytes": {party["name"]: sum(party["sent"].values()) for party in made["parties"]},
        "best_round": made["best_round"],
        "refused": len(made["refused"]),
    }


def folders_in(place: Path) -> list[Path]:
    """The corpora there."""
    return sorted(place.iterdir())


def learned_of(found: Federated) -> Learned:
    """The network of a federated training, as prediction takes it."""
    from serctl.learning.calibrate import Learned
    from serctl.learning.federated.network import in_order
    from serctl.learning.fit import Fitted, restore

    weights = in_order(found.plan.architecture, found.spec, found.weights)
    network = restore(found.plan.architecture, found.spec, weights)
    fitted = Fitted(network, [], {}, found.best_round)
    return Learned(fitted, found.normaliser, found.plan.recipe.network_features, found.spec, found.temperature)


def scores_of(learned: Learned, shares: Shares) -> dict[str, Any]:
    """How a network does on the speakers of no party, and what it tells of those of the parties.

    The attack on membership takes a recording for one that was fitted if the loss of its emotion is small (Yeom et al.
    2018, arXiv:1709.01604): its AUC is 0.5 where that tells nothing.
    """
    import numpy as np

    from serctl.learning.calibrate import predict_samples

    classes = shares.dataset.classes
    test = shares.samples(shares.test)
    fitted = shares.samples([row for rows in shares.fitted.values() for row in rows])
    likelihoods = []
    for samples in (test, fitted):
        predicted = np.nan_to_num(predict_samples(learned, samples))
        truth = [classes.index(each.utterance.emotion) for each in samples]
        likelihoods.append(predicted[np.arange(len(samples)), truth])
    return {"uar": uar_of(learned, test, classes), "membership_auc": auc(*likelihoods)}


def auc(lower: NDArray[np.float64], higher: NDArray[np.float64]) -> float:
    """Chance that a number of the second array is above one of the first; half of it where they are equal."""
    above = (higher[:, None] > lower).mean()
    return float(above + 0.5 * (higher[:, None] == lower).mean())


def uar_of(learned: Learned, samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, float]:
    """UAR in percent of all samples, and of those of each corpus."""
    import numpy as np

    from serctl.learning.calibrate import predict_samples

    predicted = predict_samples(learned, samples)
    truth = np.array([classes.index(each.utterance.emotion) for each in samples])
    corpora = np.array([each.utterance.corpus for each in samples])
    found = {"all": percent(predicted, truth)}
    return found | {str(name): percent(predicted[corpora == name], truth[corpora == name]) for name in set(corpora)}


def percent(predicted: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """UAR over the classes that occur; an utterance without speech is wrong."""
    import numpy as np

    answers = np.where(np.isnan(predicted).any(axis=1), -1, np.nan_to_num(predicted).argmax(axis=1))
    return 100 * mean(float((answers[truth == each] == each).mean()) for each in set(truth.tolist()))


def measure(cell: Cell, shares: Shares, data: Path) -> dict[str, Any]:
    """Train a cell and score it on the speakers that belong to no party."""
    import keras

    from serctl.learning.federated.plan import FederationOptions

    setting = SETTINGS[cell.setting]
    recipe, classes = recipe_of(setting, cell.seed), shares.dataset.classes
    test = shares.samples(shares.test)
    began, cpu = time.monotonic(), cpu_s()
    figures: dict[str, Any] = {}
    if cell.method == CENTRAL:
        figures |= scores_of(train_whole(recipe, shares, list(shares.fitted)), shares)
    elif cell.method == ALONE:
        each = {name: uar_of(train_whole(recipe, shares, [name]), test, classes)["all"] for name in shares.fitted}
        figures |= {"uar": {"all": mean(each.values())}, "parties": each}
    elif cell.method == PROCESSES:
        figures |= by_processes(cell, shares, data)
    else:
        options = FederationOptions(rounds=cell.rounds, **METHODS[cell.method])
        found = train_federated(recipe, shares, options)
        figures |= scores_of(learned_of(found), shares)
        figures["bytes"] = {party.name: sum(found.traffic[party.name].sent.values()) for party in found.parties}
        figures |= {"best_round": found.best_round, "refused": len(found.refused)}
    keras.utils.clear_session()
    return figures | {"wall_s": time.monotonic() - began, "cpu_s": cpu_s() - cpu, "test": len(test)}


def cpu_s() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rows_of(found: dict[Cell, dict[str, Any]]) -> list[Row]:
    """The share of the central UAR, over the cells whose central training is there; how well membership is guessed."""
    rows = []
    for name, setting in SETTINGS.items():
        for method in METHODS:
            shares = shares_of(found, name, method)
            if shares and method != CENTRAL:
                label = f"{setting.title}: {method}, share of the central UAR ({len(shares)} of fold and seed)"
                target = setting.target if method == "scaffold" else None
                rows.append(Row(label, mean(shares), "%", target, at_least=True))
            attacked = [
                figures["membership_auc"]
                for cell, figures in found.items()
                if (cell.setting, cell.method) == (name, method) and "membership_auc" in figures
            ]
            if attacked:
                label = f"{setting.title}: {method}, AUC of the attack on membership ({len(attacked)} of fold and seed)"
                rows.append(Row(label, mean(attacked), ""))
    return rows


def shares_of(found: dict[Cell, dict[str, Any]], setting: str, method: str) -> list[float]:
    """UAR of a method as percentages of the central one of the same fold and seed."""
    shares = []
    for cell, figures in found.items():
        central = found.get(replace(cell, method=CENTRAL))
        if (cell.setting, cell.method) == (setting, method) and central:
            shares.append(100 * figures["uar"]["all"] / central["uar"]["all"])
    return shares


def table_of(found: dict[Cell, dict[str, Any]]) -> Comparison:
    """Every cell."""
    lines = []
    for cell, figures in sorted(found.items(), key=lambda item: tuple(map(str, vars(item[0]).values()))):
        sent = max(figures.get("bytes", {"": 0}).values()) / 1e6
        lines.append(
            (
                cell.setting,
                f"{cell.fold} / {cell.seed}",
                cell.method,
                f"{figures['uar']['all']:.1f}",
                f"{figures['membership_auc']:.2f}" if "membership_auc" in figures else "",
                f"{sent:.0f}" if sent else "",
                f"{figures['cpu_s']:.0f}",
            )
        )
    titles = ("setting", "fold / seed", "method", "UAR %", "membership AUC", "MB sent by a party, at most", "CPU s")
    caption = "Every training: all parties in one process; with `processes`, each in its own."
    return Comparison(caption, titles, tuple(lines))


def finished() -> dict[Cell, dict[str, Any]]:
    """The cells that are kept."""
    found = {}
    for path in sorted((WORK / "federated").glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["cell"]["method"] in METHODS:
            found[Cell(**kept["cell"])] = kept["figures"]
    return found


def run_cells(args: argparse.Namespace) -> None:
    """Train what is asked for and not kept yet."""
    from serctl.cache import Cache, default_folder
    from serctl.learning.backend import import_tensorflow
    from serctl.run import Run

    import_tensorflow()
    (WORK / "federated").mkdir(parents=True, exist_ok=True)
    for name in args.settings:
        cells = [
            Cell(name, fold, seed, method, args.rounds)
            for seed in args.seeds
            for fold in args.folds
            for method in args.methods
        ]
        missing = [cell for cell in cells if not cell.path.exists()]
        if not missing:
            continue
        setting = SETTINGS[name]
        dataset = load(setting, args.data, Run(Cache(default_folder()), jobs=1))
        for cell in missing:
            figures = measure(cell, divide(setting, dataset, cell.fold, cell.seed), args.data)
            say(f"{cell.path.stem}: UAR {figures['uar']['all']:.1f}, {figures['cpu_s']:.0f} s of CPU")
            cell.path.write_text(json.dumps({"cell": vars(cell), "figures": figures}, indent=1), encoding="utf-8")


def main() -> None:
    """Measure, print, save."""
    parser = make_parser(__doc__, data=True, quick=False)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--folds", type=int, nargs="+", default=[1], metavar="N", help="from 1 (default: 1)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="default: %(default)s")
    args = parse(parser)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    run_cells(args)
    found = finished()
    rows, table = rows_of(found), table_of(found)
    print_table(table.titles, table.rows)
    for row in rows:
        print(": ".join(row.cells()[:3]))
    if args.save:
        cells = [{**vars(cell), **figures} for cell, figures in found.items()]
        save_result("federated", rows, figures={"cells": cells}, comparison=table)


if __name__ == "__main__":
    main()
