"""How a network is made: architecture, labels, augmentation, fit, base and teacher models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError, CorpusError, Remedy
from serctl.features import FeatureConfig, functional_names
from serctl.features.config import ENCODER_SWITCHES
from serctl.learning.options import Augmentation, FitOptions, LabelOptions, NetworkOptions
from serctl.models import architecture_names, find_architecture
from serctl.options import check_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.bundle.store import Bundle
    from serctl.learning.dataset import Dataset
    from serctl.models import Architecture


@dataclass(frozen=True)
class Recipe(NetworkOptions):
    """How networks are made from labelled utterances.

    Args:
        labels: which emotions take part.
        augmentation: the copies of each training utterance.
        fit: how the network is fitted.
        features: what is extracted, apart from the voice encoder, which the architecture decides on.
        adapter_only: for a language that the base does not know, train an adapter and leave the other weights as they
            are.

    Raises:
        ConfigError: a value is out of range, or the base is not a model to go on from for this recipe.
    """

    labels: LabelOptions = field(default_factory=LabelOptions)
    augmentation: Augmentation = field(default_factory=Augmentation)
    fit: FitOptions = field(default_factory=FitOptions)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    adapter_only: bool = False

    def __post_init__(self) -> None:
        facts = find_architecture(self.architecture)
        check_options(self)
        if self.labels.target and self.teachers:
            raise ConfigError("teachers answer emotions: expected none where numbers are learned")
        if self.labels.transcripts and not facts.text_encoder:
            names = architecture_names(lambda each: each.text_encoder)
            raise ConfigError(
                f"{self.architecture} takes no words: expected one of {', '.join(names)}", Remedy.NO_TRANSCRIPTS
            )
        if self.adapter_only and (self.base is None or not facts.adapters):
            names = architecture_names(lambda each: each.adapters)
            raise ConfigError(f"an adapter needs a model to go on from, of {', '.join(names)}")
        if self.causal and not facts.causal:
            names = architecture_names(lambda each: each.causal)
            raise ConfigError(f"no causal {self.architecture}: expected one of {', '.join(names)}")
        if self.base:
            _check_base(self.base, self)

    @property
    def architecture_facts(self) -> Architecture:
        """The record of the architecture."""
        return find_architecture(self.architecture)

    @property
    def network_features(self) -> FeatureConfig:
        """Features that the network takes."""
        return replace(self.features, **_encoders(self.architecture_facts))

    @property
    def extracted_features(self) -> FeatureConfig:
        """Features to extract of the training data: what the network or a teacher takes."""
        needed = [self.network_features, *(teacher.facts.features for teacher in self.teachers)]
        return replace(self.features, **_encoders(*needed))

    @property
    def earlier_models(self) -> tuple[Bundle, ...]:
        """Models whose training data counts as the new one's too: the base and the teachers."""
        return (*((self.base,) if self.base else ()), *self.teachers)

    def to_dict(self) -> dict[str, Any]:
        """All that determines the weights, JSON-able; a model stands as its digest."""
        values = asdict(replace(self, base=None, teachers=(), adapter_only=False))
        return {
            **values,
            "features": self.extracted_features.to_dict(),
            "adapter_only": self.adapter_only,
            "base": self.base.digest if self.base else None,
            "teachers": [teacher.digest for teacher in self.teachers],
        }


def _encoders(*users: Architecture | FeatureConfig) -> dict[str, bool]:
    """The encoders that any of these use, as parameters of FeatureConfig."""
    return {name: any(getattr(each, name) for each in users) for name in ENCODER_SWITCHES}


def with_known_classes(dataset: Dataset, recipe: Recipe) -> Dataset:
    """Return the dataset with the classes of the base model, if they hold every class of the corpora, or its scale.

    Otherwise the network gets a new head.

    Raises:
        CorpusError: only an adapter is to be trained, which needs the classes of its model.
    """
    if recipe.base is None:
        return dataset
    if dataset.scale:
        known = recipe.base.facts.target
        return replace(dataset, scale=known.scale) if known and known.scale.name == dataset.scale.name else dataset
    labels = recipe.base.facts.labels
    if set(dataset.classes) <= set(labels):
        return replace(dataset, classes=labels)
    if recipe.adapter_only:
        raise CorpusError(
            f"an adapter needs the classes of its model, {', '.join(labels)}: found {', '.join(dataset.classes)}",
            Remedy.CLASSES,
        )
    return dataset


def check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """Check that the recipe fits these samples, before any checkpoint is written.

    Raises:
        ConfigError: a teacher lacks a class or takes other features, or no language is known where one is needed.
    """
    for teacher in recipe.teachers:
        _check_teacher(teacher, recipe, dataset.classes)
    spoken = {utterance.language for utterance in dataset.utterances} - {None}
    if recipe.architecture_facts.adapters and not spoken:
        raise ConfigError(
            f"{recipe.architecture} tells languages apart: expected utterances whose language is known, found none. "
            "Give a manifest with a language column"
        )


def _check_base(base: Bundle, recipe: Recipe) -> None:
    if base.facts.architecture != recipe.architecture:
        raise ConfigError(
            f"{base.identity} is of the architecture {base.facts.architecture}: expected the same for the new one. "
            f"Received: {recipe.architecture}",
            Remedy.ARCHITECTURE,
        )
    if base.causal != recipe.causal:
        is_causal, remedy = ("causal", Remedy.CAUSAL) if base.causal else ("not causal", Remedy.NOT_CAUSAL)
        raise ConfigError(f"{base.identity} is {is_causal}, and so is what continues from it", remedy)
    _check_features(base, recipe.network_features)
    base.require_weights()


def _check_teacher(teacher: Bundle, recipe: Recipe, classes: Sequence[str]) -> None:
    teacher.facts.require_emotions("a teacher")
    taken = teacher.facts.features
    _check_features(teacher, replace(recipe.features, **_encoders(taken)))
    # Network and teacher each take the first columns of what is extracted: one's encoders must begin the other's.
    extracted = functional_names(recipe.extracted_features)
    if any(names != extracted[: len(names)] for names in map(functional_names, (taken, recipe.network_features))):
        raise ConfigError(
            f"the teacher {teacher.identity} and the architecture {recipe.architecture} take different encoders: "
            "expected a network whose encoders are among the teacher's, or none"
        )
    if not set(classes) <= set(teacher.facts.labels):
        raise ConfigError(
            f"the teacher {teacher.identity} knows {', '.join(teacher.facts.labels)}: "
            f"expected all of {', '.join(classes)}",
            Remedy.CLASSES,
        )


def _check_features(model: Bundle, config: FeatureConfig) -> None:
    if model.facts.features != config:
        raise ConfigError(f"{model.identity} was trained on other features: expected those of this version of serctl")
