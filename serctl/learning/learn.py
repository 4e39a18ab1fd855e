"""Fit a network to samples and calibrate it: shared by train and evaluate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import CorpusError
from serctl.features import Normaliser, functional_names
from serctl.learning.calibrate import Learned, calibrate, restrict
from serctl.learning.goals import NumberGoal
from serctl.learning.left_out import fit_temperatures, leave_corpora_out
from serctl.models import ModelSpec
from serctl.runtime.recogniser import Recogniser
from serctl.runtime.trial import try_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.learning.batches import Example
    from serctl.learning.dataset import Sample
    from serctl.learning.fit import EpochCallback, EpochScores
    from serctl.learning.left_out import LeftOut
    from serctl.learning.recipe import Recipe
    from serctl.metrics import Scale


def learn(
    recipe: Recipe,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    classes: Sequence[str],
    folder: Path,
    on_epoch: EpochCallback,
    scale: Scale | None = None,
) -> Learned:
    """Fit a network to the training samples; validation selects the epoch.

    The temperature is that of corpora left out in turn, where the architecture asks for it and the corpora suffice, and
    of the validation samples elsewhere; see calibrate_as_base for a network that starts from a model.

    Args:
        recipe: how to make the network.
        training: samples to fit.
        validation: samples that select the epoch.
        classes: emotions in the order of the network's output.
        folder: existing; keeps checkpoints, so that an interrupted call can go on.
        on_epoch: receives the scores of each epoch.
        scale: of the numbers to learn instead of emotions; such a network is not calibrated.

    Returns:
        The fitted and calibrated network.

    Raises:
        CorpusError: no training window holds speech.
        BundleError: the base or a teacher cannot be run.
    """
    learned, held_out = fit_network(
        recipe, training, validation, classes=classes, folder=folder, on_epoch=on_epoch, scale=scale
    )
    if scale:
        return learned
    left_out = _leave_out(recipe, training, validation, classes=classes, folder=folder)
    if not left_out:
        learned, base = calibrate(learned, held_out), recipe.base
        return calibrate_as_base(learned, base) if base and base.facts.labels == tuple(classes) else learned
    temperature, adapted_temperature = fit_temperatures(left_out)
    return replace(learned, temperature=temperature, adapted_temperature=adapted_temperature, left_out=left_out)


def calibrate_as_base(learned: Learned, base: Bundle) -> Learned:
    """Return a network that started from a model, at most as confident as that: few utterances were held out to fit it.

    Args:
        learned: the network, with the temperature that fits its validation windows.
        base: the model; where no epoch was better, its own temperatures stand.
    """
    own = base.facts.temperature
    temperature = max(learned.temperature, own) if learned.fitted.best_epoch else own
    return replace(learned, temperature=temperature, adapted_temperature=base.facts.adapted_temperature)


def _leave_out(
    recipe: Recipe, training: Sequence[Sample], validation: Sequence[Sample], *, classes: Sequence[str], folder: Path
) -> tuple[LeftOut, ...]:
    """Train without each corpus in turn; not from a base, whose weights may know it."""
    if recipe.base or not recipe.architecture_facts.leaves_corpora_out:
        return ()

    def fit_some(training: Sequence[Sample], validation: Sequence[Sample], folder: Path) -> Learned:
        return fit_network(recipe, training, validation, classes=classes, folder=folder, on_epoch=ignore_epoch)[0]

    return leave_corpora_out(training, validation, classes=classes, fit=fit_some, folder=folder)


def ignore_epoch(scores: EpochScores) -> None:
    """No-op callback."""


def fit_network(
    recipe: Recipe,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    classes: Sequence[str],
    folder: Path,
    on_epoch: EpochCallback,
    scale: Scale | None = None,
) -> tuple[Learned, list[Example]]:
    """Fit a network; returns it, not calibrated, with the examples that selected the epoch."""
    from serctl.learning.fit import Start, fit

    config = recipe.network_features
    base = recipe.base
    examples = make_examples(training, classes)
    if not examples:
        raise CorpusError("no speech in the training recordings: every window of them is silent")
    examples = _with_teachers(examples, recipe.teachers, classes)
    windows = [window for example in examples for window in example.variants]
    normaliser = base.normaliser if base else Normaliser.fit(windows, n_functionals=len(functional_names(config)))
    languages = _languages(training, base) if recipe.architecture_facts.adapters else ()
    spec = network_spec(recipe, n_classes=scale.bins if scale else len(classes), languages=languages)
    held_out = make_examples(validation, classes)
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
        goal=NumberGoal(scale) if scale else None,
    )
    return Learned(fitted, normaliser, config, spec, temperature=1.0, scale=scale), held_out


def network_spec(recipe: Recipe, *, n_classes: int, languages: Sequence[str] = ()) -> ModelSpec:
    """Return what the network of a recipe is built for; languages: those that it tells apart."""
    config = recipe.network_features
    return ModelSpec(
        n_frames=round(config.window_s / config.hop_s),
        n_mels=config.n_mels,
        functionals=functional_names(config),
        n_classes=n_classes,
        languages=tuple(languages),
        causal=recipe.causal,
        n_states=config.n_states,
    )


def _languages(training: Sequence[Sample], base: Bundle | None) -> tuple[str, ...]:
    """Those of the base model first, in the order of its weights; then the new ones."""
    known = base.facts.languages if base else ()
    found = {sample.utterance.language for sample in training} - {None, *known}
    return (*known, *sorted(code for code in found if code))


def make_examples(samples: Sequence[Sample], classes: Sequence[str]) -> list[Example]:
    """Return one example for each window that holds speech, with the windows at its place in the augmented copies."""
    from serctl.learning.batches import Example

    index = {emotion: position for position, emotion in enumerate(classes)}
    examples = []
    for sample in samples:
        for number, (window, speech) in enumerate(zip(sample.windows, sample.speech, strict=True)):
            if speech:
                # Another speed may make a window more or less: the last one stands in.
                copies = (copy[min(number, len(copy) - 1)] for copy in sample.copies)
                utterance = sample.utterance
                label, value = index.get(utterance.emotion, 0), math.nan if utterance.value is None else utterance.value
                examples.append(
                    Example((window, *copies), label, utterance.language, corpus=utterance.corpus, value=value)
                )
    return examples


def _with_teachers(examples: list[Example], teachers: Sequence[Bundle], classes: Sequence[str]) -> list[Example]:
    """The examples with the teachers' mean probabilities for each of their variants."""
    if not teachers:
        return examples
    windows = [window for example in examples for window in example.variants]
    languages = [example.language for example in examples for _ in example.variants]
    by_teacher = []
    for teacher in teachers:
        try_network(teacher)
        probabilities = Recogniser(teacher).probabilities(windows, languages)
        by_teacher.append(restrict(probabilities, teacher.facts.labels, classes))
    bounds = np.cumsum([len(example.variants) for example in examples])[:-1]
    mean = np.mean(by_teacher, axis=0).astype(np.float32)
    return [
        replace(example, teacher_probabilities=rows)
        for example, rows in zip(examples, np.split(mean, bounds), strict=True)
    ]
