"""Train a model: corpora in, a bundle out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serctl import __version__
from serctl.bundle.card import model_card
from serctl.bundle.facts import BundleFacts, CorpusFacts, NoveltyFacts, TrainingEntry, TrainingFacts
from serctl.bundle.store import check_new_bundle, write_bundle
from serctl.bundle.versions import package_versions
from serctl.corpora import Split, citation_of, hold_out, licence_of, marked_split
from serctl.errors import ConfigError, CorpusError
from serctl.export.convert import step_to_litert, to_litert
from serctl.features import encoder_citations
from serctl.features.novelty import NOVELTY_VERSION, Novelty
from serctl.files import atomic_folder, claiming, naming
from serctl.learning.checkpoints import open_checkpoints, removed_when_done
from serctl.learning.curve import CurvePoint, learning_curve
from serctl.learning.dataset import Dataset, Sample, load_dataset
from serctl.learning.earlier import earlier_corpora
from serctl.learning.leakage import leakage_facts, speaker_anywhere
from serctl.learning.learn import ignore_epoch, learn
from serctl.learning.options import UNSTATED_LICENCE, RecordOptions
from serctl.learning.recipe import Recipe, check_recipe, with_known_classes
from serctl.metrics.evaluation import read_evaluation
from serctl.reports.plots import plot_history, plot_learning_curve
from serctl.reports.schema import Column
from serctl.reports.tables import write_report
from serctl.run import Run
from serctl.verbs.held_out import HeldOut
from serctl.verbs.numbers import check_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from serctl.corpora import Utterance
    from serctl.learning.calibrate import Learned
    from serctl.learning.fit import EpochCallback
    from serctl.metrics import NumberScores, Scores
    from serctl.metrics.facts import Leakage, ScoredPart


@dataclass(frozen=True)
class TrainOptions(RecordOptions, Recipe):
    """The recipe of a model, and what is written down beside it."""


@dataclass(frozen=True)
class TrainResult:
    """A finished training: where the bundle is, what it learned from, and its scores on the held-out part.

    curve: scores by the amount of training data, if they were asked for.
    """

    folder: Path
    facts: BundleFacts
    scores: Scores | NumberScores
    split: Split
    dataset: Dataset
    best_epoch: int
    curve: tuple[CurvePoint, ...] = ()


@claiming
def train(
    paths: Sequence[Path],
    *,
    output: Path,
    options: TrainOptions,
    run: Run | None = None,
    on_epoch: EpochCallback = ignore_epoch,
) -> TrainResult:
    """Train a network on the corpora and write it as a bundle.

    Utterances that a manifest marks as test are left out; those it marks as validation are the held-out part, otherwise
    speakers are drawn for it. Checkpoints are kept in OUTPUT.partial until the bundle is written; resume continues from
    them.

    Args:
        paths: folders and manifests.
        output: folder of the bundle; it appears when it is complete.
        options: how to train.
        run: workers, cache, resume and overwrite.
        on_epoch: receives the scores of each epoch.

    Returns:
        The bundle's facts, and the scores of the held-out part.

    Raises:
        ConfigError: the output cannot be written, or the checkpoints of another run are there.
        CorpusError: the corpora do not suffice.
    """
    run = run or Run()
    check_new_bundle(output, overwrite=run.overwrite)
    if options.labels.target:
        check_target(options.labels.target)
        if options.learning_curve:
            raise ConfigError("a learning curve shows the UAR of emotions: expected none where numbers are learned")
    quoted = _quote_evaluation(options)
    dataset = load_dataset(
        paths,
        labels=options.labels,
        config=options.extracted_features,
        augmentation=options.augmentation,
        run=run,
        skip_test=True,
    )
    dataset = with_known_classes(_in_language(dataset, options.language), options)
    check_recipe(options, dataset)
    if quoted and quoted.classes != dataset.classes:
        raise ConfigError(
            f"{options.evaluation}: expected an evaluation on {', '.join(dataset.classes)}, "
            f"received one on {', '.join(quoted.classes)}"
        )
    split = _split(dataset, options)
    training, validation = _part(dataset, split.train), _part(dataset, split.held_out)
    checkpoints = open_checkpoints(
        output.with_name(f"{output.name}.partial"),
        _fingerprint(options, dataset, split),
        resume=run.resume,
        overwrite=run.overwrite,
    )
    with removed_when_done(checkpoints), naming(output):
        learned = learn(
            options,
            training,
            validation,
            classes=dataset.classes,
            folder=checkpoints,
            on_epoch=on_epoch,
            scale=dataset.scale,
        )
        curve: tuple[CurvePoint, ...] = ()
        if options.learning_curve:
            curve = learning_curve(
                options, training, validation, whole=learned, classes=dataset.classes, folder=checkpoints
            )
        return _write(output, learned, dataset, split, options, quoted, curve)


def _quote_evaluation(options: TrainOptions) -> ScoredPart | None:
    """What the model card says of the cross-validation, if there is one."""
    if options.evaluation is None:
        return None
    if options.labels.target:
        raise ConfigError("the card of a model of numbers quotes no cross-validation: expected none")
    quoted = read_evaluation(options.evaluation)
    if quoted.architecture != options.architecture:
        raise ConfigError(
            f"{options.evaluation}: expected the architecture {options.architecture}. Received: {quoted.architecture}"
        )
    return quoted.part()


def _in_language(dataset: Dataset, code: str | None) -> Dataset:
    """The dataset with this language stated for every utterance."""
    if code is None:
        return dataset
    spoken = [replace(sample, utterance=replace(sample.utterance, language=code)) for sample in dataset.samples]
    return replace(dataset, samples=tuple(spoken))


def _split(dataset: Dataset, options: TrainOptions) -> Split:
    utterances = dataset.utterances
    split = marked_split(utterances) or hold_out(utterances, share=options.validation_share, seed=options.fit.seed)
    if not split.train or not split.held_out:
        raise CorpusError(f"expected utterances to train on and others to validate on, found {len(utterances)} in all")
    return split


def _part(dataset: Dataset, indices: Sequence[int]) -> list[Sample]:
    return [dataset.samples[index] for index in indices]


def _fingerprint(options: TrainOptions, dataset: Dataset, split: Split) -> str:
    """What determines the weights; what is only written down beside them does not."""
    options = replace(options, name="", licence="", command="", evaluation=None, learning_curve=False)
    entries = [asdict(entry) for entry in _training_list(dataset, split)]
    text = json.dumps([__version__, options.to_dict(), entries], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _training_list(dataset: Dataset, split: Split) -> list[TrainingEntry]:
    held_out = set(split.held_out)
    used = held_out.union(split.train)
    return [
        TrainingEntry(
            digest=sample.digest,
            corpus=sample.utterance.corpus,
            speaker=sample.utterance.speaker or "",
            emotion=_label(sample.utterance),
            part="validation" if index in held_out else "train",
            source=sample.utterance.source or "",
        )
        for index, sample in enumerate(dataset.samples)
        if index in used
    ]


def _label(utterance: Utterance) -> str:
    """The emotion, or the number that stands for it."""
    return utterance.emotion if utterance.value is None else f"{utterance.value:.6g}"


def _write(
    output: Path,
    learned: Learned,
    dataset: Dataset,
    split: Split,
    options: TrainOptions,
    quoted: ScoredPart | None,
    curve: Sequence[CurvePoint],
) -> TrainResult:
    validation = _part(dataset, split.held_out)
    held_out = HeldOut(learned, dataset, split, options)
    leakage = _leakage(dataset, split, options)
    training = _training_list(dataset, split)
    inherited = _learned_before(training, options)
    spoken = [window for sample in _part(dataset, split.train) for window in sample.spoken]
    facts = BundleFacts(
        name=options.name or output.name,
        architecture=options.architecture,
        labels=dataset.classes,
        features=learned.config,
        n_frames=learned.spec.n_frames,
        temperature=learned.temperature,
        adapted_temperature=learned.adapted_temperature,
        parameters=learned.parameters,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=_licence(options),
        attribution=tuple(_attribution(dataset, options)),
        languages=learned.spec.languages,
        metrics=held_out.metrics(leakage, quoted),
        target=held_out.target(leakage),
        training=_training_facts(dataset, training, len(inherited), options),
        packages=package_versions(),
        novelty=NoveltyFacts(NOVELTY_VERSION, windows=len(spoken), held_out=len(validation)),
    )
    network = learned.fitted.model
    with atomic_folder(output) as draft:
        write_history(draft, learned.fitted.history, best=learned.fitted.best_epoch)
        held_out.plot(draft)
        _write_curve(draft, curve)
        write_bundle(
            draft,
            facts,
            model=to_litert(network, n_frames=learned.spec.n_frames),
            weights=learned.fitted.weights,
            normaliser=learned.normaliser,
            training=[*training, *inherited],
            card=model_card(facts),
            step=step_to_litert(options.architecture, network, learned.spec) if learned.spec.causal else None,
            novelty=Novelty.fit(spoken, [sample.spoken for sample in validation], learned.normaliser),
        )
    return TrainResult(output, facts, held_out.scores, split, dataset, learned.fitted.best_epoch, tuple(curve))


def _learned_before(training: Sequence[TrainingEntry], options: TrainOptions) -> list[TrainingEntry]:
    """What the base and the teachers were trained on besides."""
    seen = {entry.digest for entry in training}
    found = {entry.digest: entry for model in options.earlier_models for entry in model.training_list()}
    return [entry for digest, entry in found.items() if digest not in seen]


def _shared(training: Sequence[TrainingEntry], options: TrainOptions) -> int:
    """How many of the recordings the base or a teacher was trained on too."""
    seen = {entry.origin for model in options.earlier_models for entry in model.training_list()}
    return sum(entry.origin in seen for entry in training)


def write_history(folder: Path, history: Mapping[str, Sequence[float]], *, best: int, unit: str = "epoch") -> None:
    """Write the scores of a training as history.csv and history.png.

    Args:
        folder: existing.
        history: scores by name, one value for each epoch or round.
        best: the one that was kept, counted from 1.
        unit: what the values were measured after.
    """
    numbers = list(range(1, len(history["loss"]) + 1))
    columns = [Column(unit, "int"), *map(Column, history)]
    write_report(folder / "history.csv", columns=columns, tables=[{unit: numbers, **history}])
    plot_history(folder / "history.png", history, best_epoch=best, title="Training history")


def _write_curve(folder: Path, curve: Sequence[CurvePoint]) -> None:
    if not curve:
        return
    columns = [Column("utterances", "int"), Column("speakers", "int"), *map(Column, ("uar", "low", "high"))]
    write_report(folder / "learning-curve.csv", columns=columns, tables=map(asdict, curve))
    plot_learning_curve(folder / "learning-curve.png", curve, title="UAR by the amount of training data")


def _leakage(dataset: Dataset, split: Split, options: TrainOptions) -> Leakage:
    """What the held-out part shares with the training part, and with the training data of the base and the teachers."""
    training, held_out = _part(dataset, split.train), _part(dataset, split.held_out)
    earlier = [entry for model in options.earlier_models for entry in model.training_list()]
    trained = [speaker_anywhere(each.utterance.corpus, each.utterance.speaker) for each in training]
    return leakage_facts(
        {sample.origin for sample in training} | {entry.origin for entry in earlier},
        [*trained, *(speaker_anywhere(entry.corpus, entry.speaker) for entry in earlier)],
        held_out,
        [speaker_anywhere(each.utterance.corpus, each.utterance.speaker) for each in held_out],
    )


def _training_facts(
    dataset: Dataset, training: Sequence[TrainingEntry], inherited: int, options: TrainOptions
) -> TrainingFacts:
    listing = "\n".join(f"{entry.digest} {entry.emotion} {entry.part}" for entry in training)
    return TrainingFacts(
        utterances=len(training),
        inherited=inherited,
        list_digest=hashlib.blake2b(listing.encode(), digest_size=16).hexdigest(),
        corpora=tuple(_corpus_facts(name, dataset) for name in sorted({entry.corpus for entry in training})),
        command=options.command,
        seed=options.fit.seed,
        fit=options.fit.to_dict(),
        augmentation=options.augmentation.to_dict(),
        labels=asdict(options.labels),
        validation_share=options.validation_share,
        base=options.base.identity if options.base else None,
        adapter_only=options.adapter_only,
        teachers=tuple(teacher.identity for teacher in options.teachers),
        earlier=earlier_corpora(options.earlier_models),
        shared=_shared(training, options),
    )


def _corpus_facts(name: str, dataset: Dataset) -> CorpusFacts:
    utterances = [utterance for utterance in dataset.utterances if utterance.corpus == name]
    return CorpusFacts(
        name=name,
        utterances=len(utterances),
        speakers=len({utterance.speaker for utterance in utterances if utterance.speaker}),
        languages=tuple(sorted({utterance.language for utterance in utterances if utterance.language})),
        licence=licence_of(name) or "not known",
        citation=citation_of(name) or "",
    )


def _licence(options: TrainOptions) -> str:
    """The one stated, or else that of the model that training went on from."""
    if options.licence == UNSTATED_LICENCE and options.base:
        return options.base.facts.licence
    return options.licence


def _attribution(dataset: Dataset, options: TrainOptions) -> list[str]:
    """Citations of the corpora, of all that earlier models were trained on, and of the encoders."""
    names = sorted({utterance.corpus for utterance in dataset.utterances})
    citations = [citation for name in names if (citation := citation_of(name))]
    inherited = [citation for model in options.earlier_models for citation in model.facts.attribution]
    return list(dict.fromkeys([*citations, *inherited, *encoder_citations(options.network_features)]))
