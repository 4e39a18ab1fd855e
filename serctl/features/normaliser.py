"""From features of varying length and scale to the fixed, normalised input of a model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders.speech import LAYERS, STATE_LAYER, STATISTICS, UNITS
from serctl.errors import BundleError, NpzError
from serctl.npz import read_npz

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.features.compute import Features
    from serctl.features.spectral import FloatArray

LIMIT_SD = 5.0
"""Functionals are clipped to this many standard deviations from the mean."""

_SMALLEST_SD = 1e-3

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Moments:
    """Sums over rows, which several parts of the data can be measured by and then added.

    Attributes:
        rows: how many there are.
        sums, squares: of the values and of their squares, float64, shape (columns,).
    """

    rows: int
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def measure(cls, blocks: Sequence[NDArray[np.floating]]) -> Moments:
        """Measure all rows of at least one block, each of shape (rows, columns)."""
        return cls(
            sum(len(block) for block in blocks),
            np.sum([block.sum(axis=0, dtype=np.float64) for block in blocks], axis=0),
            np.sum([np.square(block, dtype=np.float64).sum(axis=0) for block in blocks], axis=0),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.rows + other.rows, self.sums + other.sums, self.squares + other.squares)

    def mean_and_sd(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of each column, float32, shape (columns,)."""
        mean = self.sums / self.rows
        variance = np.maximum(self.squares / self.rows - np.square(mean), 0)
        return mean.astype(np.float32), np.maximum(np.sqrt(variance), _SMALLEST_SD).astype(np.float32)


@dataclass(frozen=True)
class Normaliser:
    """Means and standard deviations of the training data.

    Attributes:
        mel_mean, mel_sd: float32, shape (n_mels,), over all frames.
        functional_mean, functional_sd: float32, shape (functionals,), over all windows.
    """

    mel_mean: FloatArray
    mel_sd: FloatArray
    functional_mean: FloatArray
    functional_sd: FloatArray

    @classmethod
    def fit(cls, windows: Sequence[Features], *, n_functionals: int | None = None) -> Normaliser:
        """Measure the training windows.

        Args:
            windows: at least one.
            n_functionals: number of functionals to use, from the first; None for all.

        Returns:
            The normaliser.
        """
        return cls(
            *_mean_and_sd([window.log_mel for window in windows]),
            *_mean_and_sd([window.functionals[None, :n_functionals] for window in windows]),
        )

    @classmethod
    def from_moments(cls, mel: Moments, functionals: Moments) -> Normaliser:
        """Return what fit gives for the windows that these were measured on.

        Args:
            mel: of all frames, with n_mels columns.
            functionals: of all windows.
        """
        return cls(*mel.mean_and_sd(), *functionals.mean_and_sd())

    def model_inputs(
        self, windows: Sequence[Features], *, n_frames: int, n_states: int = 0, spectrogram: bool = True
    ) -> dict[str, FloatArray]:
        """Make normalised inputs of equal length: longer windows are cut to their middle, shorter ones zero-padded.

        Args:
            windows: at least one; deep features that this normaliser does not know are left out.
            n_frames: frames of the input of the network.
            n_states: states of the speech encoder in its input; 0 leaves out states and state_mask.
            spectrogram: False leaves out log_mel and mask, which take most of the time.

        Returns:
            log_mel (windows, n_frames, n_mels), mask (windows, n_frames), 1 for speech and 0 for padding,
            functionals (windows, functionals), states (windows, n_states, 384) and state_mask (windows, n_states),
            all float32.
        """
        spectrograms = self._spectrograms(windows, n_frames) if spectrogram else {}
        states = self._states(windows, n_states) if n_states else {}
        return {**spectrograms, "functionals": self.scaled_functionals(windows), **states}

    def _states(self, windows: Sequence[Features], n_states: int) -> dict[str, FloatArray]:
        mean, sd = self.state_scale()
        states = np.zeros((len(windows), n_states, len(mean)), np.float32)
        mask = np.zeros((len(windows), n_states), np.float32)
        for row, window in enumerate(windows):
            if window.states is not None:
                taken = window.states[:n_states]
                states[row, : len(taken)] = np.clip((taken - mean) / sd, -LIMIT_SD, LIMIT_SD)
                mask[row, : len(taken)] = 1
        return {"states": states, "state_mask": mask}

    def state_scale(self) -> tuple[FloatArray, FloatArray]:
        """Compute mean and deviation of the states of all windows, each float32, shape (384,).

        They follow from the statistics of each window among the functionals: the variance of all is that of the means
        and the mean of the variances. So states are adapted to recordings together with the functionals.
        """
        mean, sd = (_of_states(values) for values in (self.functional_mean, self.functional_sd))
        return mean[0], np.sqrt(np.square(sd[0]) + np.square(mean[1]) + np.square(sd[1]))

    def _spectrograms(self, windows: Sequence[Features], n_frames: int) -> dict[str, FloatArray]:
        log_mel = np.zeros((len(windows), n_frames, len(self.mel_mean)), np.float32)
        mask = np.zeros((len(windows), n_frames), np.float32)
        for row, window in enumerate(windows):
            middle = _middle(window.log_mel, n_frames)
            log_mel[row, : len(middle)] = (middle.astype(np.float32) - self.mel_mean) / self.mel_sd
            mask[row, : len(middle)] = 1
        return {"log_mel": log_mel, "mask": mask}

    def scaled_functionals(self, windows: Sequence[Features]) -> FloatArray:
        """Standardise and clip functionals, as a network takes them.

        Args:
            windows: at least one; deep features that this normaliser does not know are left out.

        Returns:
            float32, shape (windows, functionals), within LIMIT_SD.
        """
        functionals = np.stack([window.functionals[: len(self.functional_mean)] for window in windows])
        return np.clip((functionals - self.functional_mean) / self.functional_sd, -LIMIT_SD, LIMIT_SD)

    def standardise_frames(self, log_mel: FloatArray) -> FloatArray:
        """Standardise frames.

        Args:
            log_mel: float32, shape (frames, n_mels), dB.

        Returns:
            float32, shape (frames, n_mels), in standard deviations from the mean, as in model_inputs.
        """
        return (log_mel - self.mel_mean) / self.mel_sd

    def standardise(self, window: Features) -> Features:
        """Return the window with its features in standard deviations from the mean.

        Another normaliser is fitted on such windows, and gives its network the same states as this one does.
        """
        log_mel = ((window.log_mel.astype(np.float32) - self.mel_mean) / self.mel_sd).astype(window.log_mel.dtype)
        functionals = (window.functionals - self.functional_mean) / self.functional_sd
        states = window.states
        if states is not None:
            mean, sd = self.state_scale()
            # Times the deviation that state_scale computes from functionals in deviations: sqrt(1 + 0 + 1).
            states = (np.sqrt(2) * (states - mean) / sd).astype(np.float16)
        return replace(window, log_mel=log_mel, functionals=functionals, states=states)

    def save(self, path: Path) -> None:
        """Write an npz file without pickled objects."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Normaliser:
        """Read a file that save wrote.

        Args:
            path: the npz file.

        Returns:
            The normaliser.

        Raises:
            BundleError: the file is damaged or is not a normaliser, a number is not finite, or a standard deviation is
                not above 0.
        """
        try:
            arrays = read_npz(path, most_bytes=_MOST_BYTES)
            found = cls(**{field.name: arrays[field.name].astype(np.float32) for field in fields(cls)})
        except (NpzError, KeyError) as error:
            raise BundleError(f"{path}: expected a normaliser (npz with {[f.name for f in fields(cls)]})") from error
        found._check(path)
        return found

    def check_shapes(self, *, n_mels: int, n_functionals: int) -> None:
        """Raise BundleError if the arrays are not for so many mel bands and functionals."""
        shapes = [np.shape(getattr(self, field.name)) for field in fields(self)]
        expected = [(n_mels,), (n_mels,), (n_functionals,), (n_functionals,)]
        if shapes != expected:
            raise BundleError(f"normaliser: expected arrays of the shapes {expected}. Received: {shapes}")

    def _check(self, path: Path) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (field.name.endswith("_sd") and not (values > 0).all()):
                raise BundleError(f"{path}: {field.name}: expected finite numbers, standard deviations above 0")


def language_input(codes: Sequence[str | None], languages: Sequence[str]) -> FloatArray:
    """Encode languages as one-hot rows.

    Args:
        codes: the language of each row, None if it is not known.
        languages: the languages of the model.

    Returns:
        float32, shape (codes, languages); a row of zeros for any other language.
    """
    encoded = np.zeros((len(codes), len(languages)), np.float32)
    for row, code in enumerate(codes):
        if code in languages:
            encoded[row, languages.index(code)] = 1
    return encoded


def _of_states(functionals: FloatArray) -> FloatArray:
    """The statistics of STATE_LAYER, shape (len(STATISTICS), UNITS); functionals end with those of all layers."""
    layers = functionals[-LAYERS * len(STATISTICS) * UNITS :].reshape(LAYERS, len(STATISTICS), UNITS)
    return layers[STATE_LAYER - 1]


def _middle(log_mel: NDArray[np.float16], n_frames: int) -> NDArray[np.float16]:
    first = max(len(log_mel) - n_frames, 0) // 2
    return log_mel[first : first + n_frames]


def _mean_and_sd(blocks: Sequence[NDArray[np.floating]]) -> tuple[FloatArray, FloatArray]:
    """Compute mean and standard deviation over the rows of all blocks, each (rows, columns), without joining them."""
    rows = sum(len(block) for block in blocks)
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / rows
    squares = sum(np.square(block - mean).sum(axis=0) for block in blocks) / rows
    return np.asarray(mean, np.float32), np.maximum(np.sqrt(squares), _SMALLEST_SD).astype(np.float32)
