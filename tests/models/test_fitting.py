"""The hybrid network, fitted to what is easy to learn; small shapes keep it quick."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.features import Features, Normaliser
from serctl.models import ModelSpec, build
from serctl.models.options import FitOptions

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.models.batches import Example
    from serctl.models.fitting import EpochScores, Fitted

pytestmark = pytest.mark.usefixtures("tensorflow")

SPEC = ModelSpec(n_frames=32, n_mels=16, n_functionals=6, n_classes=2)


def windows(label: int, count: int, seed: int) -> list[Features]:
    rng = np.random.default_rng([seed, label])
    found = []
    for _ in range(count):
        log_mel = rng.standard_normal((30, SPEC.n_mels)) + 2 * label * (np.arange(SPEC.n_mels) < 8)
        functionals = (rng.standard_normal(SPEC.n_functionals) + 2 * label).astype(np.float32)
        found.append(Features(log_mel.astype(np.float16), np.empty((0, 0), np.float32), functionals, 0))
    return found


def examples(count: int, seed: int) -> list[Example]:
    from serctl.models.batches import Example

    return [Example((window,), label) for label in (0, 1) for window in windows(label, count, seed)]


def ignore_epoch(scores: EpochScores) -> None:
    """Watch nothing."""


def fit(folder: Path, *, on_epoch: Any = ignore_epoch, validation: int = 10, **options: Any) -> Fitted:
    from serctl.models.fitting import fit as fit_network

    folder.mkdir(exist_ok=True)
    training = examples(16, seed=0)
    return fit_network(
        "hybrid",
        SPEC,
        training,
        examples(validation, seed=1),
        normaliser=Normaliser.fit([example.variants[0] for example in training]),
        options=FitOptions(**{"epochs": 3, "batch_size": 8, "lr": 5e-3, "weight_average": 0.5, **options}),
        folder=folder,
        on_epoch=on_epoch,
    )


def probabilities(fitted: Fitted) -> np.ndarray:
    from serctl.models.fitting import predict_windows

    training = [example.variants[0] for example in examples(16, seed=0)]
    tested = [*windows(0, 5, seed=2), *windows(1, 5, seed=2)]
    return predict_windows(fitted.model, tested, normaliser=Normaliser.fit(training), n_frames=SPEC.n_frames)


def test_the_network_has_the_asked_shapes_and_less_than_a_million_parameters() -> None:
    model = build("hybrid", ModelSpec(n_frames=300, n_mels=64, n_functionals=300, n_classes=8))
    assert {tensor.name: tuple(tensor.shape) for tensor in model.inputs} == {
        "log_mel": (None, 300, 64),
        "mask": (None, 300),
        "functionals": (None, 300),
    }
    assert tuple(model.outputs[0].shape) == (None, 8)
    assert model.count_params() < 1_000_000


def test_fitting_learns_what_can_be_learned_and_tells_of_every_epoch(tmp_path: Path) -> None:
    told: list[EpochScores] = []
    fitted = fit(tmp_path, on_epoch=told.append, epochs=6)
    found = probabilities(fitted)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == [0] * 5 + [1] * 5).mean() >= 0.9
    assert [scores.epoch for scores in told] == list(range(1, 7))
    assert [scores.loss for scores in told] == fitted.history["loss"]
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]
    assert fitted.best_epoch == 1 + int(np.argmax(fitted.history["val_uar"]))
    assert told[-1].best_epoch == fitted.best_epoch


def test_an_interrupted_fit_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def stop(scores: EpochScores) -> None:
        raise KeyboardInterrupt

    whole = fit(tmp_path / "whole", epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", epochs=2, on_epoch=stop)
    told: list[EpochScores] = []
    resumed = fit(tmp_path / "parts", epochs=2, on_epoch=told.append)
    assert [scores.epoch for scores in told] == [2]
    assert resumed.history["loss"][0] == pytest.approx(whole.history["loss"][0], rel=1e-5)
    assert len(resumed.history["loss"]) == 2
    assert json.loads((tmp_path / "parts" / "state.json").read_text())["finished"]
    again = fit(tmp_path / "parts", epochs=2, on_epoch=stop)
    assert again.history == resumed.history


def test_fitting_stops_when_validation_no_longer_gains(tmp_path: Path) -> None:
    fitted = fit(tmp_path, epochs=30, patience=1)
    assert len(fitted.history["loss"]) == fitted.best_epoch + 1 < 30


def test_without_a_validation_part_the_last_epoch_stands(tmp_path: Path) -> None:
    fitted = fit(tmp_path, epochs=2, validation=0)
    assert fitted.best_epoch == 2
    assert np.isnan(fitted.history["val_uar"]).all()
