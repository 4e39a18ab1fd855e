"""Training batches, augmented as they are made: random variants and stretches, SpecAugment, noise, mixup."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.backends.loky import workers_can_start
from serctl.features import language_input, token_inputs
from serctl.features.adaptation import Statistics, adapt, draw_subset
from serctl.learning.goals import EmotionGoal
from serctl.models import LANGUAGE_OUTPUT
from serctl.models.lazy import keras

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.features import Features, Normaliser
    from serctl.learning.goals import Goal
    from serctl.learning.options import FitOptions
    from serctl.models import ModelSpec

    Inputs = dict[str, NDArray[np.float32]]
    Targets = tuple[NDArray[np.float32], ...]

MASKS = 2

SUBSETS = 4
"""Random parts of each corpus whose statistics examples are normalised by, beside those of the whole corpus."""


@dataclass(frozen=True)
class Example:
    """One labelled window: its features in the recording as it is, then in each of its augmented copies.

    Attributes:
        language: a code such as 'de', None where it is not known.
        corpus: whose recordings it may be normalised by.
        value: the number that is learned instead of the label.
        teacher_probabilities: mean of the teachers for each variant, float32, shape (variants, n_classes), or None
            without teachers.
    """

    variants: tuple[Features, ...]
    label: int
    language: str | None = None
    teacher_probabilities: NDArray[np.float32] | None = None
    corpus: str = ""
    value: float = math.nan


class Batches(keras.utils.PyDataset):
    """Batches of (inputs, targets, weights); seed and epoch alone determine them, so that a resumed fit repeats none.

    Two threads make them while the network trains on the batches before, where the system has shared memory for that.

    Inputs are those that the model takes. Targets, one for each of its outputs, are answers of the goal, mixed and
    float32, shape (batch, n_classes), or (batch, n_languages) for the output that is trained on the languages; weights
    balance the classes, shape (batch,): those of the examples, or of class_counts where that is given.

    Attributes:
        epoch: index of the epoch to draw; keras advances it.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        model: keras.Model,
        spec: ModelSpec,
        normaliser: Normaliser,
        options: FitOptions,
        class_counts: NDArray[np.integer] | None = None,
        goal: Goal | None = None,
    ) -> None:
        # With one worker keras leaves prefetching to tf.data, which spends a third of a training's time waiting.
        super().__init__(workers=2 if workers_can_start() else 1)
        self._examples = examples
        self._spec = spec
        self._input_names = [tensor.name for tensor in model.inputs]
        self._spectrogram = "log_mel" in self._input_names
        self._output_names = list(model.output_names)
        self._goal = goal or EmotionGoal(spec.n_classes, class_counts)
        self._normaliser = normaliser
        self._options = options
        self._adapted = adapted_normalisers(examples, normaliser, options)
        self._class_weights = self._goal.weights(examples)
        self.start_at(0)

    def __len__(self) -> int:
        return max(len(self._examples) // self._options.batch_size, 1)

    def start_at(self, epoch: int) -> None:
        """Draw the order and augmentation of this epoch, counted from 0."""
        self.epoch = epoch
        self._order = np.random.default_rng([self._options.seed, epoch]).permutation(len(self._examples))

    def on_epoch_end(self) -> None:
        """Go on to the next epoch; called by keras."""
        self.start_at(self.epoch + 1)

    def __getitem__(self, index: int) -> tuple[Inputs, Targets, Targets]:
        try:
            return self._make(index)
        except (KeyboardInterrupt, SystemExit) as ended:
            # The pool of threads only passes on what is an Exception: keras would wait for this batch for ever.
            raise RuntimeError(f"{type(ended).__name__} while batch {index} was made") from ended

    def _make(self, index: int) -> tuple[Inputs, Targets, Targets]:
        rng = np.random.default_rng([self._options.seed, self.epoch, index])
        size = self._options.batch_size
        chosen = [self._examples[row] for row in self._order[index * size : (index + 1) * size]]
        variants = [int(rng.integers(len(example.variants))) for example in chosen]
        n_frames = min(self._options.crop, self._spec.n_frames)
        windows = [
            _crop(example.variants[variant], n_frames, rng) for example, variant in zip(chosen, variants, strict=True)
        ]
        inputs = self._inputs(chosen, windows, n_frames, rng)
        inputs["language"] = language_input([example.language for example in chosen], self._spec.languages)
        labels = self._labels(chosen, variants)
        if self._options.specaugment and self._spectrogram:
            _mask_spectrogram(inputs["log_mel"], inputs["mask"], self._options, rng)
        _disturb_functionals(inputs["functionals"], self._options, rng)
        if "tokens" in self._input_names:
            inputs |= token_inputs(windows)
            _drop_modalities(inputs, self._options.modality_dropout, rng)
        inputs, labels = _mix(inputs, labels, self._options.mixup, rng)
        targets = tuple(inputs["language"] if name == LANGUAGE_OUTPUT else labels for name in self._output_names)
        taken = {name: inputs[name] for name in self._input_names}
        return taken, targets, (labels @ self._class_weights,) * len(targets)

    def _inputs(
        self, chosen: Sequence[Example], windows: Sequence[Features], n_frames: int, rng: np.random.Generator
    ) -> Inputs:
        """Normalise the windows, a share of them by recordings of their own corpus."""
        if not self._adapted:
            return self._scaled(self._normaliser, windows, n_frames)
        rows: dict[int, list[int]] = {}
        normalisers = [self._draw_normaliser(example, rng) for example in chosen]
        for row, normaliser in enumerate(normalisers):
            rows.setdefault(id(normaliser), []).append(row)
        inputs: Inputs = {}
        for own in rows.values():
            scaled = self._scaled(normalisers[own[0]], [windows[row] for row in own], n_frames)
            for name, values in scaled.items():
                inputs.setdefault(name, np.empty((len(chosen), *values.shape[1:]), np.float32))[own] = values
        return inputs

    def _scaled(self, normaliser: Normaliser, windows: Sequence[Features], n_frames: int) -> Inputs:
        return normaliser.model_inputs(
            windows, n_frames=n_frames, n_states=self._spec.n_states, spectrogram=self._spectrogram
        )

    def _draw_normaliser(self, example: Example, rng: np.random.Generator) -> Normaliser:
        adapted = self._adapted[example.corpus]
        return adapted[rng.integers(len(adapted))] if rng.random() < self._options.adapted_share else self._normaliser

    def _labels(self, chosen: Sequence[Example], variants: Sequence[int]) -> NDArray[np.float32]:
        labels = self._goal.answers(chosen)
        share = np.float32(self._options.teacher_share)
        for row, (example, variant) in enumerate(zip(chosen, variants, strict=True)):
            if example.teacher_probabilities is not None:
                labels[row] = (1 - share) * labels[row] + share * example.teacher_probabilities[variant]
        return labels


def adapted_normalisers(
    examples: Sequence[Example], normaliser: Normaliser, options: FitOptions
) -> dict[str, list[Normaliser]]:
    """Normalise each corpus as prediction may: by all of its recordings, and by random parts of them.

    Returns:
        SUBSETS + 1 normalisers for each corpus; none if options.adapted_share is 0.
    """
    if options.adapted_share == 0:
        return {}
    rng = np.random.default_rng([options.seed, len(examples)])
    found = {}
    for corpus in sorted({example.corpus for example in examples}):
        own = [example for example in examples if example.corpus == corpus]
        labels = np.array([example.label for example in own])
        everything = np.arange(len(own))
        subsets = [everything, *(draw_subset(labels, rng) for _ in range(SUBSETS))]
        found[corpus] = [_adapted(own, subset, normaliser, rng) for subset in subsets]
    return found


def _adapted(
    examples: Sequence[Example], subset: NDArray[np.intp], normaliser: Normaliser, rng: np.random.Generator
) -> Normaliser:
    """The normaliser of these recordings, all of them as they are or all of them as one of their copies."""
    variant = int(rng.integers(min(len(examples[index].variants) for index in subset)))
    taken = len(normaliser.functional_mean)
    rows = (examples[index].variants[variant].functionals[:taken] for index in subset)
    return adapt(normaliser, Statistics.measure(rows))


def _crop(window: Features, n_frames: int, rng: np.random.Generator) -> Features:
    """A random stretch of so many frames; the functionals stay those of the whole window."""
    first = rng.integers(max(len(window.log_mel) - n_frames, 0) + 1)
    return replace(window, log_mel=window.log_mel[first : first + n_frames])


def _mask_spectrogram(
    log_mel: NDArray[np.float32], mask: NDArray[np.float32], options: FitOptions, rng: np.random.Generator
) -> None:
    """SpecAugment without time warping, in place; a masked value is 0, the mean of the normalised training data."""
    bands = log_mel.shape[2]
    for spectrogram, frames in zip(log_mel, mask.sum(axis=1).astype(int), strict=True):
        for _ in range(MASKS):
            width = rng.integers(int(options.band_mask * bands) + 1)
            first = rng.integers(bands - width + 1)
            spectrogram[:, first : first + width] = 0
            width = rng.integers(int(options.time_mask * frames) + 1)
            first = rng.integers(frames - width + 1)
            spectrogram[first : first + width] = 0


def _disturb_functionals(functionals: NDArray[np.float32], options: FitOptions, rng: np.random.Generator) -> None:
    """Gaussian noise of functional_noise standard deviations, in place."""
    noise = rng.standard_normal(functionals.shape, dtype=np.float32)
    functionals += np.float32(options.functional_noise) * noise


def _drop_modalities(inputs: Inputs, share: float, rng: np.random.Generator) -> None:
    """Take the words from some examples that have both, and the speech from as many others, in place."""
    drawn = rng.random(len(inputs["mask"]))
    both = inputs["mask"].any(axis=1) & inputs["token_mask"].any(axis=1)
    without_words, without_speech = both & (drawn < share / 2), both & (drawn >= 1 - share / 2)
    for name, dropped in (
        *(("tokens", without_words), ("token_mask", without_words)),
        *(("log_mel", without_speech), ("mask", without_speech)),
    ):
        inputs[name][dropped] = 0


def _mix(
    inputs: Inputs, labels: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[Inputs, NDArray[np.float32]]:
    """Blend each example with another one of the batch and the labels with them; the first keeps at least half."""
    if alpha == 0:
        return inputs, labels
    drawn = rng.beta(alpha, alpha, size=len(labels))
    share = np.maximum(drawn, 1 - drawn).astype(np.float32)
    partner = rng.permutation(len(labels))

    def blend(values: NDArray[np.float32]) -> NDArray[np.float32]:
        column = share.reshape(-1, *[1] * (values.ndim - 1))
        return column * values + (1 - column) * values[partner]

    mixed = {name: blend(values) for name, values in inputs.items()}
    for name in ("mask", "token_mask", "state_mask"):
        if name in inputs:
            mixed[name] = np.maximum(inputs[name], inputs[name][partner])
    return mixed, blend(labels)
