"""Evaluate: a model on a labelled corpus, or an architecture by cross-validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl import __version__
from serctl.bundle.evaluation import METRICS, METRICS_VERSION
from serctl.bundle.versions import current_commit, package_versions
from serctl.corpora import Fold, Protocol, Utterance, check_protocol, hold_out, make_protocol, testable
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
from serctl.metrics import Scores, coverage_risk, reliability_curve, score, score_by
from serctl.reports.evaluation import write_evaluation_page
from serctl.reports.markdown import evaluation_page
from serctl.reports.plots import plot_confusion, plot_history, plot_reliability, plot_speakers
from serctl.reports.schema import NO_SPEECH, Column
from serctl.reports.tables import write_report
from serctl.run import Run
from serctl.runtime.trial import try_network

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.learning.fit import EpochCallback


_TRUTH = "truth \\ predicted"
_DESCRIBED = ("path", "fold", "corpus", "speaker", "gender", "language", "emotion", "predicted")

FoldCallback = Callable[[Fold, int, int], None]


@dataclass(frozen=True)
class CrossValidation(ProtocolOptions, Recipe):
    """A protocol, and the recipe of the networks of its folds; no choice depends on a test part."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, as written to the folder; metrics is the content of metrics.json."""

    folder: Path
    scores: Scores
    metrics: dict[str, Any]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Tested:
    """Utterances with their truth (index of the class), probabilities (n, classes), nan without speech, and fold."""

    utterances: tuple[Utterance, ...]
    truth: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    folds: tuple[str, ...]

    @property
    def with_speech(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Truth and probabilities of the utterances in which speech was found: the others have no confidence."""
        spoken = ~np.isnan(self.probabilities).all(axis=1)
        return self.truth[spoken], self.probabilities[spoken]


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
    foreign = sorted(set(labels.classes) - set(model.facts.labels))
    if foreign:
        raise ConfigError(f"{model.identity} knows no {', '.join(foreign)}: expected {', '.join(model.facts.labels)}")
    dataset = load_dataset(
        paths,
        labels=labels
        if labels.classes
        else LabelOptions(shared_classes(paths, model.facts.labels, labels), labels.mapping),
        config=model.facts.features,
        augmentation=None,
        run=run,
    )
    originals = tuple(dataset.samples[index] for index in testable(dataset.utterances))
    if not originals:
        raise CorpusError("expected original recordings to score the model on, found augmented copies alone")
    marked = tuple(sample for sample in originals if sample.utterance.split == "test")
    dataset = replace(dataset, samples=marked or originals)
    everything = predict_with_model(model, dataset.samples, adapt=adapt)
    tested_part = _Tested(
        dataset.utterances,
        dataset.labels,
        restrict(everything, model.facts.labels, dataset.classes),
        ("test",) * len(dataset.samples),
    )
    part = "the test part" if marked else "all"
    protocol = {
        "name": "model",
        "speaker_independent": None,
        "description": f"a trained model on {part} of the corpus, on the classes that both know",
    }
    seen = model.training_list()
    leakage = leakage_facts(
        {entry.origin for entry in seen},
        [speaker_anywhere(entry.corpus, entry.speaker) for entry in seen],
        dataset.samples,
        [speaker_anywhere(utterance.corpus, utterance.speaker) for utterance in dataset.utterances],
    )
    about = {"model": model.identity, "architecture": model.facts.architecture, "parameters": model.facts.parameters}
    facts = {**about, "protocol": protocol, "leakage": leakage, "seed": seed, "commit": commit, "adapted": adapt}
    return _write(output, tested_part, dataset, facts, seed=seed)


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
        "leakage": fold_leakage(dataset, protocol, options.earlier_models),
        "seed": options.fit.seed,
        "uar_fold_mean": float(np.mean([fold["uar"] for fold in folds])),
        "per_fold": [{key: value for key, value in fold.items() if key != "probabilities"} for fold in folds],
        "base": options.base.identity if options.base else None,
        "teachers": [teacher.identity for teacher in options.teachers],
        "fit": options.fit.to_dict(),
        "augmentation": options.augmentation.to_dict(),
        "features": {**options.network_features.to_dict(), "digest": options.network_features.digest()},
    }


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
    )
    tested = [dataset.samples[index] for index in fold.test]
    probabilities = choose_among(
        predict_with_network(learned, tested, adapt=options.adapt), dataset.classes, fold.classes
    )
    truth = dataset.labels[list(fold.test)]
    scores = score(truth, probabilities, classes=dataset.classes, groups=None, seed=options.fit.seed)
    result = {
        "fold": fold.name,
        "n_train": len(split.train),
        "n_validation": len(split.held_out),
        "n_test": len(fold.test),
        "uar": scores.uar,
        "wa": scores.wa,
        "ece": scores.ece,
        "best_epoch": learned.fitted.best_epoch,
        "epochs": len(learned.fitted.history["loss"]),
        "temperature": learned.temperature,
        "validation": split.reason,
        "validation_uar": learned.fitted.validation_uar,
        "parameters": learned.parameters,
        "history": learned.fitted.history,
        "probabilities": probabilities.tolist(),
    }
    with atomic_path(saved) as draft:
        draft.write_text(json.dumps(result))
    return result


def _collect(dataset: Dataset, protocol: Protocol, folds: Sequence[Mapping[str, Any]]) -> _Tested:
    """All test parts, one after the other."""
    order = [index for fold in protocol.folds for index in fold.test]
    return _Tested(
        tuple(dataset.utterances[index] for index in order),
        dataset.labels[order],
        np.concatenate([np.array(fold["probabilities"]) for fold in folds]),
        tuple(fold.name for fold in protocol.folds for _ in fold.test),
    )


def _write(output: Path, tested_part: _Tested, dataset: Dataset, facts: dict[str, Any], *, seed: int) -> Evaluation:
    speakers = [utterance.speaker_id for utterance in tested_part.utterances]
    scores = score(tested_part.truth, tested_part.probabilities, classes=dataset.classes, groups=speakers, seed=seed)
    metrics = {
        "version": METRICS_VERSION,
        **facts,
        "corpus": sorted({utterance.corpus for utterance in tested_part.utterances}),
        "left_out": dataset.left_out,
        **scores.to_dict(),
        "risk_at_coverage": _risks(tested_part),
        **_scores_by_group(tested_part, dataset.classes),
        "package_version": __version__,
        "packages": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_folder(output) as draft:
        _write_tables(draft, tested_part, scores)
        _write_plots(draft, tested_part, scores, metrics)
        (draft / "report.md").write_text(evaluation_page(metrics, scores), encoding="utf-8")
        write_evaluation_page(draft, metrics, scores)
        text = json.dumps(metrics, indent=1, ensure_ascii=False) + "\n"
        (draft / METRICS).write_text(text, encoding="utf-8")
    return Evaluation(output, scores, metrics, dataset.problems)


def _risks(tested_part: _Tested) -> dict[str, float]:
    """Share of errors among the most confident half, 80 % and all of the predictions."""
    truth, probabilities = tested_part.with_speech
    if not len(truth):
        return {}
    coverage, risk = coverage_risk(probabilities, truth)
    return {f"{share:g}": float(risk[np.searchsorted(coverage, share - 1e-9)]) for share in (0.5, 0.8, 1.0)}


def _scores_by_group(tested_part: _Tested, classes: Sequence[str]) -> dict[str, Any]:
    groups: dict[str, list[str | None]] = {
        "per_speaker": [utterance.speaker_id for utterance in tested_part.utterances],
        "per_gender": [utterance.gender for utterance in tested_part.utterances],
        "per_language": [utterance.language for utterance in tested_part.utterances],
        "per_corpus": [utterance.corpus for utterance in tested_part.utterances],
    }
    return {
        name: score_by(values, tested_part.truth, tested_part.probabilities, classes=classes)
        for name, values in groups.items()
    }


def _write_tables(output: Path, tested_part: _Tested, scores: Scores) -> None:
    classes = scores.classes
    columns = [*(Column(name, "text") for name in _DESCRIBED), *(Column(f"p_{emotion}") for emotion in classes)]
    write_report(output / "predictions.parquet", columns=columns, tables=[_predictions(tested_part, classes)])
    counts = {emotion: scores.confusion[:, index] for index, emotion in enumerate(classes)}
    columns = [Column(_TRUTH, "text"), *(Column(emotion, "int") for emotion in classes)]
    write_report(output / "confusion.csv", columns=columns, tables=[{_TRUTH: list(classes), **counts}])


def _predictions(tested_part: _Tested, classes: Sequence[str]) -> dict[str, Any]:
    """The table of all tested utterances."""
    utterances = tested_part.utterances
    probabilities = {f"p_{emotion}": tested_part.probabilities[:, index] for index, emotion in enumerate(classes)}
    return {
        "path": [str(each.path) for each in utterances],
        "fold": list(tested_part.folds),
        "corpus": [each.corpus for each in utterances],
        "speaker": [each.speaker for each in utterances],
        "gender": [each.gender for each in utterances],
        "language": [each.language for each in utterances],
        "emotion": [classes[label] for label in tested_part.truth],
        "predicted": [NO_SPEECH if np.isnan(row).all() else classes[row.argmax()] for row in tested_part.probabilities],
        **probabilities,
    }


def _write_plots(output: Path, tested_part: _Tested, scores: Scores, metrics: Mapping[str, Any]) -> None:
    title = f"{metrics['architecture']}, {metrics['protocol']['name']}, {' + '.join(metrics['corpus'])}"
    plot_confusion(output / "confusion.png", scores.confusion, scores.classes, title=title)
    truth, probabilities = tested_part.with_speech
    if len(truth):
        curve = reliability_curve(probabilities, truth)
        plot_reliability(output / "reliability.png", curve, ece=scores.ece, title=title)
    if len(metrics["per_speaker"]) > 1:
        plot_speakers(output / "speakers.png", metrics["per_speaker"], title=title)
    if metrics.get("per_fold"):
        fold = metrics["per_fold"][0]
        history_title = f"{title}: fold {fold['fold']}"
        plot_history(output / "history.png", fold["history"], best_epoch=fold["best_epoch"], title=history_title)
