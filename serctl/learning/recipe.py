"""How a network is made: architecture, labels, augmentation, fit, base and teacher models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from serctl.bundle.store import load_bundle
from serctl.errors import ConfigError, CorpusError, Remedy
from serctl.features import FeatureConfig
from serctl.learning.dataset import Augmentation, LabelOptions
from serctl.learning.options import FitOptions
from serctl.models import DEFAULT_ARCHITECTURE, WITH_ADAPTERS, WITH_CAUSAL, WITH_VOICE_ENCODER, check_architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.learning.dataset import Dataset


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
            f"an adapter needs the classes of its model, {', '.join(labels)}: found {', '.join(dataset.classes)}",
            Remedy.CLASSES,
        )
    return dataset


def check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """Raise ConfigError or BundleError if these samples cannot be learned so: before any checkpoint is written."""
    load_base(recipe)
    load_teachers(recipe, dataset.classes)
    spoken = {utterance.language for utterance in dataset.utterances} - {None}
    if recipe.architecture in WITH_ADAPTERS and not spoken:
        raise ConfigError(
            f"{recipe.architecture} tells languages apart: expected utterances whose language is known, came none. "
            "Give a manifest with a language column"
        )


def earlier_models(recipe: Recipe) -> list[Bundle]:
    """The models whose training a new one inherits: that it goes on from, and its teachers."""
    return [load_bundle(reference) for reference in (recipe.base, *recipe.teachers) if reference]


def load_base(recipe: Recipe) -> Bundle | None:
    """Return the model to go on from; raises ConfigError if it does not fit the recipe."""
    if recipe.base is None:
        return None
    base = load_bundle(recipe.base)
    if base.facts.architecture != recipe.architecture:
        raise ConfigError(
            f"{base.identity} is of the architecture {base.facts.architecture}: expected the same for the new one. "
            f"Received: {recipe.architecture}",
            Remedy.ARCHITECTURE,
        )
    if base.causal != recipe.causal:
        is_causal, remedy = ("causal", Remedy.CAUSAL) if base.causal else ("not causal", Remedy.NOT_CAUSAL)
        raise ConfigError(f"{base.identity} is {is_causal}, and so is what continues from it", remedy)
    _require_features(base, recipe.network_features)
    return base


def _require_features(model: Bundle, config: FeatureConfig) -> None:
    if model.facts.features != config:
        raise ConfigError(f"{model.identity} was trained on other features: expected those of this version of serctl")


def load_teachers(recipe: Recipe, classes: Sequence[str]) -> list[Bundle]:
    """Return the teacher models; raises ConfigError if one does not know the classes or takes other features."""
    teachers = [load_bundle(reference) for reference in recipe.teachers]
    for teacher in teachers:
        _require_features(teacher, replace(recipe.features, voice_encoder=teacher.facts.features.voice_encoder))
        if not set(classes) <= set(teacher.facts.labels):
            raise ConfigError(
                f"the teacher {teacher.identity} knows {', '.join(teacher.facts.labels)}: "
                f"expected all of {', '.join(classes)}",
                Remedy.CLASSES,
            )
    return teachers
