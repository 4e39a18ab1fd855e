"""Calibrated probabilities of a fitted network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.features import FeatureConfig, Features, Normaliser, encoder_parameters
from serctl.metrics import fit_temperature, temperature_scale
from serctl.runtime.recogniser import log_probabilities, merge_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from serctl.learning.batches import Example
    from serctl.learning.dataset import Sample
    from serctl.learning.fit import Fitted
    from serctl.learning.left_out import LeftOut
    from serctl.metrics import Scale
    from serctl.models import ModelSpec


@dataclass(frozen=True)
class Learned:
    """A fitted and calibrated network.

    Attributes:
        temperature: of answers by the normaliser of the training data.
        adapted_temperature: of answers by a normaliser that is adapted to recordings; None for the same.
        left_out: how networks of the other corpora answered on each corpus; empty where none was left out.
        scale: of numbers, which are not calibrated; None for emotions.
    """

    fitted: Fitted
    normaliser: Normaliser
    config: FeatureConfig
    spec: ModelSpec
    temperature: float
    adapted_temperature: float | None = None
    left_out: tuple[LeftOut, ...] = ()
    scale: Scale | None = None

    def adapted_to(self, normaliser: Normaliser) -> Learned:
        """Return the same network behind a normaliser that is adapted to recordings."""
        return replace(self, normaliser=normaliser, temperature=self.adapted_temperature or self.temperature)

    @property
    def parameters(self) -> int:
        """Weights of the network and of the encoders that it rests on."""
        return int(self.fitted.model.count_params()) + encoder_parameters(self.config)


def predict_samples(learned: Learned, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Calibrated probabilities of each sample, its windows merged; float64, shape (samples, classes)."""
    return merge_windows(lambda windows, languages: _calibrated(learned, windows, languages), samples)


def merge_windows(
    probabilities_of: Callable[[Sequence[Features], Sequence[str | None]], NDArray[np.float64]],
    samples: Sequence[Sample],
) -> NDArray[np.float64]:
    """The windows' probabilities merged by sample; NaN for a sample without speech, as predict has it.

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
        merged.append(merge_probabilities(probabilities[first:last], np.array(weights)))
    return np.stack(merged)


def restrict(probabilities: NDArray[np.float64], labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities given that it is one of the classes."""
    chosen = probabilities[:, [labels.index(emotion) for emotion in classes]]
    return chosen / chosen.sum(axis=1, keepdims=True)


def choose_among(
    probabilities: NDArray[np.float64], classes: Sequence[str], chosen: Sequence[str] | None
) -> NDArray[np.float64]:
    """Return the probabilities given that it is one of the chosen classes, 0 for the others.

    Args:
        probabilities: float64, shape (n, classes).
        classes: what the columns stand for.
        chosen: some of them; None for all.
    """
    if chosen is None:
        return probabilities
    among = probabilities * np.isin(classes, chosen)
    return among / among.sum(axis=1, keepdims=True)


def calibrate(learned: Learned, validation: Sequence[Example]) -> Learned:
    """Return the network with the temperature that fits its validation windows best."""
    if not validation:
        return learned
    windows, languages = [each.variants[0] for each in validation], [each.language for each in validation]
    temperature = fit_temperature(_logs(learned, windows, languages), [example.label for example in validation])
    return replace(learned, temperature=temperature)


def _calibrated(learned: Learned, windows: Sequence[Features], languages: Sequence[str | None]) -> NDArray[np.float64]:
    return temperature_scale(_logs(learned, windows, languages), learned.temperature)


def _logs(learned: Learned, windows: Sequence[Features], languages: Sequence[str | None]) -> NDArray[np.float64]:
    from serctl.learning.fit import predict_windows

    raw = predict_windows(
        learned.fitted.model, windows, normaliser=learned.normaliser, spec=learned.spec, languages=languages
    )
    return log_probabilities(raw, () if learned.scale else windows, hop_s=learned.config.hop_s)
