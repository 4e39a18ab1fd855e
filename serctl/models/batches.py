"""Training batches, augmented as they are made: a random variant of each window, SpecAugment, noise, mixup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.features import Features, Normaliser
    from serctl.models.options import FitOptions

    Inputs = dict[str, NDArray[np.float32]]
    Targets = tuple[NDArray[np.float32], ...]

MASKS = 2


@dataclass(frozen=True)
class Example:
    """One labelled window: its features in the recording as it is, then in each of its augmented copies."""

    variants: tuple[Features, ...]
    label: int


class Batches(keras.utils.PyDataset):
    """Batches of (inputs, labels, weights); the same for a seed, whatever was drawn before and however it is resumed.

    Labels are one-hot, mixed and float32, shape (batch, n_classes); weights balance the classes, shape (batch,). Both
    are repeated for each output of the network.
    epoch: index of the epoch to draw, counted on by keras.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        n_classes: int,
        n_frames: int,
        n_outputs: int,
        normaliser: Normaliser,
        options: FitOptions,
        epoch: int = 0,
    ) -> None:
        super().__init__()
        self.epoch = epoch
        self._examples = examples
        self._one_hot = np.eye(n_classes, dtype=np.float32)
        self._n_frames = n_frames
        self._n_outputs = n_outputs
        self._normaliser = normaliser
        self._options = options
        self._class_weights = _balance([example.label for example in examples], n_classes)
        self._shuffle()

    def __len__(self) -> int:
        return max(len(self._examples) // self._options.batch_size, 1)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order and augmentation."""
        self.epoch += 1
        self._shuffle()

    def __getitem__(self, index: int) -> tuple[Inputs, Targets, Targets]:
        rng = np.random.default_rng([self._options.seed, self.epoch, index])
        size = self._options.batch_size
        chosen = [self._examples[row] for row in self._order[index * size : (index + 1) * size]]
        windows = [example.variants[rng.integers(len(example.variants))] for example in chosen]
        inputs = self._normaliser.model_inputs(windows, n_frames=self._n_frames)
        labels = self._one_hot[[example.label for example in chosen]]
        _mask_spectrogram(inputs["log_mel"], inputs["mask"], self._options, rng)
        _disturb_functionals(inputs["functionals"], self._options, rng)
        inputs, labels = _mix(inputs, labels, self._options.mixup, rng)
        weights = labels @ self._class_weights
        return inputs, (labels,) * self._n_outputs, (weights,) * self._n_outputs

    def _shuffle(self) -> None:
        self._order = np.random.default_rng([self._options.seed, self.epoch]).permutation(len(self._examples))


def _balance(labels: Sequence[int], n_classes: int) -> NDArray[np.float32]:
    """Weights that give every class that occurs the same say; their mean over the examples is 1."""
    counts = np.bincount(labels, minlength=n_classes)
    present = max(int((counts > 0).sum()), 1)
    return (len(labels) / (present * np.maximum(counts, 1))).astype(np.float32)


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
    mixed["mask"] = np.maximum(inputs["mask"], inputs["mask"][partner])
    return mixed, blend(labels)
