from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.bundle.facts import STEP
from serctl.bundle.store import load_bundle, write_bundle
from serctl.errors import BundleError, Remedy
from serctl.metrics import temperature_scale
from serctl.runtime.step import StepRecogniser

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle


def frames(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(8).standard_normal((count, 10, 64)).astype(np.float32)


def with_step(bundle: Bundle, folder: Path, step: bytes, **facts: Any) -> Bundle:
    folder.mkdir()
    write_bundle(
        folder,
        replace(bundle.facts, **facts),
        model=bundle.model_path.read_bytes(),
        weights=[],
        normaliser=bundle.normaliser,
        training=[],
        card="",
        step=step,
    )
    return load_bundle(folder)


def test_a_step_gives_probabilities_and_the_next_state(live_bundle: Bundle) -> None:
    recogniser = StepRecogniser(live_bundle)
    assert (recogniser.context, recogniser.frames) == (10, 5)
    start = recogniser.start()
    assert start.hidden.shape == start.cell.shape == (1, 96)
    assert not start.hidden.any()
    assert not start.cell.any()
    first, second = frames(2)
    found, state = recogniser.step(first, start)
    assert (found.dtype, found.shape) == (np.float64, (4,))
    assert found.sum() == pytest.approx(1)
    assert state.hidden.any()
    later, _ = recogniser.step(second, state)
    assert np.abs(later - recogniser.step(second, start)[0]).max() > 1e-3  # the state counts


def test_many_streams_share_a_recogniser_without_mixing(live_bundle: Bundle) -> None:
    recogniser = StepRecogniser(live_bundle)
    signals = frames(4), frames(8)[4:]

    def alone(signal: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        state, answers = recogniser.start(), []
        for step in signal:
            answer, state = recogniser.step(step, state)
            answers.append(answer)
        return answers

    expected = [alone(signal) for signal in signals]
    states = [recogniser.start(), recogniser.start()]
    for position in range(4):
        for stream, signal in enumerate(signals):
            found, states[stream] = recogniser.step(signal[position], states[stream])
            np.testing.assert_array_equal(found, expected[stream][position])


def test_the_temperature_softens_the_probabilities(live_bundle: Bundle, tmp_path: Path) -> None:
    step = live_bundle.step_path.read_bytes()
    soft = StepRecogniser(with_step(live_bundle, tmp_path / "soft", step, temperature=3.0))
    plain = StepRecogniser(live_bundle)
    expected = plain.step(frames(1)[0], plain.start())[0]
    found = soft.step(frames(1)[0], soft.start())[0]
    np.testing.assert_allclose(found, temperature_scale(np.log(expected[None]), 3.0)[0], atol=1e-6)
    assert found.max() < expected.max() - 1e-3


def test_a_model_that_is_not_causal_says_what_to_do(mfcc_bundle: Bundle) -> None:
    assert not mfcc_bundle.causal
    with pytest.raises(BundleError, match="cannot follow a stream: expected a causal model") as raised:
        StepRecogniser(mfcc_bundle)
    assert raised.value.remedies == (Remedy.CAUSAL_MODEL,)


def test_a_step_that_is_no_step_is_refused(live_bundle: Bundle, tmp_path: Path) -> None:
    other = with_step(live_bundle, tmp_path / "other", live_bundle.model_path.read_bytes())
    with pytest.raises(BundleError, match=r"step\.tflite: expected the inputs frames, hidden and cell\. Received"):
        StepRecogniser(other)
    broken = with_step(live_bundle, tmp_path / "broken", b"no network")
    with pytest.raises(BundleError, match=r"step\.tflite: LiteRT cannot load it"):
        StepRecogniser(broken)


def test_a_damaged_step_is_found_on_load(live_bundle: Bundle, tmp_path: Path) -> None:
    copy = with_step(live_bundle, tmp_path / "copy", live_bundle.step_path.read_bytes())
    (copy.folder / STEP).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=STEP):
        load_bundle(copy.folder)
