from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from serctl.features import Features, Normaliser
from serctl.features.novelty import RANK, SHARES, Novelty

WIDTH = 60


def windows_of(rows: np.ndarray) -> list[Features]:
    empty = np.zeros((3, 2), np.float16)
    return [Features(empty, np.empty((0, 0), np.float32), row.astype(np.float32), 0) for row in rows]


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """Rows that vary along a few directions much more than along the others."""
    rng = np.random.default_rng(0)
    few = rng.normal(size=(600, 5)) @ rng.normal(size=(5, WIDTH))
    return few + 0.3 * rng.normal(size=(600, WIDTH)) + 4


@pytest.fixture(scope="module")
def normaliser(drawn: np.ndarray) -> Normaliser:
    return Normaliser.fit(windows_of(drawn[:400]))


@pytest.fixture(scope="module")
def novelty(drawn: np.ndarray, normaliser: Normaliser) -> Novelty:
    held_out = [windows_of(drawn[[first]]) for first in range(400, 600)]
    return Novelty.fit(windows_of(drawn[:400]), held_out, normaliser)


def test_directions_and_variances_are_those_of_scikit_learn(
    drawn: np.ndarray, normaliser: Normaliser, novelty: Novelty
) -> None:
    pca = PCA(RANK).fit(normaliser.scaled_functionals(windows_of(drawn[:400])))
    np.testing.assert_allclose(novelty.variances, pca.explained_variance_ * 399 / 400, rtol=2e-2)
    aligned = np.abs((novelty.directions[:5].astype(np.float64) * pca.components_[:5]).sum(axis=1))
    np.testing.assert_allclose(aligned, 1, atol=2e-3)


def test_held_out_recordings_are_spread_evenly_over_the_range(
    drawn: np.ndarray, normaliser: Normaliser, novelty: Novelty
) -> None:
    found = np.sort(novelty.of(windows_of(drawn[400:]), normaliser))
    np.testing.assert_allclose(found, np.linspace(0, 1, 200), atol=0.03)


def test_what_leaves_the_directions_of_training_is_new(
    drawn: np.ndarray, normaliser: Normaliser, novelty: Novelty
) -> None:
    rng = np.random.default_rng(1)
    step = rng.normal(size=WIDTH) * drawn[:400].std(axis=0)
    found = [float(novelty.of(windows_of(drawn[400:450] + size * step), normaliser).mean()) for size in (0, 0.2, 1)]
    assert found[0] < 0.6
    assert found[0] < found[1] < found[2] <= 1
    assert found[2] > 0.99


def test_the_tail_grows_where_no_held_out_recording_reaches(novelty: Novelty, normaliser: Normaliser) -> None:
    mean, sd = normaliser.functional_mean, normaliser.functional_sd
    alternating = np.where(np.arange(WIDTH) % 2, 1, -1) * sd
    found = novelty.of(windows_of(np.stack([mean + size * alternating for size in (0.19, 0.2, 0.22)])), normaliser)
    assert SHARES[-1] < found[0] < found[1] < found[2] <= 1


def test_a_single_training_window_is_enough(normaliser: Normaliser, drawn: np.ndarray) -> None:
    alone = Novelty.fit(windows_of(drawn[:1]), [], normaliser)
    found = alone.of(windows_of(drawn[:2]), normaliser)
    assert np.isfinite(found).all()
    assert found[1] > 0.9
