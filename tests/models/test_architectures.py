"""What every architecture promises, and what each promises for itself; small shapes keep it quick."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import serctl.models
from serctl.errors import ConfigError
from serctl.features import FeatureConfig, encoder_parameters, functional_names
from serctl.features.words import MOST_TOKENS, UNITS
from serctl.models import ARCHITECTURES, ModelSpec, architecture_names, build

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("tensorflow")

ACOUSTIC = ("level_mean", "mfcc_1_mean", "f0_mean", "mfcc_2_sd", "f0_sd")
FUNCTIONALS = (*ACOUSTIC, "encoder_000_mean", "encoder_000_sd")
WITH_SPEECH = (*ACOUSTIC, "speech_1_000_mean", "speech_1_000_sd")
SPEC = ModelSpec(n_frames=64, n_mels=16, functionals=FUNCTIONALS, n_classes=3, languages=("de", "pl"))
WITH_SPECTROGRAM = architecture_names(lambda each: "log_mel" in each.inputs)

N_STATES = 12

# What a frame may see of its neighbours through the convolutions: 63 frames in resnet, the deepest.
REACH = 80


def spec_of(name: str) -> ModelSpec:
    """What the architecture is built for: the features of its encoder, if it has one."""
    facts = ARCHITECTURES[name]
    spec = replace(SPEC, functionals=WITH_SPEECH) if facts.speech_encoder else SPEC
    return replace(spec, n_states=N_STATES) if facts.speech_states else spec


@cache
def network(name: str) -> Any:
    """A network with random weights, far from the nearly uniform answers of a new one; never to be trained."""
    import keras

    keras.utils.set_random_seed(1)
    model = build(name, spec_of(name))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if variable.name in ("bias", "beta"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(inputs_of(model, 16), training=True)  # normalisations take over what they see
    return model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_record_names_the_inputs_of_its_network(name: str) -> None:
    assert {tensor.name for tensor in network(name).inputs} == ARCHITECTURES[name].inputs


def test_only_the_file_of_an_architecture_tells_of_it() -> None:
    package = Path(serctl.models.__file__).parents[1]
    # An architecture's name is also that of a layer, of an output, of a field, and a part of two columns' names.
    others = {"models/architecture.py", "runtime/recogniser.py", "explanation/recording.py", "verbs/transcribed.py"}
    sources = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    for name in ARCHITECTURES:
        tells = {path for path, source in sources.items() if f'"{name}"' in source}
        assert tells - others == {f"models/{name.replace('-', '_')}.py"}


def inputs_of(model: Any, count: int = 4, *, frames: int = 64, spoken: int = 64) -> dict[str, NDArray[np.float32]]:
    """Random windows with `spoken` frames of speech and padding up to `frames`."""
    rng = np.random.default_rng(2)
    mask = np.repeat([[1.0] * spoken + [0.0] * (frames - spoken)], count, axis=0)
    inputs = {
        "log_mel": rng.standard_normal((count, spoken, SPEC.n_mels)),
        "functionals": rng.standard_normal((count, len(FUNCTIONALS))),
        "language": np.eye(2)[np.arange(count) % 2],
        "mask": mask,
        "tokens": rng.standard_normal((count, MOST_TOKENS, UNITS)),
        "token_mask": np.repeat([[1.0] * 9 + [0.0] * (MOST_TOKENS - 9)], count, axis=0),
        "states": rng.standard_normal((count, N_STATES, UNITS)),
        "state_mask": np.repeat([[1.0] * 5 + [0.0] * (N_STATES - 5)], count, axis=0),
    }
    inputs["log_mel"] = np.pad(inputs["log_mel"], [(0, 0), (0, frames - spoken), (0, 0)])
    return {tensor.name: inputs[tensor.name].astype(np.float32) for tensor in model.inputs}


def probabilities(model: Any, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    outputs = model(inputs)  # without predict, which compiles anew for every network
    return np.asarray(outputs[0] if isinstance(outputs, list) else outputs)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_first_output_are_the_probabilities(name: str) -> None:
    model = network(name)
    assert model.output_names[0] == "probabilities"
    found = probabilities(model, inputs_of(model))
    assert found.shape == (4, 3)
    assert found.min() > 0
    assert found.std(axis=0).max() > 0.01
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_is_as_small_as_promised(name: str) -> None:
    facts = ARCHITECTURES[name]
    config = FeatureConfig(
        voice_encoder=facts.voice_encoder, speech_encoder=facts.speech_encoder, speech_states=facts.speech_states
    )
    spec = ModelSpec(
        *(300, config.n_mels, functional_names(config)),
        n_classes=8,
        languages=("am", "de", "en", "pl"),
        n_states=config.n_states,
    )
    bounds = {
        "cnn-large": (1e6, 2e6),
        "separable": (3e5, 8e5),
        "separable-small": (1e5, 2.5e5),
        "attention": (1e6, 2e6),
        "speech": (6e6, 7e6),
        "speech-attention": (6e6, 7e6),
    }
    smallest, largest = bounds.get(name, (5e4, 1e6))
    assert smallest < build(name, spec).count_params() + encoder_parameters(config) < largest


@pytest.mark.parametrize("name", architecture_names(lambda each: each.voice_encoder))
def test_some_need_the_features_of_the_voice_encoder(name: str) -> None:
    with pytest.raises(ConfigError, match="expected hand-made functionals and the deep features of the voice encoder"):
        build(name, replace(SPEC, functionals=functional_names(FeatureConfig())))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_training_step_reaches_every_weight(name: str) -> None:
    import keras

    from serctl.models import LANGUAGE_OUTPUT

    keras.utils.set_random_seed(3)
    model = build(name, spec_of(name))
    losses = ["categorical_crossentropy"] * len(model.outputs)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=losses, run_eagerly=True)
    inputs = inputs_of(model, 8)
    labels, languages = np.eye(3)[np.arange(8) % 3], np.eye(2)[np.arange(8) % 2]
    before = [np.array(variable) for variable in model.trainable_variables]
    # Twice: a gate that starts at zero lets nothing pass to what stands before it in the first step.
    for _ in range(2):
        model.train_on_batch(inputs, [languages if each == LANGUAGE_OUTPUT else labels for each in model.output_names])
    # A softmax takes no notice of what is added to all of its inputs.
    idle = "key/bias"
    unchanged = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(np.array(variable), old) and not variable.path.endswith(idle)
    ]
    assert unchanged == []


@pytest.mark.parametrize("name", WITH_SPECTROGRAM)
def test_what_stands_in_the_padding_changes_nothing(name: str) -> None:
    model = network(name)
    plain, other = (inputs_of(model, frames=256, spoken=128) for _ in range(2))
    expected = probabilities(model, plain)
    other["log_mel"][:, 128 + REACH :] = 10
    np.testing.assert_allclose(probabilities(model, other), expected, atol=1e-5)
    other["log_mel"][:, :128] += 1
    assert np.abs(probabilities(model, other) - expected).max() > 1e-3


@pytest.mark.parametrize("name", WITH_SPECTROGRAM)
def test_how_much_padding_there_is_changes_nothing(name: str) -> None:
    model = network(name)
    short, long = (probabilities(model, inputs_of(model, frames=frames, spoken=64)) for frames in (160, 256))
    np.testing.assert_allclose(long, short, atol=1e-5)


@pytest.mark.no_cover  # the converter takes twice as long with it; the fixtures convert with it
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_litert_gives_what_keras_gives(name: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from serctl.export.convert import to_litert
    from serctl.learning.fit import _for_prediction

    model = _for_prediction(network(name))
    converted = to_litert(model, n_frames=SPEC.n_frames)
    run = Interpreter(model_content=converted, num_threads=1).get_signature_runner()
    inputs = inputs_of(model, spoken=40)
    expected = {key: np.asarray(values) for key, values in model(inputs).items()}
    assert set(expected) == ({"probabilities", "attention"} if name == "attention" else {"probabilities"})
    for row in range(4):
        found = run(**{key: values[row : row + 1] for key, values in inputs.items()})
        assert set(found) == set(expected)
        for key, values in found.items():
            # Weights in float16: up to 3e-3 in these networks, whose random weights are steeper than learned ones.
            np.testing.assert_allclose(values[0], expected[key][row], atol=5e-3)


def test_states_in_the_padding_change_nothing() -> None:
    model = network("speech-attention")
    inputs = inputs_of(model)
    expected = probabilities(model, inputs)
    inputs["states"][:, 5:] = 10
    np.testing.assert_allclose(probabilities(model, inputs), expected, atol=1e-6)
    inputs["states"][:, :5] += 1
    assert np.abs(probabilities(model, inputs) - expected).max() > 1e-3


def test_states_are_needed_by_a_network_that_attends_to_them() -> None:
    with pytest.raises(ConfigError, match="expected the states of the speech encoder"):
        build("speech-attention", replace(SPEC, functionals=WITH_SPEECH))


def test_words_are_added_to_the_answer_of_speech_alone() -> None:
    model = network("coattention")
    inputs = inputs_of(model, 6)
    inputs["token_mask"][:2] = 0
    inputs["mask"][2:4] = 0
    both, alone = (np.asarray(each) for each in model(inputs))
    np.testing.assert_array_equal(both[:2], alone[:2])
    np.testing.assert_allclose(alone[2:4], 1 / alone.shape[1], atol=1e-6)
    assert np.abs(both[2:] - alone[2:]).max(axis=1).min() > 1e-3


def test_int8_keeps_the_gate_between_speech_and_words() -> None:
    from ai_edge_litert.interpreter import Interpreter

    from serctl.export.convert import to_litert
    from serctl.learning.fit import _for_prediction

    model = _for_prediction(network("coattention"))
    inputs = inputs_of(model, 6)
    inputs["token_mask"][3:] = 0
    converted = to_litert(
        model,
        n_frames=SPEC.n_frames,
        quantize="int8",
        representative=inputs,
        left_in_float=ARCHITECTURES["coattention"].left_in_float,
    )
    run = Interpreter(model_content=converted, num_threads=1).get_signature_runner()
    found = [run(**{key: values[row : row + 1] for key, values in inputs.items()})["probabilities"] for row in range(6)]
    np.testing.assert_allclose(np.concatenate(found), model(inputs)["probabilities"], atol=0.05)


def test_no_architecture_depends_on_a_backend() -> None:
    folder = Path(serctl.models.__file__).parent
    sources = sorted(folder.glob("*.py"))
    assert len(sources) > len(ARCHITECTURES)
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", []) if isinstance(node, ast.Import)]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.id] if isinstance(node, ast.Name) else []
            assert not {name.partition(".")[0] for name in names} & {"tensorflow", "tf", "jax", "torch"}, source


def test_mfcc_takes_the_functionals_of_the_mfcc_alone() -> None:
    model = network("mfcc")
    plain, other = inputs_of(model), inputs_of(model)
    expected = probabilities(model, plain)
    of_mfcc = np.array([functional.startswith("mfcc_") for functional in FUNCTIONALS])
    other["functionals"][:, ~of_mfcc] += 5
    np.testing.assert_array_equal(probabilities(model, other), expected)
    for column in np.flatnonzero(of_mfcc):
        changed = {"functionals": plain["functionals"] + (np.arange(len(FUNCTIONALS)) == column)}
        assert not np.allclose(probabilities(model, changed), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "filters"), [("separable", 3), ("separable-small", 1)])
def test_cnn_large_is_separable_with_standard_convolutions(name: str, filters: int) -> None:
    import keras

    from serctl.models.separable import BLOCKS, KERNEL

    def layers(name: str, kind: Any) -> list[Any]:
        return [layer for layer in network(name).layers if type(layer) is kind]

    small, large = layers(name, keras.layers.Conv1D), layers("cnn-large", keras.layers.Conv1D)
    assert [layer.output.shape for layer in small] == [layer.output.shape for layer in large]
    assert [layer.kernel_size for layer in small[1:]] == [(1,)] * BLOCKS
    assert [layer.kernel_size for layer in large[1:]] == [(KERNEL,)] * BLOCKS
    depthwise = layers(name, keras.layers.DepthwiseConv1D)
    assert [layer.kernel_size for layer in depthwise] == [(KERNEL,)] * BLOCKS * filters
    # LiteRT has no quick int8 kernel for more than one filter a channel.
    assert {layer.depth_multiplier for layer in depthwise} == {1}
    assert not layers("cnn-large", keras.layers.DepthwiseConv1D)
    # Beside each depthwise convolution stands the normalisation of its channels.
    normalised = [len(layers(each, keras.layers.BatchNormalization)) for each in (name, "cnn-large")]
    assert normalised[0] == normalised[1] + BLOCKS * filters


def test_attention_tells_how_much_each_frame_counts() -> None:
    from serctl.learning.fit import _for_prediction
    from serctl.models.attention import TIME_STRIDE

    model = _for_prediction(network("attention"))
    weights = np.asarray(model(inputs_of(model, spoken=40))["attention"])
    assert weights.shape == (4, 64 // TIME_STRIDE)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights[:, 40 // TIME_STRIDE :] == 0).all()
    assert (weights[:, : 40 // TIME_STRIDE] > 0).all()
    assert weights[:, : 40 // TIME_STRIDE].std() > 1e-3
