from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.bundle.store import load_bundle, write_bundle
from serctl.errors import BundleError
from serctl.explanation.listener import Listener
from serctl.explanation.recording import attention_of
from serctl.features import Features, functional_names
from serctl.models import ModelSpec
from serctl.runtime.recogniser import Recogniser, load_network, merge_probabilities, network_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle


def windows(bundle: Bundle, count: int = 6) -> list[Features]:
    rng = np.random.default_rng(0)
    config = bundle.facts.features
    found = []
    for number in range(count):
        log_mel = rng.normal(-30, 15, (40 + 60 * number, config.n_mels)).astype(np.float16)
        scale = rng.standard_normal(len(functional_names(config)))
        functionals = bundle.normaliser.functional_mean + bundle.normaliser.functional_sd * scale
        found.append(Features(log_mel, np.empty((0, 0), np.float32), functionals.astype(np.float32), 0))
    return found


def test_attention_is_the_weight_of_each_moment(tiny_bundle: Bundle, tmp_path: Path) -> None:
    from serctl.export.convert import to_litert
    from serctl.learning.fit import _for_prediction
    from serctl.models import build

    facts = tiny_bundle.facts
    names = functional_names(facts.features)
    spec = ModelSpec(facts.n_frames, facts.features.n_mels, names, n_classes=len(facts.labels))
    converted = to_litert(_for_prediction(build("attention", spec)), n_frames=facts.n_frames)
    recogniser = Recogniser(changed(tiny_bundle, tmp_path / "attention", model=converted))
    window = replace(windows(tiny_bundle, 2)[1], first_frame=50)  # 100 frames of 10 ms
    edges_s, weights = attention_of(window, Listener(recogniser, 0))
    assert edges_s.tolist() == pytest.approx([*np.arange(0.5, 1.5, 0.08), 1.5])
    assert (weights.sum(), weights.min() > 0) == (pytest.approx(1, abs=1e-3), True)
    assert recogniser.probabilities([window]).sum() == pytest.approx(1)
    assert Recogniser(tiny_bundle).attention(window) is None
    assert [len(each) for each in attention_of(window, Listener(Recogniser(tiny_bundle), 0))] == [0, 0]


def changed(bundle: Bundle, folder: Path, *, model: bytes | None = None, **facts: Any) -> Bundle:
    """The bundle with another network or other facts."""
    folder.mkdir(exist_ok=True)
    write_bundle(
        folder,
        replace(bundle.facts, **facts),
        model=model or bundle.model_path.read_bytes(),
        weights=[],
        normaliser=bundle.normaliser,
        training=[],
        card="",
    )
    return load_bundle(folder)


def spec_of(bundle: Bundle) -> ModelSpec:
    facts = bundle.facts
    return ModelSpec(facts.n_frames, facts.features.n_mels, functional_names(facts.features), len(facts.labels))


def keras_model(bundle: Bundle) -> Any:
    """A network of the bundle's shapes with random weights, far from the fresh network's uniform answers."""
    import keras

    from serctl.models import build

    keras.utils.set_random_seed(1)
    model = build(bundle.facts.architecture, spec_of(bundle))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            variable.assign(1.5 * np.asarray(variable.value))
        elif variable.name in ("bias", "beta"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return keras.Model(model.inputs, {"probabilities": model.outputs[0]})


@pytest.mark.usefixtures("tensorflow")
def test_litert_says_what_keras_says(tiny_bundle: Bundle, tmp_path: Path) -> None:
    from serctl.export.convert import to_litert
    from serctl.learning.fit import predict_windows

    model = keras_model(tiny_bundle)
    network = to_litert(model, n_frames=tiny_bundle.facts.n_frames)
    converted = changed(tiny_bundle, tmp_path, model=network, temperature=1.0)
    judged = windows(tiny_bundle)[1:]  # a second or more
    expected = predict_windows(
        model, judged, normaliser=tiny_bundle.normaliser, spec=spec_of(tiny_bundle), languages=[None] * len(judged)
    )
    assert expected.max(axis=1).std() > 0.02
    found = Recogniser(converted).probabilities(judged)
    np.testing.assert_allclose(found, expected, atol=1e-2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)


def test_the_temperature_softens_the_probabilities(tiny_bundle: Bundle, tmp_path: Path) -> None:
    def judged_with(temperature: float) -> np.ndarray:
        bundle = changed(tiny_bundle, tmp_path / str(temperature), temperature=temperature)
        return Recogniser(bundle).probabilities(windows(tiny_bundle))

    plain, soft = judged_with(1.0), judged_with(3.0)
    expected = plain ** (1 / 3)
    np.testing.assert_allclose(soft, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)


def test_less_than_a_second_of_speech_lowers_the_confidence_and_keeps_the_label(tiny_bundle: Bundle) -> None:
    short = windows(tiny_bundle)[0]  # 40 frames of 10 ms
    network, inputs = load_network(tiny_bundle.model_path), network_inputs(tiny_bundle, [short], [None])
    raw = network.run({name: inputs[name] for name in network.inputs})[0].astype(np.float64)
    expected = raw ** (0.4 / tiny_bundle.facts.temperature)
    (found,) = Recogniser(tiny_bundle).probabilities([short])
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-6)
    assert found.max() < raw.max() - 0.01


def test_a_window_is_judged_alike_alone_and_among_others(tiny_bundle: Bundle) -> None:
    recogniser = Recogniser(tiny_bundle)
    judged = windows(tiny_bundle)
    together = recogniser.probabilities(judged)
    assert together.shape == (6, 4)
    for number, window in enumerate(judged):
        np.testing.assert_array_equal(recogniser.probabilities([window])[0], together[number])


def test_a_file_that_is_no_network_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = changed(tiny_bundle, tmp_path, model=b"no network")
    with pytest.raises(BundleError, match=r"model\.tflite: LiteRT cannot load it"):
        Recogniser(bundle)


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize(("given", "taken"), [("mood", "probabilities"), ("functionals", "opinion")])
def test_a_network_with_other_inputs_or_outputs_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, given: str, taken: str
) -> None:
    import keras

    from serctl.export.convert import to_litert

    tensor = keras.Input((3,), name=given)
    model = keras.Model([tensor], {taken: keras.layers.Softmax()(tensor)})
    bundle = changed(tiny_bundle, tmp_path, model=to_litert(model, n_frames=3))
    with pytest.raises(BundleError, match=f"and the output probabilities, received {given} and {taken}"):
        Recogniser(bundle)


def test_a_network_that_tells_no_languages_apart_ignores_them(tiny_bundle: Bundle) -> None:
    recogniser, judged = Recogniser(tiny_bundle), windows(tiny_bundle, 2)
    np.testing.assert_array_equal(recogniser.probabilities(judged, ["de", None]), recogniser.probabilities(judged))


def test_windows_count_by_their_speech() -> None:
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    merged = merge_probabilities(probabilities, np.array([3.0, 1.0, 0.0]))
    np.testing.assert_allclose(merged, [0.3, 0.7])


def test_silent_windows_do_not_spoil_a_merge() -> None:
    probabilities = np.array([[0.2, 0.8], [np.nan, np.nan]])
    np.testing.assert_allclose(merge_probabilities(probabilities, np.array([3.0, 0.0])), [0.2, 0.8])
    assert np.isnan(merge_probabilities(probabilities, np.zeros(2))).all()
