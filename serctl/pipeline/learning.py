"""What train and evaluate share: fit a network to samples, calibrate it, judge samples with it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl import __version__
from serctl.errors import ConfigError, CorpusError
from serctl.features import FeatureConfig, Features, Normaliser, functional_names, is_silent
from serctl.metrics import fit_temperature, temperature_scale
from serctl.models import ModelSpec, check_architecture
from serctl.models.options import FitOptions
from serctl.pipeline.dataset import Augmentation, LabelOptions
from serctl.report import atomic_path
from serctl.runtime import merge_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.models.batches import Example
    from serctl.models.fitting import EpochCallback, Fitted
    from serctl.pipeline.dataset import Sample

_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Recipe:
    """How networks are made from labelled utterances.

    validation_share: share of the training utterances held out, by speaker, to choose the epoch and to calibrate.
    Raises ConfigError if a value is out of range.
    """

    architecture: str = "hybrid"
    labels: LabelOptions = field(default_factory=LabelOptions)
    augmentation: Augmentation = field(default_factory=Augmentation)
    fit: FitOptions = field(default_factory=FitOptions)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        check_architecture(self.architecture)
        if not 0.02 <= self.validation_share <= 0.5:
            raise ConfigError(f"expected a validation share between 0.02 and 0.5, came {self.validation_share}")


@dataclass(frozen=True)
class Learned:
    """A fitted and calibrated network."""

    fitted: Fitted
    normaliser: Normaliser
    config: FeatureConfig
    n_frames: int
    temperature: float


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
    Raises CorpusError if no training window holds speech.
    """
    from serctl.models.fitting import fit

    config = recipe.features
    index = {emotion: position for position, emotion in enumerate(classes)}
    examples = _examples(training, index, config)
    if not examples:
        raise CorpusError("no speech in the training recordings: every window of them is silent")
    normaliser = Normaliser.fit([window for example in examples for window in example.variants])
    spec = ModelSpec(
        n_frames=round(config.window_s / config.hop_s),
        n_mels=config.n_mels,
        n_functionals=len(functional_names(config)),
        n_classes=len(classes),
    )
    fitted = fit(
        recipe.architecture,
        spec,
        examples,
        _examples(validation, index, config),
        normaliser=normaliser,
        options=recipe.fit,
        folder=folder,
        on_epoch=on_epoch,
    )
    learned = Learned(fitted, normaliser, config, spec.n_frames, temperature=1.0)
    return _calibrate(learned, _examples(validation, index, config))


def judge(learned: Learned, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Calibrated probabilities of each sample, its windows merged; float64, shape (samples, classes)."""
    return judge_with(lambda windows: _calibrated(learned, windows), samples, learned.config)


def judge_with(
    probabilities_of: Callable[[Sequence[Features]], NDArray[np.float64]],
    samples: Sequence[Sample],
    config: FeatureConfig,
) -> NDArray[np.float64]:
    """The windows' probabilities merged by sample; a silent sample gets the plain mean of its windows."""
    probabilities = probabilities_of([window for sample in samples for window in sample.windows])
    bounds = np.cumsum([0, *(len(sample.windows) for sample in samples)])
    merged = []
    for sample, first, last in zip(samples, bounds[:-1], bounds[1:], strict=True):
        weights = [float(not is_silent(each.functionals, config)) * len(each.log_mel) for each in sample.windows]
        merged.append(merge_probabilities(probabilities[first:last], np.maximum(weights, 1e-6)))
    return np.stack(merged)


def open_checkpoints(folder: Path, fingerprint: str, *, resume: bool, overwrite: bool) -> Path:
    """The folder for a run's checkpoints: that of an interrupted run to resume, or an empty one.

    overwrite drops another run's checkpoints; with resume as well, those of the same run are kept.
    Raises ConfigError if another run's checkpoints or foreign files are there, or nothing says what to do with them.
    """
    mark = folder / "fingerprint"
    if not mark.exists() and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
        raise ConfigError(f"{folder} is in the way of the checkpoints and not of serctl's making: move it away")
    if mark.exists() and not (resume or overwrite):
        raise ConfigError(f"an interrupted run left {folder}: --resume continues it, --overwrite starts again")
    if mark.exists() and resume and mark.read_text() == fingerprint:
        return folder
    if mark.exists() and not overwrite:
        raise ConfigError(
            f"{folder} belongs to a run with other data, options or another version: --overwrite starts again, or "
            "choose another -o"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with atomic_path(mark) as draft:
        draft.write_text(fingerprint)
    return folder


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("numpy", "scipy", "soundfile", "soxr", "keras", "tensorflow", "ai-edge-litert")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"serctl": __version__, "python": platform.python_version(), **found}


def _examples(samples: Sequence[Sample], index: dict[str, int], config: FeatureConfig) -> list[Example]:
    """One example for each window that holds speech, with the windows at its place in the augmented copies."""
    from serctl.models.batches import Example

    examples = []
    for sample in samples:
        for number, window in enumerate(sample.windows):
            if is_silent(window.functionals, config):
                continue
            # Another speed may make a window more or less: the last one stands in.
            copies = (copy[min(number, len(copy) - 1)] for copy in sample.copies)
            examples.append(Example((window, *copies), index[sample.utterance.emotion]))
    return examples


def _calibrate(learned: Learned, validation: Sequence[Example]) -> Learned:
    if not validation:
        return learned
    probabilities = _raw(learned, [example.variants[0] for example in validation])
    temperature = fit_temperature(_log(probabilities), [example.label for example in validation])
    return Learned(learned.fitted, learned.normaliser, learned.config, learned.n_frames, temperature)


def _calibrated(learned: Learned, windows: Sequence[Features]) -> NDArray[np.float64]:
    return temperature_scale(_log(_raw(learned, windows)), learned.temperature)


def _raw(learned: Learned, windows: Sequence[Features]) -> NDArray[np.float32]:
    from serctl.models.fitting import predict_windows

    return predict_windows(learned.fitted.model, windows, normaliser=learned.normaliser, n_frames=learned.n_frames)


def _log(probabilities: NDArray[Any]) -> NDArray[Any]:
    return np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))
