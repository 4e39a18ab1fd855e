"""The library says what the commands say, with arrays as well as files, and imports nothing before it is used."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import serctl
from serctl.errors import AudioError, BundleError, ConfigError
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.verbs.train import TrainOptions

HEAVY = {"numpy", "scipy", "pandas", "pyarrow", "tensorflow", "keras", "librosa", "matplotlib", "rich", "typer"}


def test_exported_members() -> None:
    names = [name for name in vars(serctl) if not name.startswith("_")]
    assert sorted(serctl.__all__) == sorted(set(serctl.__all__))
    for name in serctl.__all__:
        assert getattr(serctl, name) is not None
    public = {name for name in names if not inspect.ismodule(getattr(serctl, name))}
    assert public - {"TYPE_CHECKING"} <= set(serctl.__all__)
    assert set(serctl.__all__) <= set(dir(serctl))
    with pytest.raises(AttributeError, match="has no attribute 'guess'"):
        _ = serctl.guess  # type: ignore[attr-defined]


@pytest.mark.parametrize("statement", ["import serctl", "import serctl; serctl.predict, serctl.train, serctl.Model"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(ended.stdout.split()) & HEAVY


def test_everything_public_is_documented_and_typed() -> None:
    members = [member for name in serctl.__all__ if callable(member := getattr(serctl, name))]
    assert all(member.__doc__ for member in members)
    for member in filter(inspect.isfunction, members):
        assert "Args:" in member.__doc__, member
        assert "Returns:" in member.__doc__ or "Raises:" in member.__doc__
        assert "return" in member.__annotations__
        assert all(parameter in member.__annotations__ for parameter in inspect.signature(member).parameters)


def test_a_model_predicts_a_file_as_the_report_does(serctl_model: serctl.Model, samples: Path) -> None:
    prediction = serctl_model.predict(samples / "jana-sad.flac")
    (row,) = serctl.predict(samples / "jana-sad.flac", model=serctl_model).to_dict("records")
    assert (prediction.emotion, prediction.confidence) == (row["emotion"], row["confidence"])
    assert prediction.probabilities == {label: row[f"p_{label}"] for label in serctl_model.labels}
    assert (prediction.start_s, prediction.end_s) == (row["start"], row["end"])
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert [each.windows for each in prediction.windows] == [()]


def test_the_windows_are_those_of_the_report(serctl_model: serctl.Model, samples: Path) -> None:
    options = serctl.PredictOptions(per="window", window_s=1)
    windows = serctl_model.predict(samples / "jana-sad.flac", options=options).windows
    rows = serctl.predict(str(samples / "jana-sad.flac"), model=serctl_model, options=options)
    assert len(rows) == 3
    assert [each.start_s for each in windows] == rows["start"].tolist() == [0, 1, 2]
    assert [each.emotion for each in windows] == rows["emotion"].tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_predicted_like_the_file_they_come_from(
    serctl_model: serctl.Model, samples: Path, dtype: str, channels: int
) -> None:
    path = samples / "emma-angry.wav"
    array, rate = soundfile.read(path, dtype=dtype)
    if channels == 2:
        array = np.column_stack([array, array])
    of_file, of_array = serctl_model.predict(path), serctl_model.predict(array, sample_rate=rate)
    assert of_array.emotion == of_file.emotion
    assert of_array.end_s == pytest.approx(of_file.end_s)
    for label in serctl_model.labels:
        assert of_array.probabilities[label] == pytest.approx(of_file.probabilities[label], abs=1e-4)


def test_silence_is_no_speech(serctl_model: serctl.Model) -> None:
    prediction = serctl_model.predict(np.zeros(16_000, np.float32), sample_rate=16_000)
    assert prediction.emotion == "no-speech"
    assert math.isnan(prediction.confidence)


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros((2, 2, 2)), 16_000, r"expected numbers of shape \(n,\) or \(n, channels\)"),
        (np.zeros(0), 16_000, "expected numbers of shape"),
        (np.array(["a"]), 16_000, "expected numbers of shape"),
        (np.full(16_000, np.nan), 16_000, "expected finite samples"),
        (np.ones(100), 16_000, "the recording lasts 0.0063 s, expected at least 0.1 s"),
        (Path("no.wav"), None, "does not exist"),
    ],
)
def test_what_is_no_recording_is_refused(
    serctl_model: serctl.Model, audio: Any, rate: int | None, message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        serctl_model.predict(audio, sample_rate=rate)


def test_a_rate_belongs_to_samples_and_not_to_a_file(serctl_model: serctl.Model, samples: Path) -> None:
    with pytest.raises(ConfigError, match="expected sample_rate"):
        serctl_model.predict(np.zeros(16_000))
    with pytest.raises(ConfigError, match="states its own sample rate"):
        serctl_model.predict(samples / "tom-sad.flac", sample_rate=16_000)
    with pytest.raises(ConfigError, match="a positive sample rate"):
        serctl_model.predict(np.zeros(16_000), sample_rate=0)


def test_a_frame_has_the_rows_and_columns_of_the_report(
    serctl_model: serctl.Model, samples: Path, tmp_path: Path, serctl: Callable[..., Any]
) -> None:
    import serctl as library

    (tmp_path / "bad.wav").write_bytes(b"nothing")
    found = [samples / "tom-sad.flac", tmp_path / "bad.wav"]
    frame = library.predict(found, model=serctl_model)
    output = tmp_path / "o.csv"
    assert serctl("predict", *found, "--model", serctl_model.bundle.folder, "-o", output, "-q").code == 3
    rows = read_report(output)
    assert list(frame.columns) == list(rows[0])
    assert frame["path"].tolist() == [row["path"] for row in rows] == [str(path) for path in found]
    assert frame["status"].tolist() == ["ok", "error"]
    assert "bad.wav" in frame["error"][1]
    assert frame["confidence"][0] == pytest.approx(rows[0]["confidence"], abs=1e-4)
    assert (str(frame["sample_rate"].dtype), str(frame["confidence"].dtype)) == ("Int64", "float64")


def test_features_are_those_of_the_report(samples: Path, tmp_path: Path, serctl: Callable[..., Any]) -> None:
    import serctl as library

    frame = library.extract(samples / "tom-sad.flac")
    serctl("extract", samples / "tom-sad.flac", "-o", tmp_path / "o.csv", "-q")
    (row,) = read_report(tmp_path / "o.csv")
    assert list(frame.columns) == list(row)
    assert frame["f0_hz_mean"][0] == pytest.approx(row["f0_hz_mean"], rel=1e-5)


def test_a_scan_is_a_manifest_with_the_problems_beside_it(samples: Path, tmp_path: Path) -> None:
    manifest, problems = serctl.scan(samples)
    assert (len(manifest), problems) == (16, ())
    assert {"path", "emotion", "speaker", "duration"} <= set(manifest.columns)
    manifest.to_csv(tmp_path / "m.csv", index=False)
    assert len(serctl.scan([tmp_path / "m.csv"]).manifest) == 16
    manifest.assign(path="gone.wav").to_csv(tmp_path / "gone.csv", index=False)
    with pytest.raises(serctl.SerctlError, match="gone"):
        serctl.scan(tmp_path / "gone.csv")


def test_training_and_evaluation_take_the_options_of_the_commands(
    tiny_options: TrainOptions, samples: Path, shared_cache: Cache, tmp_path: Path, tensorflow: None
) -> None:
    run = serctl.Run(shared_cache, jobs=1)
    options = replace(tiny_options, architecture="mfcc")
    epochs: list[Any] = []
    result = serctl.train(str(samples), output=tmp_path / "m", options=options, run=run, on_epoch=epochs.append)
    assert (result.facts.architecture, len(epochs)) == ("mfcc", 2)
    evaluation = serctl.evaluate(samples, output=str(tmp_path / "e"), model=tmp_path / "m", run=run)
    assert evaluation.metrics["n"] == 16
    validation = serctl.CrossValidation(
        architecture="mfcc",
        protocol="speaker-kfold:2",
        fit=replace(options.fit, epochs=1),
        augmentation=serctl.Augmentation(copies=0),
        validation_share=0.5,
    )
    folds: list[Any] = []
    crossed = serctl.cross_validate(
        samples, output=tmp_path / "c", options=validation, run=run, on_fold=lambda *fold: folds.append(fold)
    )
    assert (crossed.metrics["n"], len(folds)) == (16, 2)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(BundleError, match="no model magic"):
        serctl.load_model("magic")


def test_the_default_model_is_the_bundled_one(samples: Path) -> None:
    model = serctl.load_model()
    assert repr(model).startswith("Model('serctl-base@")
    assert model.predict(str(samples / "tom-sad.flac")).emotion in {*model.labels}


@pytest.fixture(scope="module")
def serctl_model(mfcc_bundle: Bundle) -> serctl.Model:
    """A small model, loaded once."""
    return serctl.load_model(mfcc_bundle.folder)
