"""One encoder for all languages: what is shared, what each language adds, and how a new language is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.features import Features, Normaliser
from serctl.learning.options import FitOptions
from serctl.models import ADAPTER_LAYERS, LANGUAGE_OUTPUT, ModelSpec, build, shared_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.learning.batches import Example
    from serctl.learning.fit import Fitted, Start

pytestmark = pytest.mark.usefixtures("tensorflow")


def spec_of(*languages: str) -> ModelSpec:
    return ModelSpec(n_frames=32, n_mels=8, functionals=("a", "b", "c", "d"), n_classes=2, languages=languages)


SPEC = spec_of("de", "pl")


def windows(count: int, seed: int) -> list[Features]:
    rng = np.random.default_rng(seed)
    return [
        Features(
            rng.standard_normal((32, 8)).astype(np.float16),
            np.empty((0, 0), np.float32),
            rng.standard_normal(4).astype(np.float32),
            0,
        )
        for _ in range(count)
    ]


def normaliser() -> Normaliser:
    return Normaliser.fit(windows(50, seed=9))


def fit(folder: Path, spec: ModelSpec, languages: Sequence[str | None], *, start: Start | None = None) -> Fitted:
    from serctl.learning.batches import Example
    from serctl.learning.fit import fit as fit_network

    folder.mkdir()
    examples: list[Example] = [
        Example((window,), number % 2, languages[number // 2 % len(languages)])
        for number, window in enumerate(windows(16, seed=0))
    ]
    return fit_network(
        "shared_private",
        spec,
        examples,
        [],
        normaliser=normaliser(),
        options=FitOptions(epochs=2, batch_size=8, lr=0.01, weight_average=0.0),
        folder=folder,
        on_epoch=lambda _: None,
        start=start,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, tensorflow: None) -> Fitted:
    """A network fitted to two languages."""
    return fit(tmp_path_factory.mktemp("fits") / "two", SPEC, ["de", "pl"])


def probabilities(model: Any, language: str | None, spec: ModelSpec = SPEC) -> NDArray[np.float32]:
    from serctl.learning.fit import predict_windows

    tested = windows(6, seed=4)
    return predict_windows(model, tested, normaliser=normaliser(), spec=spec, languages=[language] * len(tested))


def with_weights(weights: Sequence[NDArray[np.floating]], spec: ModelSpec = SPEC) -> Any:
    """The whole network, heads for training included."""
    model = build("shared_private", spec)
    model.set_weights(weights)
    return model


def test_an_unknown_language_is_answered_by_the_shared_path(fitted: Fitted) -> None:
    model = with_weights(fitted.weights)
    rng = np.random.default_rng(5)
    inputs = {"log_mel": rng.standard_normal((6, 32, 8)), "mask": np.ones((6, 32)), "functionals": np.ones((6, 4))}

    def answers(language: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        outputs = model({**inputs, "language": language})
        return [np.asarray(outputs[model.output_names.index(name)]) for name in ("probabilities", "shared")]

    np.testing.assert_array_equal(*answers(np.zeros((6, 2))))
    answer, shared = answers(np.eye(2)[[0, 1] * 3])
    assert np.abs(answer - shared).max() > 1e-3


def test_each_language_has_an_opinion_of_its_own(fitted: Fitted) -> None:
    unknown, german, polish = (probabilities(fitted.model, language) for language in ("xx", "de", "pl"))
    np.testing.assert_array_equal(unknown, probabilities(fitted.model, None))
    for one, other in ((unknown, german), (unknown, polish), (german, polish)):
        assert np.abs(one - other).max() > 1e-3


def test_the_adversary_pushes_the_encoder_the_other_way(monkeypatch: pytest.MonkeyPatch, fitted: Fitted) -> None:
    import tensorflow as tf

    def gradients() -> dict[int, NDArray[np.float32]]:
        """Of the loss of the languages, by the variable's number; without those that it does not reach."""
        model = with_weights(fitted.weights)
        inputs = normaliser().model_inputs(windows(8, seed=6), n_frames=32)
        inputs["language"] = np.eye(2, dtype=np.float32)[[0, 1] * 4]
        with tf.GradientTape() as tape:
            found = model(inputs)[model.output_names.index(LANGUAGE_OUTPUT)]
            loss = -tf.reduce_mean(tf.reduce_sum(inputs["language"] * tf.math.log(found), axis=1))
        values = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        return {number: np.asarray(value) for number, value in enumerate(values) if value is not None}

    turned = gradients()
    monkeypatch.setattr(shared_private, "reverse_gradient", lambda x, _: x)
    plain = gradients()
    assert turned.keys() == plain.keys()
    factors = [_factor(turned[number], values) for number, values in plain.items() if np.abs(values).max() > 1e-6]
    of_encoder, of_adversary = ([factor for factor in factors if (factor < 0) == wanted] for wanted in (True, False))
    assert len(of_encoder) > 10
    np.testing.assert_allclose(of_encoder, -shared_private.ADVERSARY_STRENGTH, rtol=1e-3)
    np.testing.assert_allclose(of_adversary, [1] * 4, rtol=1e-3)  # kernel and bias of its two layers


def _factor(turned: NDArray[np.float32], plain: NDArray[np.float32]) -> float:
    """How many times as large the one is as the other, which has to hold for all of it."""
    factor = float((turned * plain).sum() / np.square(plain).sum())
    np.testing.assert_allclose(turned, factor * plain, atol=1e-3 * np.abs(plain).max())
    return factor


def test_a_new_language_changes_its_own_adapter_and_nothing_else(fitted: Fitted, tmp_path: Path) -> None:
    from serctl.learning.fit import Start

    spec = spec_of("de", "pl", "xx")
    grown = fit(tmp_path / "grown", spec, ["xx"], start=Start(fitted.weights, adapter_only=True))
    before, after = with_weights(fitted.weights), with_weights(grown.weights, spec)
    for old, new in zip(before.layers, after.layers, strict=True):
        if old.name in ADAPTER_LAYERS or old.name == LANGUAGE_OUTPUT:
            continue
        for mine, theirs in zip(old.get_weights(), new.get_weights(), strict=True):
            np.testing.assert_array_equal(theirs, mine, err_msg=old.name)
    units = shared_private.ADAPTER_UNITS
    down, up = (after.get_layer(name) for name in ADAPTER_LAYERS)
    old_down, old_up = (before.get_layer(name) for name in ADAPTER_LAYERS)
    np.testing.assert_array_equal(np.asarray(down.kernel)[:, : 2 * units], old_down.kernel)
    np.testing.assert_array_equal(np.asarray(down.bias)[: 2 * units], old_down.bias)
    np.testing.assert_array_equal(np.asarray(up.kernel)[: 2 * units], old_up.kernel)
    assert np.abs(np.asarray(down.bias)[2 * units :]).max() > 1e-3
    for language in ("de", "pl", None):
        expected = probabilities(fitted.model, language)
        np.testing.assert_allclose(probabilities(grown.model, language, spec), expected, atol=1e-6)
    learned, unknown = (probabilities(grown.model, language, spec) for language in ("xx", None))
    assert np.abs(learned - unknown).max() > 1e-3


def test_without_any_language_there_is_nothing_to_share() -> None:
    with pytest.raises(ConfigError, match="shared_private: expected at least one language, found none"):
        build("shared_private", spec_of())
