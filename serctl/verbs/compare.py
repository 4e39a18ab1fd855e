"""Compare evaluations of two or more models, or the models themselves, on the same utterances."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError
from serctl.learning.dataset import shared_classes
from serctl.learning.options import LabelOptions
from serctl.metrics import Comparison, paired_differences
from serctl.reports.markdown import stamp
from serctl.reports.tables import read_report
from serctl.verbs.evaluate import evaluate_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.run import Run

PREDICTIONS = "predictions.parquet"

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Answers:
    """What an evaluation answered: rows of its predictions by utterance, and its classes in order."""

    name: str
    rows: dict[Key, dict[str, Any]]
    classes: tuple[str, ...]

    def probabilities(self, keys: Sequence[Key]) -> NDArray[np.float64]:
        """Return the probabilities of utterances, float64, shape (keys, classes); NaN without speech."""
        return np.array(
            [[_number(self.rows[key][f"p_{emotion}"]) for emotion in self.classes] for key in keys], np.float64
        )


def compare(folders: Sequence[Path], *, seed: int = 0) -> list[Comparison]:
    """Compare the first evaluation with each of the others.

    Args:
        folders: of evaluations, two or more.
        seed: of the draws.

    Returns:
        One comparison for each of the others.

    Raises:
        ConfigError: a folder is no evaluation, or two have other classes or no utterance in common.
        MissingExtraError: pyarrow is not installed.
    """
    if len(folders) < 2:
        raise ConfigError(f"expected two evaluations or more. Received: {len(folders)}")
    first, *others = map(read_answers, folders)
    return [_compare(first, other, seed) for other in others]


@dataclass(frozen=True)
class ComparedModels:
    """Models on the same corpora.

    Attributes:
        comparisons: of the first model with each of the others.
        stamps: for each model, its name and what its training and the corpora share.
    """

    comparisons: list[Comparison]
    stamps: tuple[tuple[str, str], ...]


def compare_models(
    models: Sequence[Bundle], corpora: Sequence[Path], *, run: Run | None = None, seed: int = 0
) -> ComparedModels:
    """Evaluate models on the same corpora, on the emotions that all know, and compare the first with each other one.

    Args:
        models: two or more.
        corpora: folders of corpora, or manifests.
        run: workers and cache.
        seed: of the draws.

    Raises:
        ConfigError: there is only one model.
        CorpusError: the models and the corpora have fewer than two emotions in common.
        MissingExtraError: the packages of the extra `train` are not installed.
    """
    if len(models) < 2:
        raise ConfigError(f"expected two models or more. Received: {len(models)}")
    known = [label for label in models[0].facts.labels if all(label in each.facts.labels for each in models)]
    labels = LabelOptions(shared_classes(corpora, known, LabelOptions()))
    answers, stamps = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, model in enumerate(models):
            place = Path(folder) / str(number)
            evaluation = evaluate_model(corpora, model=model, output=place, labels=labels, run=run, seed=seed)
            stamps.append((model.identity, stamp(evaluation.metrics)))
            answers.append(replace(read_answers(place), name=model.identity))
    return ComparedModels([_compare(answers[0], other, seed) for other in answers[1:]], tuple(stamps))


def read_answers(folder: Path) -> Answers:
    """Read the predictions of an evaluation.

    Raises:
        ConfigError: the folder holds none.
    """
    path = folder / PREDICTIONS
    try:
        rows = read_report(path)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} is no evaluation: {error}") from error
    if not rows or not {"path", "corpus", "speaker", "emotion", "predicted"} <= rows[0].keys():
        raise ConfigError(f"{folder} is no evaluation: {PREDICTIONS} holds no predictions of emotions")
    seen: Counter[tuple[str, str]] = Counter()
    keyed = {}
    for row in rows:
        # Several utterances of a recording are told apart by their order, which is that of the corpus.
        name = str(row["corpus"]), str(row["path"])
        keyed[*name, seen[name]] = row
        seen[name] += 1
    classes = tuple(name[2:] for name in rows[0] if name.startswith("p_"))
    return Answers(str(folder), keyed, classes)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _compare(first: Answers, second: Answers, seed: int) -> Comparison:
    if set(first.classes) != set(second.classes):
        received = f"{', '.join(first.classes)}, and {', '.join(second.classes)}"
        raise ConfigError(f"expected evaluations of the same emotions. Received: {received}")
    second = Answers(second.name, second.rows, first.classes)
    keys = [key for key in first.rows if key in second.rows]
    if not keys:
        raise ConfigError(f"{first.name} and {second.name} have no utterance in common")
    emotions = [str(first.rows[key]["emotion"]) for key in keys]
    if emotions != [str(second.rows[key]["emotion"]) for key in keys]:
        raise ConfigError(f"{first.name} and {second.name} have other labels for the same utterances")
    speakers = [first.rows[key]["speaker"] and f"{key[0]} {first.rows[key]['speaker']}" for key in keys]
    scores = paired_differences(
        [first.classes.index(emotion) for emotion in emotions],
        first.probabilities(keys),
        second.probabilities(keys),
        speakers,
        classes=first.classes,
        rng=np.random.default_rng(seed),
    )
    right = np.array([_right(each, keys) for each in (first, second)])
    per_speaker = _shares(speakers, right)
    return Comparison(
        first.name,
        second.name,
        len(keys),
        len(first.rows.keys() ^ second.rows.keys()),
        scores,
        _shares(emotions, right),
        dict(sorted(per_speaker.items(), key=lambda item: -abs(item[1][1] - item[1][0]))),
        (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())),
    )


def _right(answers: Answers, keys: Sequence[Key]) -> list[bool]:
    return [answers.rows[key]["predicted"] == answers.rows[key]["emotion"] for key in keys]


def _shares(groups: Sequence[str | None], right: NDArray[np.bool_]) -> dict[str, tuple[float, float]]:
    """The share that is right in each group, of the first and of the second; those without a name are left out."""
    found = {}
    for name in dict.fromkeys(groups):
        if name is not None:
            part = right[:, [group == name for group in groups]].mean(axis=1)
            found[name] = (float(part[0]), float(part[1]))
    return found
