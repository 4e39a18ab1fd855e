"""The hybrid network, fitted to what is easy to learn; small shapes keep it quick."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.features import VOICE_ENCODER_PARAMETERS, FeatureConfig, Features, Normaliser, functional_names
from serctl.learning.options import FitOptions
from serctl.models import ModelSpec, build

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.learning.batches import Example
    from serctl.learning.fit import EpochScores, Fitted, Start

pytestmark = pytest.mark.usefixtures("tensorflow")

SPEC = ModelSpec(n_frames=32, n_mels=16, functionals=("mfcc_a", "mfcc_b", *"cd", "encoder_a", "encoder_b"), n_classes=2)


def windows(label: int, count: int, seed: int) -> list[Features]:
    rng = np.random.default_rng([seed, label])
    found = []
    for _ in range(count):
        log_mel = rng.standard_normal((30, SPEC.n_mels)) + 2 * label * (np.arange(SPEC.n_mels) < 8)
        functionals = (rng.standard_normal(len(SPEC.functionals)) + 2 * label).astype(np.float32)
        found.append(Features(log_mel.astype(np.float16), np.empty((0, 0), np.float32), functionals, 0))
    return found


def examples(count: int, seed: int) -> list[Example]:
    from serctl.learning.batches import Example

    return [Example((window,), label) for label in (0, 1) for window in windows(label, count, seed)]


def ignore_epoch(scores: EpochScores) -> None:
    """Watch nothing."""


def fit(
    folder: Path,
    *,
    architecture: str = "hybrid",
    spec: ModelSpec = SPEC,
    start: Start | None = None,
    on_epoch: Any = ignore_epoch,
    **options: Any,
) -> Fitted:
    from serctl.learning.fit import fit as fit_network

    folder.mkdir(exist_ok=True)
    training = examples(16, seed=0)
    return fit_network(
        architecture,
        spec,
        training,
        examples(10, seed=1),
        normaliser=Normaliser.fit([example.variants[0] for example in training]),
        options=FitOptions(**{"epochs": 3, "batch_size": 8, "lr": 5e-3, "weight_average": 0.5, **options}),
        folder=folder,
        on_epoch=on_epoch,
        start=start,
    )


def probabilities(fitted: Fitted) -> np.ndarray:
    from serctl.learning.fit import predict_windows

    training = [example.variants[0] for example in examples(16, seed=0)]
    tested = [*windows(0, 5, seed=2), *windows(1, 5, seed=2)]
    return predict_windows(
        fitted.model, tested, normaliser=Normaliser.fit(training), spec=SPEC, languages=[None] * len(tested)
    )


def test_the_network_has_the_asked_shapes_and_less_than_a_million_parameters() -> None:
    names = functional_names(FeatureConfig(voice_encoder=True))
    model = build("hybrid", ModelSpec(n_frames=300, n_mels=64, functionals=names, n_classes=8))
    assert {tensor.name: tuple(tensor.shape) for tensor in model.inputs} == {"functionals": (None, len(names))}
    assert tuple(model.outputs[0].shape) == (None, 8)
    assert model.count_params() + VOICE_ENCODER_PARAMETERS < 1_000_000


def test_fitting_learns_what_can_be_learned_and_tells_of_every_epoch(tmp_path: Path) -> None:
    told: list[EpochScores] = []
    fitted = fit(tmp_path, on_epoch=told.append, epochs=8)
    found = probabilities(fitted)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == [0] * 5 + [1] * 5).mean() >= 0.9
    assert [scores.epoch for scores in told] == list(range(1, 9))
    assert [scores.loss for scores in told] == fitted.history["loss"]
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]
    assert told[-1].best_epoch == fitted.best_epoch
    assert fitted.history["val_uar"][fitted.best_epoch - 1] == max(fitted.history["val_uar"][4:])


@pytest.mark.parametrize("architecture", ["cnn", "resnet", "separable"])
def test_a_short_training_is_not_held_back_by_its_averages(architecture: str, tmp_path: Path) -> None:
    fitted = fit(tmp_path, architecture=architecture, epochs=20, weight_average=0.99)
    assert fitted.history["val_loss"][-1] < 0.2


def test_an_interrupted_fit_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def stop(scores: EpochScores) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, epochs=2, on_epoch=stop)
    first = json.loads((tmp_path / "state.json").read_text())
    told: list[EpochScores] = []
    resumed = fit(tmp_path, epochs=2, on_epoch=told.append)
    assert [scores.epoch for scores in told] == [2]
    assert resumed.history["loss"] == [*first["history"]["loss"], told[0].loss]
    assert (first["finished"], json.loads((tmp_path / "state.json").read_text())["finished"]) == (False, True)
    again = fit(tmp_path, epochs=2, on_epoch=stop)
    assert again.history == resumed.history


def test_another_process_goes_on_where_one_was_interrupted(tmp_path: Path) -> None:
    def stop(scores: EpochScores) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, epochs=2, batch_size=8, on_epoch=stop)
    script = (
        "import sys; from pathlib import Path; from serctl.models.fitting import _resume; "
        "model = _resume('hybrid', Path(sys.argv[1])); print(int(model.optimizer.iterations), model.count_params())"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.split() == ["4", str(build("hybrid", SPEC).count_params())]


def test_attention_is_kept_beside_the_probabilities(tmp_path: Path) -> None:
    fitted = fit(tmp_path, architecture="attention", epochs=1)
    assert set(fitted.model.output_names) == {"probabilities", "attention"}


def test_a_fit_starts_from_the_weights_it_is_given(tmp_path: Path) -> None:
    from serctl.learning.fit import Start

    first = fit(tmp_path / "first", architecture="mfcc", epochs=4)
    start = Start([weights.astype(np.float16) for weights in first.weights])
    again = fit(tmp_path / "again", architecture="mfcc", epochs=1, lr=1e-9, start=start)
    anew = fit(tmp_path / "anew", architecture="mfcc", epochs=1, lr=1e-9)
    np.testing.assert_allclose(probabilities(again), probabilities(first), atol=2e-3)
    assert np.abs(probabilities(anew) - probabilities(first)).max() > 0.05


def test_other_classes_get_a_new_head_and_the_rest_is_kept(tmp_path: Path) -> None:
    from serctl.learning.fit import Start

    first = fit(tmp_path / "first", architecture="mfcc", epochs=1)
    grown = replace(SPEC, n_classes=3)
    second = fit(tmp_path / "second", architecture="mfcc", spec=grown, epochs=1, lr=1e-9, start=Start(first.weights))
    *body, kernel, bias = second.weights
    assert (kernel.shape, bias.shape) == ((128, 3), (3,))
    for mine, theirs in zip(body, first.weights, strict=False):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("uars", "best_epoch", "finished"),
    [
        ([0.9, 0.2], 2, False),  # the first half of the ten epochs never counts
        ([0.2] * 5 + [0.5, 0.6, 0.6], 8, False),
        ([0.2] * 5 + [0.5, 0.7, 0.6], 7, False),
        ([0.2] * 5 + [0.5, 0.7, 0.6, 0.6], 7, True),
        ([0.2] * 5 + [0.1, 0.2, 0.3, 0.4, 0.5], 10, True),
    ],
)
def test_validation_chooses_the_epoch_and_stops_when_it_no_longer_gains(
    tmp_path: Path, uars: list[float], best_epoch: int, finished: bool
) -> None:
    state = judged(examples(1, seed=0), uars, tmp_path)
    assert (state.best_epoch, state.finished) == (best_epoch, finished)
    assert state.history["val_uar"] == uars


def test_without_a_validation_part_the_last_epoch_stands(tmp_path: Path) -> None:
    state = judged([], [float("nan")] * 9, tmp_path)
    assert (state.best_epoch, state.finished) == (9, False)


def judged(held_out: list[Example], uars: list[float], folder: Path) -> Any:
    """The state of a fit of at most ten epochs after epochs with these validation UARs."""
    from serctl.learning.fit import _Judge, _State

    state = _State()
    normaliser = Normaliser.fit([example.variants[0] for example in examples(1, seed=0)])
    judge = _Judge(held_out, SPEC, normaliser, FitOptions(epochs=10, patience=2), folder, state, ignore_epoch)
    for uar in uars:
        judge._record(1.0, 1.0, uar)
    return state
