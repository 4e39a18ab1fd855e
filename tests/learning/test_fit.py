"""Networks fitted to what is easy to learn; small shapes keep it quick."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.errors import ConfigError, DivergedError
from serctl.features import FeatureConfig, Features, Normaliser, encoder_parameters, functional_names
from serctl.learning.options import FitOptions
from serctl.models import ModelSpec, build

if TYPE_CHECKING:
    from collections.abc import Callable
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
    """No-op callback."""


def fit(
    folder: Path,
    *,
    architecture: str = "hybrid",
    spec: ModelSpec = SPEC,
    start: Start | None = None,
    training: list[Example] | None = None,
    on_epoch: Any = ignore_epoch,
    **options: Any,
) -> Fitted:
    from serctl.learning.fit import fit as fit_network

    folder.mkdir(exist_ok=True)
    plain = examples(16, seed=0)
    return fit_network(
        architecture,
        spec,
        plain if training is None else training,
        examples(10, seed=1),
        normaliser=Normaliser.fit([example.variants[0] for example in plain]),
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
    assert model.count_params() + encoder_parameters(FeatureConfig(voice_encoder=True)) < 1_000_000


@pytest.mark.usefixtures("traced")
def test_fitting_learns_what_can_be_learned_and_tells_of_every_epoch(tmp_path: Path) -> None:
    told: list[EpochScores] = []
    fitted = fit(tmp_path, architecture="mfcc", on_epoch=told.append, epochs=8)
    found = probabilities(fitted)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == [0] * 5 + [1] * 5).mean() >= 0.9
    assert [scores.epoch for scores in told] == list(range(1, 9))
    assert [scores.loss for scores in told] == fitted.history["loss"]
    assert fitted.history["loss"][-1] < fitted.history["loss"][0]
    assert told[-1].best_epoch == fitted.best_epoch
    assert fitted.history["val_uar"][fitted.best_epoch - 1] == max(fitted.history["val_uar"][4:])


@pytest.mark.usefixtures("traced")
def test_a_short_training_is_not_held_back_by_its_averages(tmp_path: Path) -> None:
    fitted = fit(tmp_path, architecture="cnn", epochs=20, weight_average=0.99)
    assert fitted.history["val_loss"][-1] < 0.2


class EndingAfter(list[Any]):
    """Examples that end the fit when so many of them have been read, at whatever step that is."""

    def __init__(self, items: list[Example], reads: int, end: Callable[[], None]) -> None:
        super().__init__(items)
        self.reads = reads
        self.end = end

    def __getitem__(self, index: Any) -> Any:
        self.reads -= 1
        if self.reads < 0:
            self.end()
        return super().__getitem__(index)


def interrupt() -> None:
    raise RuntimeError("ended")


def fit_until_killed(folder: Path, reads: int) -> None:
    """Run in a process of its own."""
    training = EndingAfter(examples(16, seed=0), reads, lambda: os.kill(os.getpid(), signal.SIGKILL))
    fit(folder, architecture="mfcc", training=training)


@pytest.mark.usefixtures("traced")
def test_a_fit_interrupted_at_any_step_gives_the_same_network(tmp_path: Path) -> None:
    # cnn has all that a fit changes beside weights: normalisations that average, and dropout with a random state.
    whole = fit(tmp_path / "whole", architecture="cnn")
    rng = np.random.default_rng(7)
    told: list[int] = []
    for _ in range(2):
        # An epoch reads 32 examples; where the fit is over before, nothing is interrupted.
        training = EndingAfter(examples(16, seed=0), int(rng.integers(8, 64)), interrupt)
        with contextlib.suppress(Exception):  # TensorFlow hands it on as one of its own
            fit(tmp_path / "cut", architecture="cnn", training=training, on_epoch=lambda s: told.append(s.epoch))
    resumed = fit(tmp_path / "cut", architecture="cnn", on_epoch=lambda s: told.append(s.epoch))
    assert told == [1, 2, 3]  # no epoch is done twice
    assert resumed.history == whole.history
    for mine, theirs in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert fit(tmp_path / "cut", architecture="cnn", on_epoch=lambda _: interrupt()).history == whole.history


@pytest.mark.usefixtures("traced")
def test_a_fit_killed_in_another_process_gives_the_same_network(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", architecture="mfcc")
    (tmp_path / "cut").mkdir()
    script = (
        "import runpy, sys; from pathlib import Path; "
        "runpy.run_path(sys.argv[1])['fit_until_killed'](Path(sys.argv[2]), 32 + 17)"
    )
    ended = subprocess.run([sys.executable, "-c", script, __file__, tmp_path / "cut"], timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL
    told: list[EpochScores] = []
    resumed = fit(tmp_path / "cut", architecture="mfcc", on_epoch=told.append)
    assert [scores.epoch for scores in told] == [2, 3]
    for mine, theirs in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ConfigError, match=r"checkpoint\.npz: the checkpoint is damaged"):
        fit(tmp_path)


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint\.npz") as raised:
            fit(tmp_path, architecture="mfcc", epochs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_ends_the_fit_at_once(tmp_path: Path) -> None:
    told: list[EpochScores] = []
    with pytest.raises(DivergedError, match=r"in epoch \d is .*: expected a number\. The learning rate 1e\+30"):
        fit(tmp_path, architecture="mfcc", lr=1e30, epochs=40, on_epoch=told.append)
    assert len(told) < 3


def test_attention_is_kept_beside_the_probabilities(tmp_path: Path) -> None:
    fitted = fit(tmp_path, architecture="attention", epochs=1, batch_size=32)
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
    assert second.start_score is None


@pytest.mark.usefixtures("traced")
def test_a_model_that_training_would_make_worse_is_kept(tmp_path: Path) -> None:
    from serctl.learning.fit import Start

    first = fit(tmp_path / "first", architecture="mfcc", epochs=8)
    wrong = [replace(example, label=1 - example.label) for example in examples(16, seed=0)]
    second = fit(tmp_path / "second", architecture="mfcc", training=wrong, start=Start(first.weights))
    assert (second.best_epoch, second.start_score) == (0, first.validation_score)
    assert second.validation_score >= max(second.history["val_uar"])
    for mine, theirs in zip(second.weights, first.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    resumed = fit(tmp_path / "second", architecture="mfcc", training=wrong, start=Start(first.weights))
    assert (resumed.best_epoch, resumed.start_score) == (0, first.validation_score)
