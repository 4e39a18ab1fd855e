"""Evaluate: a model on a labelled corpus, or an architecture by cross-validation."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl import __version__
from serctl.bundle.versions import current_commit, package_versions
from serctl.corpora import Fold, Protocol, check_protocol, hold_out, make_protocol, testable
from serctl.errors import ConfigError, CorpusError
from serctl.files import atomic_folder, atomic_path, check_new_folder, claiming, naming
from serctl.learning.adapt import predict_with_model, predict_with_network
from serctl.learning.calibrate import choose_among, restrict
from serctl.learning.checkpoints import open_checkpoints, removed_when_done
from serctl.learning.dataset import Dataset, load_dataset, normalise_speakers, shared_classes
from serctl.learning.leakage import fold_leakage, leakage_facts, speaker_anywhere
from serctl.learning.learn import ignore_epoch, learn
from serctl.learning.options import LabelOptions, ProtocolOptions
from serctl.learning.recipe import Recipe, check_recipe, with_known_classes
from serctl.learning.words import mix_words, words_status
from serctl.metrics import score, score_numbers
from serctl.metrics.evaluation import METRICS, evaluation_dict
from serctl.metrics.intervals import json_number
from serctl.metrics.numbers import NUMBER_SCORES
from serctl.run import Run
from serctl.runtime.trial import try_network
from serctl.verbs.number_results import NumberResults
from serctl.verbs.results import EmotionResults, Tested
from serctl.verbs.transcribed import check_readable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.facts import TrainingEntry
    from serctl.bundle.store import Bundle
    from serctl.learning.fit import EpochCallback
    from serctl.metrics import NumberScores, Scores
    from serctl.metrics.evaluation import AnyEvaluation


FoldCallback = Callable[[Fold, int, int], None]


@dataclass(frozen=True)
class CrossValidation(ProtocolOptions, Recipe):
    """A protocol, and the recipe of the networks of its folds; no choice depends on a test part."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, as written to the folder; facts: what metrics.json says."""

    folder: Path
    scores: Scores | NumberScores
    facts: AnyEvaluation
    problems: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return evaluation_dict(self.facts)


def ignore_fold(fold: Fold, number: int, total: int) -> None:
    """No-op callback."""


@claiming
def evaluate_model(
    paths: Sequence[Path],
    *,
    model: Bundle,
    output: Path,
    labels: LabelOptions,
    run: Run | None = None,
    seed: int = 0,
    adapt: bool = False,
) -> Evaluation:
    """Score a model on the corpora, on the classes that both know, and state which of them it was trained on.

    Where a manifest marks utterances as test, only these are scored. With adapt, each corpus is normalised by its own
    recordings, as predict does when it adapts to recordings of any mix.

    Raises:
        ConfigError: the output exists, or a class is asked for that the model does not know.
        CorpusError: the corpora and the model share fewer than two classes.
    """
    run = run or Run()
    check_new_folder(output, overwrite=run.overwrite, mark=METRICS, kind="an evaluation")
    try_network(model)
    commit = current_commit()
    dataset = load_dataset(
        paths,
        labels=_labels_for(model, labels, paths),
        config=model.facts.features,
        augmentation=None,
        run=run,
    )
    originals = tuple(dataset.samples[index] for index in testable(dataset.utterances))
    if not originals:
        raise CorpusError("expected original recordings to score the model on, found augmented copies alone")
    marked = tuple(sample for sample in originals if sample.utterance.split == "test")
    target = model.facts.target
    dataset = replace(dataset, samples=marked or originals, scale=target.scale if target else None)
    everything = predict_with_model(model, dataset.samples, adapt=adapt)
    words: Counter[str] | None = None
    if model.facts.features.text_encoder:
        words = Counter(words_status(sample.utterance) for sample in dataset.samples)
    elif labels.transcripts:
        everything, words = mix_words(everything, dataset.samples, model.facts.labels)
    tested = Tested(
        dataset.utterances,
        dataset.values if target else dataset.labels,
        everything if target else restrict(everything, model.facts.labels, dataset.classes),
        ("test",) * len(dataset.samples),
    )
    part = "the test part" if marked else "all"
    what = "" if target else ", on the classes that both know"
    protocol = {
        "name": "model",
        "speaker_independent": None,
        "description": f"a trained model on {part} of the corpus{what}",
    }
    seen = model.training_list()
    shared = leakage_facts(
        {entry.origin for entry in seen},
        _trained_speakers(model, seen),
        dataset.samples,
        [speaker_anywhere(utterance.corpus, utterance.speaker) for utterance in dataset.utterances],
    )
    about = {"model": model.identity, "architecture": model.facts.architecture, "parameters": model.facts.parameters}
    facts = {**about, "protocol": protocol, "leakage": asdict(shared), "seed": seed, "commit": commit, "adapted": adapt}
    if words:
        facts["text"] = dict(words)
    return _write(output, tested, dataset, facts, seed=seed)


def _trained_speakers(model: Bundle, seen: Sequence[TrainingEntry]) -> list[str | None]:
    """Who a model was trained on; of a federated training, only the parties know it."""
    if model.facts.training.federation:
        return [None] * model.facts.training.utterances
    return [speaker_anywhere(entry.corpus, entry.speaker) for entry in seen]


@claiming
def cross_validate(
    paths: Sequence[Path],
    *,
    output: Path,
    options: CrossValidation,
    run: Run | None = None,
    command: str = "",
    on_fold: FoldCallback = ignore_fold,
    on_epoch: EpochCallback = ignore_epoch,
) -> Evaluation:
    """Train and test the architecture on every fold of the protocol, and write the scores of all tests together.

    Each fold is saved to OUTPUT.partial as it ends; resume continues from there.

    Raises:
        ConfigError: the output exists, or the folds of another run are there.
        CorpusError: the corpora do not suffice.
    """
    run = run or Run()
    check_new_folder(output, overwrite=run.overwrite, mark=METRICS, kind="an evaluation")
    check_protocol(options.protocol)
    commit = current_commit()
    dataset = load_dataset(
        paths,
        labels=options.labels,
        config=options.extracted_features,
        augmentation=options.augmentation,
        run=run,
        check=lambda utterances: make_protocol(options.protocol, utterances, seed=options.fit.seed),
    )
    if options.normalise_speakers:
        dataset = replace(dataset, samples=tuple(normalise_speakers(dataset.samples)))
    dataset = with_known_classes(dataset, options)
    check_recipe(options, dataset)
    protocol = make_protocol(options.protocol, dataset.utterances, seed=options.fit.seed)
    work = open_checkpoints(
        output.with_name(f"{output.name}.partial"),
        _fingerprint(options, dataset),
        resume=run.resume,
        overwrite=run.overwrite,
    )
    with removed_when_done(work), naming(output):
        folds = []
        for number, fold in enumerate(protocol.folds, start=1):
            on_fold(fold, number, len(protocol.folds))
            folder = work / f"fold-{number:02d}"
            folds.append(_run_fold(fold, dataset, options, folder, on_epoch, by_speaker=protocol.speaker_independent))
        facts = {**_fold_facts(folds, dataset, protocol, options), "command": command, "commit": commit}
        return _write(output, _collect(dataset, protocol, folds), dataset, facts, seed=options.fit.seed)


def _fold_facts(
    folds: Sequence[Mapping[str, Any]], dataset: Dataset, protocol: Protocol, options: CrossValidation
) -> dict[str, Any]:
    return {
        "architecture": options.architecture,
        "parameters": folds[0]["parameters"],
        "protocol": {
            "name": protocol.name,
            "speaker_independent": protocol.speaker_independent,
            "description": protocol.description,
            "validation": f"{options.validation_share:.0%} of each fold's training part chooses epoch and temperature: "
            + "; ".join(sorted({fold["validation"] for fold in folds})),
        },
        "transductive": options.normalise_speakers,
        "adapted": options.adapt,
        "leakage": asdict(fold_leakage(dataset, protocol, options.earlier_models)),
        "seed": options.fit.seed,
        **({} if dataset.scale else {"uar_fold_mean": float(np.mean([fold["uar"] for fold in folds]))}),
        "per_fold": [{key: value for key, value in fold.items() if key != "probabilities"} for fold in folds],
        "base": options.base.identity if options.base else None,
        "teachers": [teacher.identity for teacher in options.teachers],
        "fit": options.fit.to_dict(),
        "augmentation": options.augmentation.to_dict(),
        "features": {**options.network_features.to_dict(), "digest": options.network_features.digest()},
    }


def _labels_for(model: Bundle, labels: LabelOptions, paths: Sequence[Path]) -> LabelOptions:
    """What is read of the corpora: the numbers that the model predicts, or the emotions that it knows."""
    if labels.transcripts and not model.facts.features.text_encoder:
        check_readable(model.facts.labels)
    if model.facts.target:
        name = model.facts.target.scale.name
        if labels.target not in (None, name) or labels.classes or labels.mapping:
            raise ConfigError(f"{model.identity} predicts {name}: expected nothing else to score it on")
        return LabelOptions(target=name, transcripts=labels.transcripts)
    if labels.target:
        raise ConfigError(f"{model.identity} predicts {', '.join(model.facts.labels)}: expected no number to score")
    foreign = sorted(set(labels.classes) - set(model.facts.labels))
    if foreign:
        raise ConfigError(f"{model.identity} knows no {', '.join(foreign)}: expected {', '.join(model.facts.labels)}")
    return labels if labels.classes else replace(labels, classes=shared_classes(paths, model.facts.labels, labels))


def _fingerprint(options: CrossValidation, dataset: Dataset) -> str:
    utterances = [(sample.digest, asdict(sample.utterance)) for sample in dataset.samples]
    text = json.dumps([__version__, options.to_dict(), utterances], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _run_fold(
    fold: Fold, dataset: Dataset, options: CrossValidation, folder: Path, on_epoch: EpochCallback, *, by_speaker: bool
) -> dict[str, Any]:
    """Train and test one fold, or read what was saved of it; by_speaker: whether it tests on speakers of its own."""
    saved = folder / "result.json"
    if saved.exists():
        result: dict[str, Any] = json.loads(saved.read_text())
        return result
    folder.mkdir(exist_ok=True)
    candidates = [dataset.samples[index] for index in fold.train]
    split = hold_out(
        [dataset.utterances[index] for index in fold.train],
        share=options.validation_share,
        seed=options.fit.seed,
        by_speaker=by_speaker,
    )
    learned = learn(
        options,
        [candidates[index] for index in split.train],
        [candidates[index] for index in split.held_out],
        classes=dataset.classes,
        folder=folder,
        on_epoch=on_epoch,
        scale=dataset.scale,
    )
    tested = [dataset.samples[index] for index in fold.test]
    probabilities = predict_with_network(learned, tested, adapt=options.adapt)
    probabilities = choose_among(probabilities, dataset.classes, fold.classes)
    result = {
        "fold": fold.name,
        "n_train": len(split.train),
        "n_validation": len(split.held_out),
        "n_test": len(fold.test),
        **_brief_scores(fold, dataset, probabilities),
        "best_epoch": learned.fitted.best_epoch,
        "epochs": len(learned.fitted.history["loss"]),
        "temperature": learned.temperature,
        "validation": split.reason,
        "validation_ccc" if dataset.scale else "validation_uar": json_number(learned.fitted.validation_score),
        "parameters": learned.parameters,
        "history": {name: list(map(json_number, each)) for name, each in learned.fitted.history.items()},
        "probabilities": probabilities.tolist(),
    }
    with atomic_path(saved) as draft:
        draft.write_text(json.dumps(result))
    return result


def _brief_scores(fold: Fold, dataset: Dataset, probabilities: NDArray[np.float64]) -> dict[str, float | None]:
    """The scores of a fold for metrics.json."""
    tested = list(fold.test)
    if dataset.scale:
        numbers = score_numbers(dataset.values[tested], dataset.scale.values(probabilities), groups=None, seed=0)
        return {name: json_number(getattr(numbers, name)) for name in NUMBER_SCORES}
    scores = score(dataset.labels[tested], probabilities, classes=dataset.classes, groups=None, seed=0)
    return {"uar": scores.uar, "wa": scores.wa, "ece": scores.ece}


def _collect(dataset: Dataset, protocol: Protocol, folds: Sequence[Mapping[str, Any]]) -> Tested:
    """All test parts, one after the other."""
    order = [index for fold in protocol.folds for index in fold.test]
    return Tested(
        tuple(dataset.utterances[index] for index in order),
        (dataset.values if dataset.scale else dataset.labels)[order],
        np.concatenate([np.array(fold["probabilities"]) for fold in folds]),
        tuple(fold.name for fold in protocol.folds for _ in fold.test),
    )


def _write(output: Path, tested: Tested, dataset: Dataset, about: dict[str, Any], *, seed: int) -> Evaluation:
    results: EmotionResults | NumberResults
    if dataset.scale:
        results = NumberResults(tested, dataset.scale, seed)
    else:
        results = EmotionResults(tested, dataset.classes, seed)
    values = {
        **about,
        "corpus": sorted({utterance.corpus for utterance in tested.utterances}),
        "left_out": dataset.left_out,
        "package_version": __version__,
        "packages": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_folder(output) as draft:
        facts = results.write(draft, values)
        text = json.dumps(evaluation_dict(facts), indent=1, ensure_ascii=False) + "\n"
        (draft / METRICS).write_text(text, encoding="utf-8")
    return Evaluation(output, results.scores, facts, dataset.problems)
