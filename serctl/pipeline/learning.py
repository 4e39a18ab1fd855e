"""What train and evaluate share: fit a network to samples, calibrate it, judge samples with it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl import __version__
from serctl.bundle import load_bundle
from serctl.errors import ConfigError, CorpusError
from serctl.features import VOICE_ENCODER_PARAMETERS, FeatureConfig, Features, Normaliser, functional_names
from serctl.metrics import fit_temperature, temperature_scale
from serctl.models import (
    DEFAULT_ARCHITECTURE,
    WITH_ADAPTERS,
    WITH_CAUSAL,
    WITH_VOICE_ENCODER,
    ModelSpec,
    check_architecture,
)
from serctl.models.options import FitOptions
from serctl.pipeline.dataset import Augmentation, LabelOptions
from serctl.report import atomic_path
from serctl.runtime import Recogniser, merge_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle import Bundle
    from serctl.models.batches import Example
    from serctl.models.fitting import EpochCallback, Fitted
    from serctl.pipeline.dataset import Dataset, Sample

_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Recipe:
    """How networks are made from labelled utterances.

    validation_share: share of the training utterances held out to choose the epoch and to calibrate. base: a
    model to go on from instead of starting anew: its weights, its normaliser and, if they suffice, its classes. For a
    language that it does not know, adapter_only learns an adapter and leaves the rest as it is. teachers: models whose
    opinions are learned along with the labels (distillation). causal: an answer rests only on what came before it.
    features: apart from the voice encoder, which the architecture decides on.
    Raises ConfigError if a value is out of range.
    """

    architecture: str = DEFAULT_ARCHITECTURE
    labels: LabelOptions = field(default_factory=LabelOptions)
    augmentation: Augmentation = field(default_factory=Augmentation)
    fit: FitOptions = field(default_factory=FitOptions)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    validation_share: float = 0.1
    base: Path | None = None
    adapter_only: bool = False
    teachers: tuple[Path, ...] = ()
    causal: bool = False

    def __post_init__(self) -> None:
        check_architecture(self.architecture)
        if not 0.02 <= self.validation_share <= 0.5:
            raise ConfigError(f"expected a validation share between 0.02 and 0.5, came {self.validation_share}")
        if self.adapter_only and (self.base is None or self.architecture not in WITH_ADAPTERS):
            raise ConfigError(f"an adapter needs a model to go on from, of {', '.join(WITH_ADAPTERS)}")
        if self.causal and self.architecture not in WITH_CAUSAL:
            raise ConfigError(f"no causal {self.architecture}: expected one of {', '.join(WITH_CAUSAL)}")

    @property
    def network_features(self) -> FeatureConfig:
        """What the network judges."""
        return replace(self.features, voice_encoder=self.architecture in WITH_VOICE_ENCODER)

    @property
    def extracted_features(self) -> FeatureConfig:
        """What is extracted of the training data: what the network or a teacher judges."""
        needed = any(load_bundle(reference).facts.features.voice_encoder for reference in self.teachers)
        return replace(self.network_features, voice_encoder=self.network_features.voice_encoder or needed)


@dataclass(frozen=True)
class Learned:
    """A fitted and calibrated network."""

    fitted: Fitted
    normaliser: Normaliser
    config: FeatureConfig
    spec: ModelSpec
    temperature: float

    @property
    def parameters(self) -> int:
        """Weights of the network, and of the voice encoder where it rests on it."""
        encoder = VOICE_ENCODER_PARAMETERS if self.config.voice_encoder else 0
        return int(self.fitted.model.count_params()) + encoder


def learn(
    recipe: Recipe,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    classes: Sequence[str],
    folder: Path,
    on_epoch: EpochCallback,
) -> Learned:
    """Fit a network to the training samples; validation chooses the epoch and the temperature.

    folder: existing; keeps checkpoints, so that an interrupted call can go on.
    Raises CorpusError if no training window holds speech, ConfigError or BundleError if the base or a teacher is not
    made for this.
    """
    from serctl.models.fitting import Start, fit

    config = recipe.network_features
    base = _load_base(recipe)
    examples = _examples(training, classes)
    if not examples:
        raise CorpusError("no speech in the training recordings: every window of them is silent")
    examples = _taught(examples, recipe, classes)
    windows = [window for example in examples for window in example.variants]
    normaliser = base.normaliser if base else Normaliser.fit(windows, n_functionals=len(functional_names(config)))
    spec = ModelSpec(
        n_frames=round(config.window_s / config.hop_s),
        n_mels=config.n_mels,
        functionals=functional_names(config),
        n_classes=len(classes),
        languages=_languages(training, base) if recipe.architecture in WITH_ADAPTERS else (),
        causal=recipe.causal,
    )
    held_out = _examples(validation, classes)
    fitted = fit(
        recipe.architecture,
        spec,
        examples,
        held_out,
        normaliser=normaliser,
        options=recipe.fit,
        folder=folder,
        on_epoch=on_epoch,
        start=Start(base.weights(), adapter_only=recipe.adapter_only) if base else None,
    )
    return _calibrate(Learned(fitted, normaliser, config, spec, temperature=1.0), held_out)


def with_known_classes(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The dataset with the classes of the model that training goes on from, if they hold every class of the corpora.

    Otherwise the network gets a new head. Raises CorpusError where only an adapter is to be learned.
    """
    if recipe.base is None:
        return dataset
    labels = load_bundle(recipe.base).facts.labels
    if set(dataset.classes) <= set(labels):
        return replace(dataset, classes=labels)
    if recipe.adapter_only:
        raise CorpusError(
            f"an adapter needs the classes of its model, {', '.join(labels)}: found {', '.join(dataset.classes)}; "
            "--classes chooses among them, --map renames"
        )
    return dataset


def check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """Raise ConfigError or BundleError if these samples cannot be learned so: before any checkpoint is written."""
    _load_base(recipe)
    _load_teachers(recipe, dataset.classes)
    spoken = {utterance.language for utterance in dataset.utterances} - {None}
    if recipe.architecture in WITH_ADAPTERS and not spoken:
        raise ConfigError(
            f"{recipe.architecture} tells languages apart: expected utterances whose language is known, came none. "
            "Give a manifest with a language column"
        )


def earlier_models(recipe: Recipe) -> list[Bundle]:
    """The models whose training a new one inherits: that it goes on from, and its teachers."""
    return [load_bundle(reference) for reference in (recipe.base, *recipe.teachers) if reference]


def judge(learned: Learned, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Calibrated probabilities of each sample, its windows merged; float64, shape (samples, classes)."""
    return judge_with(lambda windows, languages: _calibrated(learned, windows, languages), samples)


def judge_with(
    probabilities_of: Callable[[Sequence[Features], Sequence[str | None]], NDArray[np.float64]],
    samples: Sequence[Sample],
) -> NDArray[np.float64]:
    """The windows' probabilities merged by sample; a silent sample gets the plain mean of its windows.

    probabilities_of: those of windows, given the language of each.
    """
    windows = [window for sample in samples for window in sample.windows]
    languages = [sample.utterance.language for sample in samples for _ in sample.windows]
    probabilities = probabilities_of(windows, languages)
    bounds = np.cumsum([0, *(len(sample.windows) for sample in samples)])
    merged = []
    for sample, first, last in zip(samples, bounds[:-1], bounds[1:], strict=True):
        weights = [
            float(speech) * len(window.log_mel) for window, speech in zip(sample.windows, sample.speech, strict=True)
        ]
        merged.append(merge_probabilities(probabilities[first:last], np.maximum(weights, 1e-6)))
    return np.stack(merged)


def open_checkpoints(folder: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> Path:
    """The folder for a run's checkpoints: that of an interrupted run to resume, or an empty one.

    overwrite drops another run's checkpoints; with resume as well, those of the same run are kept.
    Raises ConfigError if another run's checkpoints or foreign files are there, or nothing says what to do with them.
    """
    mark = folder / "fingerprint"
    if not mark.exists() and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
        raise ConfigError(f"{folder} is in the way of the checkpoints and not of serctl's making: move it away")
    if mark.exists() and not (resume or overwrite):
        raise ConfigError(f"an interrupted run left {folder}: --resume continues it, --overwrite starts again")
    if mark.exists() and resume and mark.read_text() == fingerprint:
        return folder
    if mark.exists() and not overwrite:
        raise ConfigError(
            f"{folder} belongs to a run with other data, options or another version: --overwrite starts again, or "
            "choose another -o"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with atomic_path(mark) as draft:
        draft.write_text(fingerprint)
    return folder


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("numpy", "scipy", "soundfile", "soxr", "keras", "tensorflow", "ai-edge-litert")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"serctl": __version__, "python": platform.python_version(), **found}


def _load_base(recipe: Recipe) -> Bundle | None:
    if recipe.base is None:
        return None
    base = load_bundle(recipe.base)
    if base.facts.architecture != recipe.architecture:
        raise ConfigError(
            f"{base.identity} is of the architecture {base.facts.architecture}: expected --arch to say so, "
            f"came {recipe.architecture}"
        )
    if base.causal != recipe.causal:
        expected = "expected --causal with it" if base.causal else "expected no --causal with it"
        raise ConfigError(f"{base.identity} is {'causal' if base.causal else 'not causal'}: {expected}")
    _require_features(base, recipe.network_features)
    return base


def _require_features(model: Bundle, config: FeatureConfig) -> None:
    if model.facts.features != config:
        raise ConfigError(f"{model.identity} was trained on other features: expected those of this version of serctl")


def _languages(training: Sequence[Sample], base: Bundle | None) -> tuple[str, ...]:
    """Those of the base model first, in the order of its weights; then the new ones."""
    known = base.facts.languages if base else ()
    found = {sample.utterance.language for sample in training} - {None, *known}
    return (*known, *sorted(code for code in found if code))


def _examples(samples: Sequence[Sample], classes: Sequence[str]) -> list[Example]:
    """One example for each window that holds speech, with the windows at its place in the augmented copies."""
    from serctl.models.batches import Example

    index = {emotion: position for position, emotion in enumerate(classes)}
    examples = []
    for sample in samples:
        for number, (window, speech) in enumerate(zip(sample.windows, sample.speech, strict=True)):
            if speech:
                # Another speed may make a window more or less: the last one stands in.
                copies = (copy[min(number, len(copy) - 1)] for copy in sample.copies)
                label = index[sample.utterance.emotion]
                examples.append(Example((window, *copies), label, sample.utterance.language))
    return examples


def _taught(examples: Sequence[Example], recipe: Recipe, classes: Sequence[str]) -> list[Example]:
    """The examples with the mean opinion of the teachers about each of their variants."""
    if not recipe.teachers:
        return list(examples)
    windows = [window for example in examples for window in example.variants]
    languages = [example.language for example in examples for _ in example.variants]
    opinions = []
    for teacher in _load_teachers(recipe, classes):
        probabilities = Recogniser(teacher).probabilities(windows, languages)
        opinions.append(restrict(probabilities, teacher.facts.labels, classes))
    bounds = np.cumsum([len(example.variants) for example in examples])[:-1]
    mean = np.mean(opinions, axis=0).astype(np.float32)
    return [replace(example, taught=rows) for example, rows in zip(examples, np.split(mean, bounds), strict=True)]


def _load_teachers(recipe: Recipe, classes: Sequence[str]) -> list[Bundle]:
    teachers = [load_bundle(reference) for reference in recipe.teachers]
    for teacher in teachers:
        _require_features(teacher, replace(recipe.features, voice_encoder=teacher.facts.features.voice_encoder))
        if not set(classes) <= set(teacher.facts.labels):
            raise ConfigError(
                f"the teacher {teacher.identity} knows {', '.join(teacher.facts.labels)}: "
                f"expected all of {', '.join(classes)}; --classes leaves others out, --map renames"
            )
    return teachers


def restrict(probabilities: NDArray[np.float64], labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities given that it is one of the classes."""
    chosen = probabilities[:, [labels.index(emotion) for emotion in classes]]
    return chosen / chosen.sum(axis=1, keepdims=True)


def _calibrate(learned: Learned, validation: Sequence[Example]) -> Learned:
    if not validation:
        return learned
    windows, languages = [each.variants[0] for each in validation], [each.language for each in validation]
    temperature = fit_temperature(_log(_raw(learned, windows, languages)), [example.label for example in validation])
    return replace(learned, temperature=temperature)


def _calibrated(learned: Learned, windows: Sequence[Features], languages: Sequence[str | None]) -> NDArray[np.float64]:
    return temperature_scale(_log(_raw(learned, windows, languages)), learned.temperature)


def _raw(learned: Learned, windows: Sequence[Features], languages: Sequence[str | None]) -> NDArray[np.float32]:
    from serctl.models.fitting import predict_windows

    return predict_windows(
        learned.fitted.model, windows, normaliser=learned.normaliser, spec=learned.spec, languages=languages
    )


def _log(probabilities: NDArray[Any]) -> NDArray[Any]:
    return np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))
