"""Networks trained on speech whose words say nothing: cnn, cnn3d, and coattention with its words and without them.

RAVDESS (folds of EmoBox, 8 classes) and CREMA-D (happy and sad, the classes that its selection has enough of) are fixed
sentences: what coattention is told of them may neither help nor cost anything. Each network is trained once a fold,
without augmented copies; coattention answers its test part twice. What is done is kept in runs/, so that a call that
was interrupted goes on there.

    python benchmarks/text_networks.py --data DIR [--corpora cremad,ravdess] [--folds 1] [--save]
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import Row, finish, make_parser, parse, say
from _runs import WORK

from serctl.cache import Cache, default_folder
from serctl.corpora import hold_out, make_protocol
from serctl.learning.adapt import predict_with_network
from serctl.learning.backend import import_tensorflow
from serctl.learning.dataset import load_dataset
from serctl.learning.learn import ignore_epoch, learn
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.learning.recipe import Recipe
from serctl.metrics import score
from serctl.run import Run

if TYPE_CHECKING:
    from serctl.corpora import Fold
    from serctl.learning.dataset import Dataset, Sample

CORPORA = {"cremad": ("speaker-kfold:5", ("happy", "sad")), "ravdess": ("emobox-ravdess-6", ())}
"""Protocol and classes of each corpus; no classes stand for all."""

NETWORKS = ("cnn", "cnn3d", "coattention")
EPOCHS, SEED = 10, 0
WITH_WORDS, WITHOUT_WORDS = "coattention", "coattention without words"
VALIDATION_SHARE = 0.1
MOST_LOST = 0.5


def network_rows(data: Path, corpora: list[str], folds: int) -> list[Row]:
    """Train what is not trained yet, and compare the UAR of all test parts together.

    Args:
        data: folder of the corpora.
        corpora: names of them.
        folds: how many of each protocol, from the first on.
    """
    WORK.mkdir(exist_ok=True)
    answers: dict[str, list[dict[str, Any]]] = {corpus: [] for corpus in corpora}
    for number in range(folds):
        for corpus in corpora:
            answers[corpus] += [trained(data, corpus, number, network) for network in NETWORKS]
    return [row for corpus in corpora for row in _rows_of(corpus, answers[corpus], folds)]


def trained(data: Path, corpus: str, number: int, network: str) -> dict[str, Any]:
    """Train and test a network on a fold, or read what was kept of it."""
    kept = WORK / f"words-{corpus}-{network}-fold{number + 1}-{EPOCHS}.json"
    if not kept.exists():
        say(f"{network} on {corpus}, fold {number + 1}")
        kept.write_text(json.dumps(train_and_test(data, corpus, number, network)), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def train_and_test(data: Path, corpus: str, number: int, network: str) -> dict[str, Any]:
    """Train on speakers of the corpus and test on others; coattention with their words and without."""
    import_tensorflow()
    protocol, classes = CORPORA[corpus]
    recipe = Recipe(
        network, fit=FitOptions(epochs=EPOCHS, patience=EPOCHS, seed=SEED), augmentation=Augmentation(copies=0)
    )
    dataset = load_dataset(
        [data / corpus],
        labels=LabelOptions(classes=classes),
        config=recipe.extracted_features,
        augmentation=None,
        run=Run(Cache(default_folder()), jobs=1),
    )
    fold = make_protocol(protocol, dataset.utterances, seed=SEED).folds[number]
    training, validation = _parts(dataset, fold)
    with tempfile.TemporaryDirectory() as folder:
        learned = learn(
            recipe, training, validation, classes=dataset.classes, folder=Path(folder), on_epoch=ignore_epoch
        )
    tested = [dataset.samples[index] for index in fold.test]
    asked = {network: tested}
    if recipe.architecture_facts.text_encoder:
        asked[WITHOUT_WORDS] = [without_words(sample) for sample in tested]
    return {
        "fold": fold.name,
        "classes": dataset.classes,
        "parameters": learned.parameters,
        "truth": dataset.labels[list(fold.test)].tolist(),
        "speakers": [sample.utterance.speaker_id for sample in tested],
        "answers": {
            name: predict_with_network(learned, samples, adapt=False).round(5).tolist()
            for name, samples in asked.items()
        },
    }


def _parts(dataset: Dataset, fold: Fold) -> tuple[list[Sample], list[Sample]]:
    """Samples to fit the network, and those of other speakers that choose the epoch."""
    candidates = [dataset.samples[index] for index in fold.train]
    utterances = [sample.utterance for sample in candidates]
    split = hold_out(utterances, share=VALIDATION_SHARE, seed=SEED, by_speaker=True)
    return [candidates[index] for index in split.train], [candidates[index] for index in split.held_out]


def without_words(sample: Sample) -> Sample:
    """Return the sample as if it had no transcript."""
    return replace(sample, windows=tuple(replace(window, tokens=None) for window in sample.windows))


def _rows_of(corpus: str, answers: list[dict[str, Any]], folds: int) -> list[Row]:
    scores = {name: uar(answers, name) for name in (*NETWORKS, WITHOUT_WORDS)}
    numbers = "fold 1" if folds == 1 else f"folds 1 to {folds}"
    where = f"{corpus}, {numbers} of {CORPORA[corpus][0]}, {EPOCHS} epochs"
    return [
        *(Row(f"{where}: UAR of {name}", figure, "%") for name, figure in scores.items()),
        Row(f"{where}: lost by coattention to cnn3d", scores["cnn3d"] - scores[WITH_WORDS], "points", MOST_LOST),
        Row(f"{where}: lost by coattention without its words", scores[WITH_WORDS] - scores[WITHOUT_WORDS], "points"),
    ]


def uar(answers: list[dict[str, Any]], name: str) -> float:
    """UAR of a network over the test parts of all folds, in %."""
    folds = [each for each in answers if name in each["answers"]]
    return 100 * float(
        score(
            np.concatenate([each["truth"] for each in folds]),
            np.concatenate([each["answers"][name] for each in folds]),
            classes=folds[0]["classes"],
            groups=[speaker for each in folds for speaker in each["speakers"]],
            seed=SEED,
        ).uar
    )


def main() -> None:
    """Train, compare and print."""
    parser = make_parser(__doc__, data=True, quick=False)
    parser.add_argument("--corpora", default=",".join(CORPORA), help="which of them, separated by commas")
    parser.add_argument("--folds", type=int, default=1, help="how many folds of each, from the first on")
    args = parse(parser)
    rows = network_rows(args.data, args.corpora.split(","), args.folds)
    finish("text-networks", rows, figures={}, save=args.save)


if __name__ == "__main__":
    main()
