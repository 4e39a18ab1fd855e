"""The causal network: no answer rests on what comes later, and its step, run by hand, is the same network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.learning.recipe import Recipe
from serctl.models import ModelSpec, architecture_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SPEC = ModelSpec(n_frames=63, n_mels=16, functionals=(), n_classes=3, causal=True)
STEPS = 13  # at the frames 0, 5, ... 60


@pytest.fixture(scope="module")
def network(causal_network: Callable[[ModelSpec], Any]) -> Any:
    return causal_network(SPEC)


@pytest.fixture(scope="module")
def answers(network: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The answers of the network at every step, shape (batch, steps, classes)."""
    import keras

    inner = keras.Model(network.inputs, network.get_layer("step_answer").output)
    return lambda log_mel: np.asarray(inner({"log_mel": log_mel, "mask": np.ones(log_mel.shape[:2], np.float32)}))


@pytest.fixture(scope="module")
def step(network: Any) -> Any:
    from serctl.models.lstm import build_step

    return build_step(network, SPEC)


def frames_of(count: int = 2, frames: int = 63) -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((count, frames, SPEC.n_mels)).astype(np.float32)


def by_hand(log_mel: NDArray[np.float32], run: Callable[..., dict[str, Any]]) -> Iterator[NDArray[np.float32]]:
    """The answer at every fifth frame of one signal, from the ten latest frames and the state."""
    padded = np.concatenate([np.zeros((9, SPEC.n_mels), np.float32), log_mel])
    hidden = cell = np.zeros((1, 96), np.float32)
    for first in range(0, len(log_mel), 5):
        outputs = run(frames=padded[None, first : first + 10], hidden=hidden, cell=cell)
        hidden, cell = np.asarray(outputs["next_hidden"]), np.asarray(outputs["next_cell"])
        yield np.asarray(outputs["probabilities"])[0]


def judged(network: Any, log_mel: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(network({"log_mel": log_mel, "mask": mask})["probabilities"])


def test_no_answer_rests_on_what_comes_later(answers: Any) -> None:
    log_mel = frames_of()
    expected = answers(log_mel)
    assert expected.shape == (2, STEPS, 3)
    for changed in (1, 5, 28, 60):
        other = log_mel.copy()
        other[:, changed:] += 1
        found = answers(other)
        before = -(-changed // 5)  # steps at frames before the first that is changed
        np.testing.assert_array_equal(found[:, :before], expected[:, :before])
        assert (np.abs(found[:, before:] - expected[:, before:]).max(axis=(0, 2)) > 1e-3).all()


def test_the_step_run_by_hand_gives_the_answers_of_the_network(answers: Any, step: Any) -> None:
    log_mel = frames_of()
    expected = answers(log_mel)
    assert np.abs(np.diff(expected, axis=1)).max(axis=2).min() > 1e-3  # they differ from step to step
    for row in (0, 1):
        found = list(by_hand(log_mel[row], lambda **inputs: step(inputs)))
        np.testing.assert_allclose(found, expected[row], atol=1e-4)


def test_litert_runs_the_same_step(network: Any, answers: Any) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from serctl.export.convert import step_to_litert

    content = step_to_litert("lstm", network, SPEC)
    assert len(content) < 1_000_000
    run = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    log_mel = frames_of(1)
    np.testing.assert_allclose(list(by_hand(log_mel[0], run)), answers(log_mel)[0], atol=1e-4)


@pytest.mark.parametrize(("spoken", "last"), [(1, 0), (5, 0), (6, 1), (40, 7), (41, 8), (63, 12)])
def test_the_prediction_is_the_last_answer_to_speech(network: Any, answers: Any, spoken: int, last: int) -> None:
    log_mel = frames_of()
    mask = np.repeat([[1.0] * spoken + [0.0] * (63 - spoken)], 2, axis=0).astype(np.float32)
    found = judged(network, log_mel, mask)
    np.testing.assert_allclose(found, answers(log_mel)[:, last], atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    padded = log_mel.copy()
    padded[:, spoken:] = 10
    np.testing.assert_allclose(judged(network, padded, mask), found, atol=1e-5)


def test_the_mean_of_all_answers_to_speech_is_trained_as_well(network: Any, answers: Any) -> None:
    log_mel = frames_of()
    mask = np.repeat([[1.0] * 41 + [0.0] * 22], 2, axis=0).astype(np.float32)
    found = np.asarray(network({"log_mel": log_mel, "mask": mask})["all_answers"])
    np.testing.assert_allclose(found, answers(log_mel)[:, :9].mean(axis=1), atol=1e-5)


def test_both_outputs_teach_every_layer_of_the_step(tensorflow: None) -> None:
    import keras

    from serctl.models import build
    from serctl.models.lstm import STEP_LAYERS

    model = build("lstm", SPEC)
    assert model.output_names == ["probabilities", "all_answers"]
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=["categorical_crossentropy"] * 2, run_eagerly=True)
    before = {name: [weight.copy() for weight in model.get_layer(name).get_weights()] for name in STEP_LAYERS}
    truth = np.eye(3, dtype=np.float32)[[0, 2]]
    model.train_on_batch({"log_mel": frames_of(), "mask": np.ones((2, 63), np.float32)}, [truth, truth])
    for name, weights in before.items():
        after = model.get_layer(name).get_weights()
        assert not any(map(np.array_equal, weights, after)), name


@pytest.mark.parametrize("name", architecture_names(lambda each: not each.causal))
def test_other_architectures_refuse_to_be_causal(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no causal {name}: expected one of lstm"):
        Recipe(causal=True, architecture=name)


def test_an_lstm_is_causal_on_demand() -> None:
    assert Recipe(causal=True, architecture="lstm").causal
    assert not Recipe(architecture="lstm").causal
