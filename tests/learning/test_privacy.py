"""Differential privacy: the noise of a budget against published values, clipping, and what a party answers at most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.errors import ConfigError, FederationError
from serctl.learning.federated.plan import FederationOptions
from serctl.learning.federated.privacy import (
    Budget,
    Releases,
    delta_of,
    epsilon_of,
    gaussian,
    noise_multiplier,
    protect,
)

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = Budget(epsilon=8, delta=1e-5, clip=2.0, rounds=100, local=True)


@pytest.mark.parametrize(("epsilon", "sigma"), [(0.1, 30.749566), (1, 3.730632), (100, 0.094670)])
def test_the_noise_of_one_release_is_that_of_the_analytic_gaussian_mechanism(epsilon: float, sigma: float) -> None:
    """Values of the authors' calibrateAnalyticGaussianMechanism (Balle & Wang 2018) at delta 1e-5."""
    assert noise_multiplier(epsilon, 1e-5, 1) == pytest.approx(sigma, rel=1e-5)


@pytest.mark.parametrize(
    ("multiplier", "rounds", "epsilon"),
    [(1.0, 1, 4.377178), (6.0, 100, 8.003691), (2.0, 10, 7.511276), (20.0, 100, 1.993091)],
)
def test_the_epsilon_of_many_rounds_is_that_of_an_accountant_of_privacy_losses(
    multiplier: float, rounds: int, epsilon: float
) -> None:
    """Values of dp-accounting 0.6.0: PLDAccountant, SelfComposedDpEvent of GaussianDpEvent, delta 1e-5."""
    assert epsilon_of(math.sqrt(rounds) / multiplier, 1e-5) == pytest.approx(epsilon, abs=2e-6)


def test_the_budget_is_spent_after_all_rounds_and_less_before() -> None:
    assert BUDGET.spent(100) == pytest.approx(8, abs=1e-6)
    assert 0 == BUDGET.spent(0) < BUDGET.spent(10) < BUDGET.spent(99) < 8
    assert delta_of(8, math.sqrt(100) / BUDGET.noise_multiplier) == pytest.approx(1e-5, rel=1e-6)


def test_the_noise_is_standard_normal_and_never_the_same() -> None:
    drawn = gaussian((200, 1000))
    assert drawn.mean() == pytest.approx(0, abs=0.015)
    for power, moment in ((2, 1), (4, 3), (6, 15)):
        assert (drawn**power).mean() == pytest.approx(moment, rel=0.1)
    assert np.abs(drawn).max() > 4
    assert (drawn != gaussian((200, 1000))).all()


def test_long_updates_are_scaled_to_the_clip_and_short_ones_stay() -> None:
    start = [np.full((2, 2), 5.0, np.float32), np.zeros(1, np.float32)]
    far = [start[0] + 30, start[1] + 80]  # 100 away
    clipped = BUDGET.clipped(far, start)
    np.testing.assert_allclose(clipped[0], start[0] + 0.6, rtol=1e-6)
    np.testing.assert_allclose(clipped[1], 1.6, rtol=1e-6)
    near = [start[0] + 0.5, start[1]]
    np.testing.assert_array_equal(BUDGET.clipped(near, start)[0], near[0])
    np.testing.assert_array_equal(BUDGET.clipped(start, start)[0], start[0])


def test_the_mean_of_protected_updates_is_the_clipped_mean_with_the_noise_of_one() -> None:
    start = [np.zeros(40_000, np.float32)]
    sent = [[np.full(40_000, 100, np.float32)], [np.full(40_000, -100, np.float32)], [np.zeros(40_000, np.float32)]]
    mean = np.mean([each[0] for each in protect(sent, start, BUDGET)], axis=0)
    assert mean.std() == pytest.approx(BUDGET.noise_multiplier * BUDGET.clip / 3, rel=0.03)
    assert mean.mean() == pytest.approx(0, abs=0.1)


def test_a_party_answers_within_its_budget_and_the_same_question_with_the_same_noise(tmp_path: Path) -> None:
    budget = Budget(8, 1e-5, 1.0, rounds=2, local=True)

    start = [np.zeros(5, np.float32)]
    releases = Releases(tmp_path / "releases.npz")
    (first,) = releases.answer("1", budget, start, start)
    assert first.std() > 0
    np.testing.assert_array_equal(releases.answer("1", budget, start, start)[0], first)
    releases = Releases(tmp_path / "releases.npz")  # the party was started again
    np.testing.assert_array_equal(releases.answer("1", budget, start, start)[0], first)
    assert (releases.answer("2", budget, start, start)[0] != first).all()
    with pytest.raises(FederationError, match="the privacy budget is spent: epsilon 8 for all rounds"):
        releases.answer("3", budget, start, start)
    more = Budget(20, 1e-5, 1.0, rounds=50, local=True)  # of another training
    told = round(2 / budget.noise_multiplier**2 * more.noise_multiplier**2)  # rounds of it
    for number in range(49 - told):
        releases.answer(f"more {number}", more, start, start)
    releases.answer("last", more, start, start)
    with pytest.raises(FederationError, match="the privacy budget is spent: epsilon 20"):
        releases.answer("one too many", more, start, start)
    assert 5 < told < 45


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"local_privacy": True, "strategy": "fedavg"}, "expected an epsilon"),
        ({"epsilon": 8}, "expected fedavg, fedprox or fedadam"),
        ({"epsilon": 8, "strategy": "fedavg", "secure": True}, "secure aggregation or differential privacy"),
        ({"epsilon": 8, "strategy": "fedavg", "delta": 0}, "expected delta above 0"),
        ({"strategy": "fedsgd"}, "expected strategy one of fedavg, fedprox, fedadam, scaffold. Received: fedsgd"),
    ],
    ids=("no epsilon", "scaffold", "secure", "delta", "strategy"),
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FederationOptions(**options)  # type: ignore[arg-type]
