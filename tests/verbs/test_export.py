from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.bundle.facts import Calibration, ExportFacts
from serctl.bundle.store import load_bundle, write_bundle
from serctl.errors import AudioError, BundleError, ConfigError, DisagreementError, Remedy
from serctl.export import material
from serctl.export.convert import to_litert, to_onnx
from serctl.export.measure import measure_network
from serctl.export.options import ExportOptions
from serctl.features import FeatureReader
from serctl.records import read_record
from serctl.run import Run
from serctl.runtime.recogniser import Recogniser, network_inputs
from serctl.verbs import export as module
from serctl.verbs.export import ExportResult, export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.features import Features

pytestmark = pytest.mark.usefixtures("tensorflow")

LONGEST_ERROR = {"none": 0.003, "float16": 0.003, "dynamic": 0.05, "int8": 0.1}


@pytest.fixture(scope="module", params=["none", "float16", "dynamic", "int8"])
def exported(
    request: pytest.FixtureRequest,
    separable: Bundle,
    samples: Path,
    shared_cache: Cache,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportResult:
    """The small model in each quantization."""
    options = ExportOptions(quantize=request.param, verify=samples, command="serctl export m")
    output = tmp_path_factory.mktemp(request.param) / "m"
    return export(separable, output=output, options=options, run=Run(shared_cache, jobs=1))


def test_an_exported_bundle_says_what_the_original_says_and_proves_it(
    exported: ExportResult, separable: Bundle, windows: list[Features]
) -> None:
    old = Recogniser(separable).probabilities(windows)
    assert old.max(axis=1).mean() > 0.5
    assert len(set(old.argmax(axis=1))) == 4
    new = Recogniser(load_bundle(exported.folder)).probabilities(windows)
    difference = np.abs(new - old)
    assert difference.max() < LONGEST_ERROR[exported.facts.export.quantize]
    parity = exported.parity
    assert parity.windows == len(windows) == 16
    assert parity.labels == 4
    assert parity.largest_difference == pytest.approx(difference.max(), rel=1e-6)
    assert parity.mean_difference == pytest.approx(difference.mean(), rel=1e-6)
    assert parity.equal_labels == np.mean(new.argmax(axis=1) == old.argmax(axis=1))


def test_the_proof_tells_what_either_network_takes(exported: ExportResult, separable: Bundle) -> None:
    before, after = exported.parity.before, exported.parity.after
    assert before.size_bytes == separable.model_path.stat().st_size
    assert after.size_bytes == (exported.folder / "model.tflite").stat().st_size
    share = {"none": 2, "float16": 1, "dynamic": 0.6, "int8": 0.65}[exported.facts.export.quantize]
    assert after.size_bytes / before.size_bytes == pytest.approx(share, abs=0.1)
    for cost in (before, after):
        assert 0 < cost.ms_per_audio_s < 1000
        if sys.platform == "linux":
            # The process that started it holds TensorFlow, several times as much.
            assert 20 < (cost.idle_memory_mb or 0) < (cost.peak_memory_mb or 0) < 250


def test_the_exported_bundle_keeps_the_facts_and_tells_what_was_done(exported: ExportResult, separable: Bundle) -> None:
    bundle = load_bundle(exported.folder)
    quantize = exported.facts.export.quantize
    assert bundle.facts == exported.facts
    assert bundle.facts.name == f"separable-small-{'float32' if quantize == 'none' else quantize}"
    assert replace(bundle.facts, name=separable.facts.name, export=None) == separable.facts
    assert bundle.training_list() == separable.training_list()
    assert {path.name for path in bundle.folder.iterdir()} == {
        *("model.tflite", "normaliser.npz", "training.csv", "bundle.json", "README.md", "export.json")
    }
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["m"]
    made = json.loads((bundle.folder / "export.json").read_text())
    assert read_record(ExportFacts, made) == bundle.facts.export
    assert (made["source"], made["command"]) == (separable.identity, "serctl export m")
    assert (made["calibration"] is None) == (quantize != "int8")
    assert f"Made of `{separable.identity}`" in (bundle.folder / "README.md").read_text()


def test_a_network_that_says_something_else_is_not_written(
    separable: Bundle, shared_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(original: Any, *_: Any) -> bytes:
        original.set_weights([-weight if weight.shape[-1:] == (4,) else weight for weight in original.get_weights()])
        return to_litert(original, n_frames=separable.facts.n_frames)

    monkeypatch.setattr(module, "_convert", worse)
    with pytest.raises(DisagreementError, match=r"0\.0 % of the labels .* expected at least 98 %: nothing was written"):
        export(separable, output=tmp_path / "m", options=ExportOptions(), run=Run(shared_cache))
    assert not [path for path in tmp_path.iterdir() if "m" in path.name]
    shutil.copytree(separable.folder, tmp_path / "m")
    with pytest.raises(DisagreementError):
        export(separable, output=tmp_path / "m", options=ExportOptions(), run=Run(shared_cache, overwrite=True))
    assert load_bundle(tmp_path / "m").digest == separable.digest
    with pytest.raises(ConfigError, match="already exists") as raised:
        export(separable, output=tmp_path / "m", options=ExportOptions(), run=Run(shared_cache))
    assert raised.value.remedies == (Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)


def test_without_cached_features_recordings_are_asked_for(separable: Bundle, tmp_path: Path) -> None:
    def run(**options: Any) -> None:
        export(separable, output=tmp_path / "m", options=ExportOptions(**options))

    with pytest.raises(ConfigError, match="no speech in the feature cache") as raised:
        run()
    assert raised.value.remedies == (Remedy.VERIFICATION_RECORDINGS,)
    with pytest.raises(ConfigError, match="int8 measures") as raised:
        run(quantize="int8")
    assert raised.value.remedies == (Remedy.CALIBRATION_RECORDINGS,)
    with pytest.raises(AudioError, match="nowhere"):
        run(verify=tmp_path / "nowhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no speech in .*bad; .*a\.wav' is empty") as raised:
        run(calibrate=tmp_path / "bad")
    assert raised.value.remedies == (Remedy.CALIBRATION_RECORDINGS,)
    assert not (tmp_path / "m").exists()


def test_recordings_to_calibrate_with_serve_to_verify_and_a_bad_one_is_named(
    separable: Bundle, samples: Path, tmp_path: Path
) -> None:
    shutil.copytree(samples, tmp_path / "in")
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    options = ExportOptions(quantize="int8", calibrate=tmp_path / "in", min_agreement=0)
    result = export(separable, output=tmp_path / "m", options=options, run=Run(jobs=1))
    assert [problem.endswith("bad.wav' is empty (0 bytes)") for problem in result.problems] == [True]
    assert result.facts.export.calibration == Calibration(str(tmp_path / "in"), result.parity.windows)
    assert result.parity.windows > 10


def test_features_of_a_part_of_a_recording_are_found_by_its_entry(
    samples: Path, tiny_bundle: Bundle, tmp_path: Path, shared_cache: Cache
) -> None:
    config = tiny_bundle.facts.features
    reader = FeatureReader(samples / "tom-sad.flac", config, cache=shared_cache, start_s=0.25, end_s=1.5)
    (expected,) = reader
    folder = tmp_path / "part"
    folder.mkdir()
    entries = [replace(tiny_bundle.training_list()[0], digest=f"{reader.digest}@0.25-1.5", part="train")]
    write_bundle(
        folder,
        tiny_bundle.facts,
        model=tiny_bundle.model_path.read_bytes(),
        weights=tiny_bundle.weights(),
        normaliser=tiny_bundle.normaliser,
        training=entries,
        card="",
    )
    (found,) = material._cached(load_bundle(folder), "train", shared_cache)
    np.testing.assert_array_equal(found.functionals, expected.features.functionals)


def test_a_model_without_weights_or_with_others_is_refused(
    tiny_bundle: Bundle, separable: Bundle, shared_cache: Cache, tmp_path: Path
) -> None:
    def run(weights: list[Any], name: str) -> None:
        (tmp_path / name).mkdir()
        write_bundle(
            tmp_path / name,
            tiny_bundle.facts,
            model=tiny_bundle.model_path.read_bytes(),
            weights=weights,
            normaliser=tiny_bundle.normaliser,
            training=tiny_bundle.training_list(),
            card="",
        )
        export(load_bundle(tmp_path / name), output=tmp_path / "m", options=ExportOptions(), run=Run(shared_cache))

    with pytest.raises(BundleError, match=r"holds no weights\.npz to start from: it was exported, or trained before"):
        run([], "none")
    with pytest.raises(BundleError, match=r"weights\.npz: not the weights of this version's hybrid: train"):
        run(separable.weights(), "other")


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"exported in float32\. Received: quantize=int8") as raised:
        ExportOptions(format="onnx", quantize="int8")
    assert raised.value.remedies == (Remedy.NO_QUANTIZATION,)
    with pytest.raises(ConfigError, match=r"at most 1\. Received: 1\.5"):
        ExportOptions(min_agreement=1.5)
    with pytest.raises(ConfigError, match="quantize one of none, float16, dynamic, int8"):
        ExportOptions(quantize="int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="format one of litert, onnx"):
        ExportOptions(format="tf")  # type: ignore[arg-type]
    assert ExportOptions(quantize="int8").least_agreement == 0.95
    assert ExportOptions(quantize="none").least_agreement == 0.98


def test_a_network_that_cannot_be_run_says_why(tiny_bundle: Bundle, windows: list[Features], tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"no network")
    inputs = network_inputs(tiny_bundle, windows[:1], [None])
    with pytest.raises(BundleError, match=r"model\.tflite: the network cannot be run: .*LiteRT cannot load it"):
        measure_network(tmp_path / "model.tflite", inputs)


def test_predicting_with_an_onnx_model(
    opinionated: Callable[..., Bundle], samples: Path, shared_cache: Cache, windows: list[Features], tmp_path: Path
) -> None:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    hybrid = opinionated("hybrid")
    options = ExportOptions(format="onnx", quantize="none", verify=samples)
    export(hybrid, output=tmp_path / "m", options=options, run=Run(shared_cache, jobs=1))
    exported = load_bundle(tmp_path / "m")
    assert (exported.model_path.name, exported.facts.name) == ("model.onnx", "hybrid-onnx")
    assert not (tmp_path / "m" / "model.tflite").exists()
    expected = Recogniser(hybrid).probabilities(windows)
    np.testing.assert_allclose(Recogniser(exported).probabilities(windows), expected, atol=1e-3)
    exported.model_path.write_bytes(b"no network")
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        Recogniser(exported)


def test_onnx_needs_its_extra(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    tensor = keras.Input((3,), name="functionals")
    model = keras.Model([tensor], {"probabilities": keras.layers.Softmax()(tensor)})
    with pytest.raises(ConfigError, match=r"pip install 'serctl\[onnx\]'"):
        to_onnx(model, n_frames=3)
    with pytest.raises(ConfigError, match=r"model\.onnx needs ONNX Runtime .*serctl\[onnx\]"):
        Recogniser(load_bundle(onnx_folder))


def test_the_training_list_names_the_recordings_that_are_used(
    tiny_bundle: Bundle, shared_cache: Cache, windows: list[Features]
) -> None:
    run = Run(cache=shared_cache, jobs=1)
    found = material.gather(None, part="train", most=5, model=tiny_bundle, run=run)
    known = {window.functionals.tobytes() for window in windows}
    assert len(found.windows) == 5
    assert sum(window.functionals.tobytes() in known for window in found.windows) >= 4
    with (tiny_bundle.folder / "training.csv").open() as lines:
        assert sum(row["part"] == "train" for row in csv.DictReader(lines)) == 12


def test_a_copy_never_takes_the_place_of_its_original(mfcc_bundle: Bundle) -> None:
    kept = sorted(path.name for path in mfcc_bundle.folder.iterdir())
    with pytest.raises(ConfigError, match="is the model itself"):
        export(mfcc_bundle, output=mfcc_bundle.folder / ".", options=ExportOptions(), run=Run(overwrite=True))
    assert sorted(path.name for path in mfcc_bundle.folder.iterdir()) == kept
