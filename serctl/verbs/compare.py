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
from serctl.metrics import Comparison, paired_differences, paired_number_differences
from serctl.metrics.evaluation import read_any_evaluation
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
    """What an evaluation answered.

    Attributes:
        name: of the evaluation, or of its model.
        rows: of its predictions, by utterance.
        classes: in order; none for numbers.
        stamp: what its training and the utterances share.
    """

    name: str
    rows: dict[Key, dict[str, Any]]
    classes: tuple[str, ...]
    stamp: str

    def numbers(self, keys: Sequence[Key], column: str = "predicted") -> NDArray[np.float64]:
        """Return the predicted or true numbers of utterances, float64, shape (keys,); NaN without speech."""
        return np.array([_number(self.rows[key][column]) for key in keys], np.float64)

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


def compare_models(
    models: Sequence[Bundle], corpora: Sequence[Path], *, run: Run | None = None, seed: int = 0
) -> list[Comparison]:
    """Evaluate models on the same corpora, on the emotions that all know, and compare the first with each other one.

    Args:
        models: two or more.
        corpora: folders of corpora, or manifests.
        run: workers and cache.
        seed: of the draws.

    Returns:
        One comparison for each of the others.

    Raises:
        ConfigError: there is only one model.
        CorpusError: the models and the corpora have fewer than two emotions in common.
        MissingExtraError: the packages of the extra `train` are not installed.
    """
    if len(models) < 2:
        raise ConfigError(f"expected two models or more. Received: {len(models)}")
    labels = _shared_labels(models, corpora)
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for number, model in enumerate(models):
            place = Path(folder) / str(number)
            evaluate_model(corpora, model=model, output=place, labels=labels, run=run, seed=seed)
            answers.append(replace(read_answers(place), name=model.identity))
    return [_compare(answers[0], other, seed) for other in answers[1:]]


def _shared_labels(models: Sequence[Bundle], corpora: Sequence[Path]) -> LabelOptions:
    """The emotions that all models and the corpora know, or the number that all predict."""
    targets = {each.facts.target.scale.name if each.facts.target else "" for each in models}
    if len(targets) > 1:
        raise ConfigError(f"expected models of the same. Received: {', '.join(each or 'emotions' for each in targets)}")
    if target := targets.pop():
        return LabelOptions(target=target)
    known = [label for label in models[0].facts.labels if all(label in each.facts.labels for each in models)]
    return LabelOptions(shared_classes(corpora, known, LabelOptions()))


def read_answers(folder: Path) -> Answers:
    """Read the predictions of an evaluation, and what its training and its utterances share.

    Raises:
        ConfigError: the folder holds no predictions, or no scores.
    """
    path = folder / PREDICTIONS
    try:
        rows = read_report(path)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} is no evaluation: {error}") from error
    columns = rows[0].keys() if rows else set()
    if not {"path", "corpus", "speaker", "predicted"} <= columns or not {"emotion", "truth"} & columns:
        raise ConfigError(f"{folder} is no evaluation: {PREDICTIONS} holds no predictions")
    seen: Counter[tuple[str, str]] = Counter()
    keyed = {}
    for row in rows:
        # Several utterances of a recording are told apart by their order, which is that of the corpus.
        name = str(row["corpus"]), str(row["path"])
        keyed[*name, seen[name]] = row
        seen[name] += 1
    classes = tuple(name[2:] for name in rows[0] if name.startswith("p_"))
    return Answers(str(folder), keyed, classes, stamp(read_any_evaluation(folder)))


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _compare(first: Answers, second: Answers, seed: int) -> Comparison:
    if set(first.classes) != set(second.classes):
        received = ", and ".join(", ".join(each.classes) or "numbers" for each in (first, second))
        raise ConfigError(f"expected evaluations of the same emotions. Received: {received}")
    second = replace(second, classes=first.classes)
    keys = [key for key in first.rows if key in second.rows]
    if not keys:
        raise ConfigError(f"{first.name} and {second.name} have no utterance in common")
    truth = "emotion" if first.classes else "truth"
    if [first.rows[key][truth] for key in keys] != [second.rows[key][truth] for key in keys]:
        raise ConfigError(f"{first.name} and {second.name} have other labels for the same utterances")
    return (_compare_emotions if first.classes else _compare_numbers)(first, second, keys, np.random.default_rng(seed))


def _compare_emotions(first: Answers, second: Answers, keys: Sequence[Key], rng: np.random.Generator) -> Comparison:
    emotions = [str(first.rows[key]["emotion"]) for key in keys]
    speakers = _speakers(first, keys)
    scores = paired_differences(
        [first.classes.index(emotion) for emotion in emotions],
        first.probabilities(keys),
        second.probabilities(keys),
        speakers,
        classes=first.classes,
        rng=rng,
    )
    right = np.array([_right(each, keys) for each in (first, second)])
    return Comparison(
        first.name,
        second.name,
        len(keys),
        len(first.rows.keys() ^ second.rows.keys()),
        scores,
        _means(emotions, right),
        _largest_first(_means(speakers, right)),
        (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())),
        (first.stamp, second.stamp),
    )


def _compare_numbers(first: Answers, second: Answers, keys: Sequence[Key], rng: np.random.Generator) -> Comparison:
    """Compare numbers on the utterances in which both hear speech."""
    spoken = np.isfinite(first.numbers(keys) + second.numbers(keys)).tolist()
    kept = [key for key, is_spoken in zip(keys, spoken, strict=True) if is_spoken]
    truth, ours, theirs = first.numbers(kept, "truth"), first.numbers(kept), second.numbers(kept)
    speakers = _speakers(first, kept)
    scores = paired_number_differences(truth, ours, theirs, speakers, rng=rng)
    errors = np.abs(np.array([ours, theirs]) - truth)
    return Comparison(
        first.name,
        second.name,
        len(kept),
        len(first.rows.keys() ^ second.rows.keys()) + len(keys) - len(kept),
        scores,
        {},
        _largest_first(_means(speakers, errors)),
        (int((errors[0] < errors[1]).sum()), int((errors[1] < errors[0]).sum())),
        (first.stamp, second.stamp),
        numbers=True,
    )


def _speakers(answers: Answers, keys: Sequence[Key]) -> list[str | None]:
    return [answers.rows[key]["speaker"] and f"{key[0]} {answers.rows[key]['speaker']}" for key in keys]


def _largest_first(pairs: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return dict(sorted(pairs.items(), key=lambda item: -abs(item[1][1] - item[1][0])))


def _right(answers: Answers, keys: Sequence[Key]) -> list[bool]:
    return [answers.rows[key]["predicted"] == answers.rows[key]["emotion"] for key in keys]


def _means(groups: Sequence[str | None], values: NDArray[Any]) -> dict[str, tuple[float, float]]:
    """The mean of each group, of the first and of the second; those without a name are left out."""
    found = {}
    for name in dict.fromkeys(groups):
        if name is not None:
            part = values[:, [group == name for group in groups]].mean(axis=1)
            found[name] = (float(part[0]), float(part[1]))
    return found
