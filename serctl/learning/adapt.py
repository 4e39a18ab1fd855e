"""Predict labelled samples, as they are or as predict does when it adapts: each corpus by its own recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.features.adaptation import ClassSums
from serctl.features.adaptation import adapt as adapt_normaliser
from serctl.learning.calibrate import Learned, merge_windows, predict_samples
from serctl.runtime.recogniser import Recogniser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.features import Normaliser
    from serctl.learning.dataset import Sample

    Predict = Callable[[Normaliser, Sequence[Sample]], NDArray[np.float64]]


def predict_with_network(learned: Learned, samples: Sequence[Sample], *, adapt: bool) -> NDArray[np.float64]:
    """Compute the probabilities of samples with a network that was just trained.

    Args:
        learned: the network.
        samples: what to predict.
        adapt: normalise each corpus by its own recordings.

    Returns:
        float64, shape (samples, classes); NaN without speech.
    """

    def predict(normaliser: Normaliser, some: Sequence[Sample]) -> NDArray[np.float64]:
        suited = learned if normaliser is learned.normaliser else learned.adapted_to(normaliser)
        return predict_samples(suited, some)

    return _predict(predict, learned.normaliser, samples, adapted=adapt)


def predict_with_model(model: Bundle, samples: Sequence[Sample], *, adapt: bool) -> NDArray[np.float64]:
    """Compute the probabilities of samples with a bundle; see predict_with_network."""

    def predict(normaliser: Normaliser, some: Sequence[Sample]) -> NDArray[np.float64]:
        return merge_windows(Recogniser(model, normaliser).probabilities, some)

    return _predict(predict, model.normaliser, samples, adapted=adapt)


def _predict(
    predict: Predict, normaliser: Normaliser, samples: Sequence[Sample], *, adapted: bool
) -> NDArray[np.float64]:
    return predict_adapted(predict, normaliser, samples) if adapted else predict(normaliser, samples)


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
    return predict(adapt_normaliser(normaliser, sums.statistics(balanced=True)), samples)


def _mean_functionals(sample: Sample) -> NDArray[np.float64]:
    """The mean over the windows of speech."""
    spoken = [window.functionals for window, speech in zip(sample.windows, sample.speech, strict=True) if speech]
    return np.stack(spoken).mean(axis=0, dtype=np.float64)
