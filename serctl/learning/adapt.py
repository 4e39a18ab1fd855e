"""Predict labelled samples as predict does when it adapts: each corpus normalised by its own recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.features.adaptation import ClassSums, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from serctl.features import Normaliser
    from serctl.learning.dataset import Sample

    Predict = Callable[[Normaliser, Sequence[Sample]], NDArray[np.float64]]


def predict_adapted(predict: Predict, normaliser: Normaliser, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Predict the samples of each corpus with a normaliser that is adapted to them.

    Args:
        predict: probabilities of samples with a normaliser, float64, shape (samples, classes); NaN without speech.
        normaliser: of the training data.
        samples: what to predict.

    Returns:
        float64, shape (samples, classes).
    """
    corpora = np.array([sample.utterance.corpus for sample in samples])
    parts = [np.flatnonzero(corpora == corpus).tolist() for corpus in sorted(set(corpora))]
    predicted = [_predict_part(predict, normaliser, [samples[index] for index in part]) for part in parts]
    return np.concatenate(predicted)[np.argsort(np.concatenate(parts))]


def _predict_part(predict: Predict, normaliser: Normaliser, samples: Sequence[Sample]) -> NDArray[np.float64]:
    first = predict(normaliser, samples)
    sums = ClassSums(first.shape[1])
    for sample, probabilities in zip(samples, first, strict=True):
        if any(sample.speech):
            sums.add(_mean_functionals(sample)[: len(normaliser.functional_mean)], probabilities)
    return predict(adapt(normaliser, sums.statistics(balanced=True)), samples)


def _mean_functionals(sample: Sample) -> NDArray[np.float64]:
    """The mean over the windows of speech."""
    spoken = [window.functionals for window, speech in zip(sample.windows, sample.speech, strict=True) if speech]
    return np.stack(spoken).mean(axis=0, dtype=np.float64)
