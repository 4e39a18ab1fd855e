"""Occlusion and its faithfulness, on models whose reasons are known: they listen to the power of some parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
import scipy.signal

from serctl.explanation.faithfulness import correlation, measure, ranks
from serctl.explanation.occlusion import (
    BANDS,
    Occluder,
    band_edges,
    hide_cells,
    speech_shaped_noise,
    try_random_orders,
)
from serctl.explanation.quantity import Quantity
from serctl.features import FeatureConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 16_000
CONFIG = FeatureConfig()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def occluder(rng: np.random.Generator) -> Occluder:
    """Two seconds of noise of a known spectrum, in eight parts."""
    colour = scipy.signal.lfilter([1], [1, -0.9], rng.normal(0, 0.05, 2 * RATE)).astype(np.float32)
    return Occluder.of(colour, CONFIG, rng)


@dataclass(frozen=True)
class Model:
    """A model whose probability falls by a weight for each part that is not as it was."""

    occluder: Occluder
    weights: Sequence[float]
    quantity: ClassVar = Quantity(("angry", "sad"))

    def __call__(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        centres = (self.occluder.edges[:-1] + self.occluder.edges[1:]) // 2
        reach = 200
        kept = [
            [
                np.allclose(window[c - reach : c + reach], self.occluder.samples[c - reach : c + reach], atol=1e-3)
                for c in centres
            ]
            for window in windows
        ]
        return 0.1 + np.array(kept) @ np.array(self.weights)


def test_noise_has_the_spectrum_and_the_power_of_the_speech(speech: np.ndarray, rng: np.random.Generator) -> None:
    noise = speech_shaped_noise(speech, rng)
    assert np.mean(noise**2) == pytest.approx(np.mean(speech**2), rel=1e-4)
    np.testing.assert_allclose(np.abs(np.fft.rfft(noise))[1:-1], np.abs(np.fft.rfft(speech))[1:-1], rtol=2e-2, atol=0.1)
    assert abs(np.corrcoef(noise, speech)[0, 1]) < 0.1


def test_only_what_is_hidden_changes(occluder: Occluder) -> None:
    np.testing.assert_array_equal(occluder.hide(np.zeros(occluder.parts, bool)), occluder.samples)
    hidden = np.arange(occluder.parts) == 3
    made = occluder.hide(hidden)
    first, last = occluder.edges[3], occluder.edges[4]
    fade = round(0.006 * RATE)
    np.testing.assert_allclose(made[first + fade : last - fade], occluder.noise[first + fade : last - fade], atol=1e-6)
    np.testing.assert_array_equal(made[: first - fade], occluder.samples[: first - fade])
    np.testing.assert_array_equal(made[last + fade :], occluder.samples[last + fade :])


def test_the_parts_cover_the_speech_and_not_the_silence_around_it(rng: np.random.Generator) -> None:
    samples = np.zeros(3 * RATE, np.float32)
    samples[RATE : 2 * RATE] = rng.normal(0, 0.1, RATE)
    found = Occluder.of(samples, CONFIG, rng)
    assert found.parts == 4
    np.testing.assert_allclose(found.edges[[0, -1]] / RATE, [1, 2], atol=0.05)


def test_a_cell_changes_its_band_in_its_part(occluder: Occluder) -> None:
    edges = band_edges(CONFIG)
    cells = occluder.hide_cells(2)
    assert len(cells) == BANDS
    changed = cells[4] - occluder.samples
    hz, power = scipy.signal.welch(changed, RATE, nperseg=512)
    inside = (hz > edges[4] - 100) & (hz < edges[5] + 100)
    assert power[inside].sum() > 0.95 * power.sum()
    near = slice(occluder.edges[2] - 100, occluder.edges[3] + 100)
    assert np.sum(changed[near] ** 2) > 0.999 * np.sum(changed**2)


def test_the_bands_of_a_part_add_up_to_the_part(occluder: Occluder) -> None:
    together = sum(cell - occluder.samples for cell in occluder.hide_cells(2))
    whole = occluder.hide(np.arange(occluder.parts) == 2) - occluder.samples
    np.testing.assert_allclose(together, whole, atol=1e-5)


def test_importance_finds_the_reasons_of_an_additive_model(occluder: Occluder, rng: np.random.Generator) -> None:
    weights = np.array([0.0, 0.3, 0.0, 0.2, 0.05, 0.0, 0.1, -0.05])
    assert occluder.parts == len(weights)
    orders = try_random_orders(occluder, Model(occluder, weights), rng=rng)  # type: ignore[arg-type]
    np.testing.assert_allclose(orders.importance(), weights, atol=1e-9)
    assert orders.curves[0, 0] - orders.curves[0, -1] == pytest.approx(weights.sum())


def test_a_faithful_explanation_is_better_than_random_order(occluder: Occluder, rng: np.random.Generator) -> None:
    model = Model(occluder, [0.0, 0.3, 0.0, 0.2, 0.05, 0.0, 0.1, 0.0])
    orders = try_random_orders(occluder, model, rng=rng)  # type: ignore[arg-type]
    changed = (occluder.samples * 0.5).astype(np.float32)
    found = measure(occluder, model, orders, changed=changed, rng=rng)  # type: ignore[arg-type]
    assert found.better_than_random
    assert found.deletion_auc < found.random_auc < found.insertion_auc
    assert found.deletion[0] == found.insertion[-1] == found.random[0] == pytest.approx(0.75)
    assert found.agreement == pytest.approx(1)
    assert found.stability == pytest.approx(1)


def test_a_model_that_does_not_listen_has_no_faithful_explanation(occluder: Occluder, rng: np.random.Generator) -> None:
    deaf = Model(occluder, np.zeros(occluder.parts))  # type: ignore[arg-type]
    orders = try_random_orders(occluder, deaf, rng=rng)  # type: ignore[arg-type]
    found = measure(occluder, deaf, orders, changed=None, rng=rng)  # type: ignore[arg-type]
    assert not found.better_than_random
    assert found.agreement is None
    assert found.stability is None


def test_the_map_has_a_row_for_each_band(occluder: Occluder) -> None:
    found = hide_cells(occluder, Model(occluder, np.full(occluder.parts, 0.1)))  # type: ignore[arg-type]
    assert found.shape == (BANDS, occluder.parts)


def test_ranks_and_correlation_are_those_of_scipy(rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 5, 30).astype(float), rng.normal(size=30)
    np.testing.assert_allclose(ranks(a) + 1, scipy.stats.rankdata(a))
    assert correlation(ranks(a), ranks(b)) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert correlation(np.ones(3), b[:3]) is None
