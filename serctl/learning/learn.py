"""What train and evaluate share: fit a network to samples, calibrate it, judge samples with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import CorpusError
from serctl.features import Normaliser, functional_names
from serctl.learning.calibrate import Learned, calibrate, restrict
from serctl.learning.recipe import Recipe, load_base, load_teachers
from serctl.models import WITH_ADAPTERS, ModelSpec
from serctl.runtime.recogniser import Recogniser

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.learning.batches import Example
    from serctl.learning.dataset import Sample
    from serctl.learning.fit import EpochCallback


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
    from serctl.learning.fit import Start, fit

    config = recipe.network_features
    base = load_base(recipe)
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
    return calibrate(Learned(fitted, normaliser, config, spec, temperature=1.0), held_out)


def _languages(training: Sequence[Sample], base: Bundle | None) -> tuple[str, ...]:
    """Those of the base model first, in the order of its weights; then the new ones."""
    known = base.facts.languages if base else ()
    found = {sample.utterance.language for sample in training} - {None, *known}
    return (*known, *sorted(code for code in found if code))


def _examples(samples: Sequence[Sample], classes: Sequence[str]) -> list[Example]:
    """One example for each window that holds speech, with the windows at its place in the augmented copies."""
    from serctl.learning.batches import Example

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
    for teacher in load_teachers(recipe, classes):
        probabilities = Recogniser(teacher).probabilities(windows, languages)
        opinions.append(restrict(probabilities, teacher.facts.labels, classes))
    bounds = np.cumsum([len(example.variants) for example in examples])[:-1]
    mean = np.mean(opinions, axis=0).astype(np.float32)
    return [replace(example, taught=rows) for example, rows in zip(examples, np.split(mean, bounds), strict=True)]
