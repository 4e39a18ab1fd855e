from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from serctl.errors import ConfigError
from serctl.learning.options import Augmentation, FitOptions
from serctl.models import ARCHITECTURES, ModelSpec, build, find_architecture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("patience", 0),
        ("batch_size", 0),
        ("crop", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("label_smoothing", 1.0),
        ("time_mask", -0.1),
        ("band_mask", 1.0),
        ("weight_average", 1.0),
        ("mixup", -0.1),
        ("functional_noise", -1.0),
        ("weight_decay", -1e-9),
        ("teacher_share", 1.0),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"expected {name} .*\. Received: {value}"):
        FitOptions(**{name: value})


def test_options_as_json() -> None:
    assert FitOptions(**FitOptions(epochs=7, lr=0.5).to_dict()) == FitOptions(epochs=7, lr=0.5)


def test_an_unknown_architecture_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="perceptron: expected one of speech-attention, speech, hybrid"):
        find_architecture("perceptron")
    with pytest.raises(ConfigError, match="no architecture"):
        build("", ModelSpec(n_frames=8, n_mels=8, functionals=("a", "b", "c"), n_classes=2))


def test_what_trains_quickly_trains_for_longer() -> None:
    assert FitOptions.defaults("cnn") == FitOptions()
    assert FitOptions.defaults("hybrid") == FitOptions(epochs=100, patience=40)


def test_augmentation_as_json_names_noise_without_its_folder(tmp_path: Path) -> None:
    values = Augmentation(noise_files=(tmp_path / "fan.wav",), voice_files=(tmp_path / "voice.wav",)).to_dict()
    assert json.loads(json.dumps(values))["noise_files"] == ["fan.wav"]
    assert values["voice_files"] == 1
    assert str(tmp_path) not in json.dumps(values)


def test_each_copy_has_its_recipe_and_more_of_one_kind_leave_the_others_as_they_are() -> None:
    recipes = Augmentation(copies=2, noisy_copies=1, degraded_copies=1, vocal_tract_copies=2).recipes()
    names = [[transform.to_dict()["transform"] for transform in recipe] for recipe in recipes]
    assert names == [["speed"], ["speed"], ["speed", "noise"], ["one_of"], ["vocal_tract"], ["vocal_tract"]]


def test_a_fit_that_starts_from_a_model_takes_smaller_and_fewer_steps() -> None:
    for architecture in ARCHITECTURES:
        new, continued = (FitOptions.defaults(architecture, continued=each) for each in (False, True))
        assert continued.lr < new.lr
        assert continued.epochs <= new.epochs
