from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.audio.segments import read_audio
from serctl.bundle.facts import export_dict
from serctl.bundle.store import load_bundle
from serctl.errors import ConfigError, DisagreementError, Remedy
from serctl.export import end_to_end
from serctl.export.convert import to_litert
from serctl.export.frontend import _whole, end_to_end_to_litert, longest_samples, tensors
from serctl.export.options import ExportOptions
from serctl.export.original import rebuild
from serctl.features import FeatureConfig, Normaliser, compute_features, functional_names, is_silent
from serctl.run import Run
from serctl.runtime.litert import load_litert
from serctl.runtime.recogniser import calibrated, network_inputs
from serctl.verbs.export import export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle

pytestmark = pytest.mark.usefixtures("tensorflow")

RATE = 16_000
LONGEST = 72_000


def pulses(seconds: float, level: float) -> NDArray[np.float32]:
    """A voice-like signal: pulses of a gliding pitch through two resonances, in bursts, over weak noise."""
    rng = np.random.default_rng(5)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = np.cumsum((150 + 40 * np.sin(2 * time)) / RATE)
    source = np.diff(np.floor(phase), prepend=0) * (np.sin(2 * np.pi * 1.5 * time) > -0.5)
    decay = np.exp(-np.arange(400) / 60)
    voice = sum(np.convolve(source, decay * np.cos(np.arange(400) * 2 * np.pi * hz / RATE)) for hz in (600, 1700))
    return (level * (voice[: len(time)] + 1e-3 * rng.normal(size=len(time)))).astype(np.float32)


SIGNALS: dict[str, Callable[[], NDArray[np.floating]]] = {
    "voice-like": lambda: pulses(2.2, 0.1),
    "longest": lambda: pulses(4.5, 0.1),
    "DC": lambda: pulses(2, 0.05) + 0.6,
    "quiet beside DC": lambda: pulses(2, 1e-3) - 0.9,
    "very quiet": lambda: pulses(2, 1e-3),
    "hardly there": lambda: pulses(2, 1e-5),
    "clipped": lambda: np.clip(pulses(2, 5), -1, 1),
    "speech in silence": lambda: np.concatenate([np.zeros(9000), pulses(0.7, 0.1), np.zeros(20_001)]),
    "30 ms": lambda: pulses(0.03, 0.1),
    "one sample": lambda: np.array([0.5]),
    "silence": lambda: np.zeros(30_000),
    "noise": lambda: np.random.default_rng(1).normal(0, 0.1, LONGEST - 1),
    "single clicks": lambda: np.eye(1, 40_000, 777)[0] + np.eye(1, 40_000, 33_333)[0],
}


@dataclass(frozen=True)
class Twins:
    """An end-to-end model, and the front end in Python with the same network."""

    bundle: Bundle
    content: bytes
    network_content: bytes
    whole: Any
    network: Any

    def judge(self, samples: NDArray[np.floating]) -> tuple[NDArray[np.float32], int]:
        padded = np.zeros((1, LONGEST), np.float32)
        padded[0, : len(samples)] = samples
        outputs = self.whole(samples=padded, n_samples=np.array([len(samples)], np.int32))
        return outputs["probabilities"][0], int(outputs["speech_frames"][0])

    def judge_in_python(self, samples: NDArray[np.floating]) -> tuple[NDArray[np.float64], int]:
        config = self.bundle.facts.features
        features = compute_features(samples.astype(np.float32), config)
        inputs = network_inputs(self.bundle, [features], [None])
        raw = self.network(log_mel=inputs["log_mel"], mask=inputs["mask"])["probabilities"]
        silent = is_silent(features.functionals, config)
        found = calibrated(raw, self.bundle.facts.temperature, [features], hop_s=config.hop_s)[0]
        return found, 0 if silent else len(features.log_mel)


@pytest.fixture(scope="module")
def make_twins(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Twins]:
    def make(bundle: Bundle, *, int8_weights: bool = False) -> Twins:
        bundle = replace(bundle, facts=replace(bundle.facts, temperature=1.7))
        model = rebuild(bundle)
        folder = tmp_path_factory.mktemp("twins")
        content = end_to_end_to_litert(model, bundle, int8_weights=int8_weights)
        (folder / "whole.tflite").write_bytes(content)
        quantize: Any = "dynamic" if int8_weights else "none"
        network = to_litert(model, n_frames=bundle.facts.n_frames, quantize=quantize)
        (folder / "network.tflite").write_bytes(network)
        paths = (folder / "whole.tflite", folder / "network.tflite")
        return Twins(bundle, content, network, *map(load_litert, paths))

    return make


@pytest.fixture(scope="module")
def twins(make_twins: Callable[..., Twins], separable: Bundle) -> Twins:
    return make_twins(separable)


def check_recordings(twins: Twins, samples: Path, *, within: float = 1e-3) -> None:
    labels = set()
    for path in sorted(samples.glob("*-*.*")):
        signal = read_audio(path, sample_rate=RATE)
        expected, expected_frames = twins.judge_in_python(signal)
        found, frames = twins.judge(signal)
        np.testing.assert_allclose(found, expected, atol=within, err_msg=path.name)
        assert frames == expected_frames > 100
        labels.add(int(expected.argmax()))
    assert len(labels) > 1


def int8_tensors(content: bytes) -> list[tuple[int, ...]]:
    """The shapes of all tensors in int8."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=content).get_tensor_details()
    return sorted(tuple(each["shape"]) for each in details if each["dtype"] == np.int8)


def test_recordings_are_judged_as_in_python(twins: Twins, samples: Path) -> None:
    check_recordings(twins, samples)


def test_int8_weights_leave_the_front_end_alone(
    make_twins: Callable[..., Twins], twins: Twins, separable: Bundle, samples: Path
) -> None:
    smaller = make_twins(separable, int8_weights=True)
    assert len(smaller.content) < 0.4 * len(twins.content)
    assert int8_tensors(smaller.content) == int8_tensors(smaller.network_content)
    # The weights of its matrices and convolutions, three of them depthwise.
    assert len(int8_tensors(smaller.content)) == 9
    # Activations are rounded to int8 as well: what differs by 1e-7 may end up on either side.
    check_recordings(smaller, samples, within=0.05)


@pytest.mark.parametrize("name", SIGNALS)
def test_any_signal_is_judged_as_in_python(twins: Twins, name: str) -> None:
    signal = SIGNALS[name]()
    expected, expected_frames = twins.judge_in_python(signal)
    found, frames = twins.judge(signal)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert frames == expected_frames


def test_a_count_out_of_range_is_taken_for_the_nearest(twins: Twins) -> None:
    samples = np.full((1, LONGEST), 0.1, np.float32) * pulses(4.5, 1)
    for count, meant in ((0, 1), (-5, 1), (LONGEST + 1, LONGEST)):
        found = twins.whole(samples=samples, n_samples=np.array([count], np.int32))
        expected = twins.whole(samples=samples, n_samples=np.array([meant], np.int32))
        np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])
        assert np.isfinite(found["probabilities"]).all()


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(),
        FeatureConfig(sample_rate=11_025, window_s=1.003, hop_s=0.0123, n_fft=512, mel_high_hz=5_512),
        FeatureConfig(n_mels=128, n_fft=700, mel_low_hz=0, mel_high_hz=8_000),  # bands so narrow that some hold no bin
        FeatureConfig(sample_rate=44_100, window_s=0.7, n_fft=2048, n_mels=24, mel_high_hz=2_000, trim_db=12),
    ],
    ids=["default", "odd", "narrow", "44.1 kHz"],
)
def test_the_network_gets_the_inputs_that_python_makes(twins: Twins, config: FeatureConfig) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(2)
    mel = rng.normal(-40, 5, config.n_mels).astype(np.float32), rng.uniform(8, 15, config.n_mels).astype(np.float32)
    zeros = np.zeros(len(functional_names(config)), np.float32)
    normaliser = Normaliser(*mel, zeros, zeros + 1)
    n_frames = round(config.window_s / config.hop_s)
    given: dict[str, Any] = {}

    def network(**inputs: Any) -> dict[str, Any]:
        given.update(inputs)
        return {"probabilities": tf.constant([[0.2, 0.8]])}

    facts = replace(twins.bundle.facts, features=config, n_frames=n_frames)
    run = _whole(network, facts, normaliser)
    longest = longest_samples(config)
    for length, quiet_until in ((longest, 0), (longest // 2, longest // 5), (longest // 3 + 7, 11), (1, 0)):
        samples = rng.normal(0, 0.05, length).astype(np.float32) * np.linspace(1, 0.2, length, dtype=np.float32)
        samples[:quiet_until] *= 1e-3
        features = compute_features(samples, config)
        expected = normaliser.model_inputs([features], n_frames=n_frames)
        padded = np.pad(samples, (0, longest - length))[None]
        outputs = run(tf.constant(padded), tf.constant([length]))
        np.testing.assert_array_equal(given["mask"], expected["mask"])
        # One step of float16, since rounding may fall to either side; in hardly any place.
        difference = np.abs(given["log_mel"] - expected["log_mel"])
        assert difference.max() < 0.0626 / 8
        assert np.mean(difference > 1e-4) < 0.01
        spoken = 0 if is_silent(features.functionals, config) else len(features.log_mel)
        assert int(outputs["speech_frames"][0]) == spoken


RUN_ALONE = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
run = interpreter.get_signature_runner()
details = [
    {name: [list(map(int, each["shape"])), np.dtype(each["dtype"]).name] for name, each in found.items()}
    for found in (run.get_input_details(), run.get_output_details())
]
outputs = run(samples=np.zeros((1, 72000), np.float32), n_samples=np.array([16000], np.int32))
operators = sorted({each["op_name"] for each in interpreter._get_ops_details()})
print(json.dumps([details, outputs["probabilities"].tolist(), operators, "tensorflow" in sys.modules]))
"""


def test_the_plain_interpreter_runs_it_and_its_tensors_are_those_described(twins: Twins, tmp_path: Path) -> None:
    path = tmp_path / "whole.tflite"
    path.write_bytes(twins.content)
    command = [sys.executable, "-c", RUN_ALONE, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    details, ((*probabilities,),), operators, with_tensorflow = json.loads(ended.stdout)
    described = tensors(twins.bundle.facts)
    for found, tensors_of_kind in zip(details, described, strict=True):
        assert found == {name: [list(each.shape), each.dtype] for name, each in tensors_of_kind.items()}
    assert sum(probabilities) == pytest.approx(1, abs=1e-6)
    assert "RFFT2D" in operators
    assert not [name for name in operators if name.startswith(("Flex", "CUSTOM"))]
    assert not with_tensorflow


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_export_adds_the_model_its_proof_and_how_to_call_it(
    separable: Bundle, samples: Path, tmp_path: Path, quantize: Any
) -> None:
    options = ExportOptions(
        quantize=quantize,
        calibrate=samples if quantize == "int8" else None,
        verify=samples,
        with_frontend=True,
    )
    result = export(separable, output=tmp_path / "m", options=options, run=Run(jobs=1))
    bundle = load_bundle(tmp_path / "m")
    assert result.end_to_end
    parity = result.end_to_end
    assert parity.windows == 16
    assert parity.largest_difference <= (1e-3 if quantize == "none" else 0.05)
    assert parity.equal_labels == 1
    assert parity.before.ms_per_audio_s > 0 < parity.after.ms_per_audio_s
    assert parity.after.size_bytes == (tmp_path / "m" / "end_to_end.tflite").stat().st_size
    made = json.loads((tmp_path / "m" / "export.json").read_text())
    assert made == json.loads(json.dumps(export_dict(bundle.facts.export)))
    end_to_end = made["end_to_end"]
    assert (end_to_end["file"], end_to_end["sample_rate"]) == ("end_to_end.tflite", RATE)
    assert end_to_end["weights"] == ("float32" if quantize == "none" else "int8")
    assert end_to_end["inputs"]["samples"]["shape"] == [1, LONGEST]
    assert end_to_end["outputs"]["probabilities"]["meaning"].endswith(", ".join(bundle.facts.labels))
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| inputs | `n_samples` | [1] | int32 |" in card
    assert "| outputs | `probabilities` | [1, 4] | float32 | calibrated; in this order: " in card


def test_a_model_that_says_something_else_is_not_written(
    separable: Bundle, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(model: Any, bundle: Bundle, *, int8_weights: bool) -> bytes:
        colder = replace(bundle, facts=replace(bundle.facts, temperature=1.05))
        return end_to_end_to_litert(model, colder, int8_weights=int8_weights)

    monkeypatch.setattr(end_to_end, "end_to_end_to_litert", worse)
    options = ExportOptions(verify=samples / "emma-happy.flac", with_frontend=True)
    with pytest.raises(DisagreementError, match=r"differ from those of Python by up to 0\.0\d+, expected") as raised:
        export(separable, output=tmp_path / "m", options=options, run=Run(jobs=1))
    assert raised.value.end_to_end
    assert raised.value.parity.equal_labels == 1
    assert not [path for path in tmp_path.iterdir() if "m" in path.name]


def test_what_cannot_travel_is_refused(tiny_bundle: Bundle, samples: Path, tmp_path: Path) -> None:
    options = ExportOptions(verify=samples, with_frontend=True)
    with pytest.raises(
        ConfigError, match=r"hybrid takes functionals .* cnn, resnet, lstm, separable, separable-small, cnn-large"
    ):
        export(tiny_bundle, output=tmp_path / "m", options=options)
    assert not (tmp_path / "m").exists()
    with pytest.raises(ConfigError, match="the feature cache does not hold") as raised:
        ExportOptions(with_frontend=True)
    assert raised.value.remedies == (Remedy.VERIFICATION_RECORDINGS,)
    with pytest.raises(ConfigError, match=r"part of a LiteRT model\. Received: format=onnx") as raised:
        ExportOptions(format="onnx", quantize="none", verify=samples, with_frontend=True)
    assert raised.value.remedies == (Remedy.LITERT,)
