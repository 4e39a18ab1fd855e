"""Differential privacy of whole parties: clipped updates with Gaussian noise, as much as a budget asks for.

Two trainings are neighbours where one party takes part in one of them and sends nothing in the other: it is the whole
of a party that is hidden, not a recording. All parties take part in all rounds, so sampling hides nothing.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import FederationError
from serctl.learning.checkpoints import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.learning.federated.network import Arrays

_STEPS = 200
_DRAW_BITS = 53
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class Budget:
    """How much a training may tell of a party, by the updates that it sends or that are joined.

    Attributes:
        epsilon, delta: of all rounds together.
        clip: longest update of a party in a round, as the Euclidean norm of all weights; longer ones are scaled down.
        rounds: how often each party is asked.
        local: whether each party adds noise, rather than the server, which then sees every clipped update as it is.
    """

    epsilon: float
    delta: float
    clip: float
    rounds: int
    local: bool

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise of a round, in units of clip."""
        return noise_multiplier(self.epsilon, self.delta, self.rounds)

    def spent(self, rounds: int) -> float:
        """Return the epsilon of so many rounds at this delta."""
        return epsilon_of(math.sqrt(rounds) / self.noise_multiplier, self.delta) if rounds else 0.0

    def noisy(self, arrays: Arrays) -> Arrays:
        """Add the noise of a round to arrays."""
        sd = self.noise_multiplier * self.clip
        return [(each + sd * gaussian(each.shape)).astype(np.float32) for each in arrays]

    def clipped(self, weights: Arrays, start: Arrays) -> Arrays:
        """Return weights no farther from the start of a round than clip."""
        change = [np.subtract(after, before, dtype=np.float64) for after, before in zip(weights, start, strict=True)]
        length = math.sqrt(sum(float(np.vdot(each, each)) for each in change))
        scale = min(1.0, self.clip / max(length, 1e-300))
        return [(before + scale * each).astype(np.float32) for before, each in zip(start, change, strict=True)]


def delta_of(epsilon: float, mu: float) -> float:
    """Return the delta of Gaussian noise.

    Args:
        epsilon: of the guarantee.
        mu: how far a party can move the value, in standard deviations of the noise. Rounds whose noise is independent
            are one of sqrt(rounds) times mu, exactly.

    Sources: Balle & Wang 2018, arXiv:1805.06530, theorem 8; Dong, Roth & Su 2022, doi:10.1111/rssb.12454, corollary 3.3
    (the rounds).
    """
    kept = _normal(-mu / 2 - epsilon / mu)
    return _normal(mu / 2 - epsilon / mu) - (math.exp(epsilon + math.log(kept)) if kept else 0.0)


def noise_multiplier(epsilon: float, delta: float, rounds: int) -> float:
    """Return the least noise of a round, in units of the longest update, that keeps all rounds within a budget."""
    return math.sqrt(rounds) / _last(lambda mu: delta_of(epsilon, mu) <= delta, high=2 * math.sqrt(epsilon) + 100)


def epsilon_of(mu: float, delta: float) -> float:
    """Return the epsilon of Gaussian noise at a delta; see delta_of for mu."""
    return _last(lambda epsilon: delta_of(epsilon, mu) > delta, high=mu * mu / 2 + 40 * mu)


def _normal(x: float) -> float:
    """The cumulative normal distribution."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _last(holds: Callable[[float], bool], *, high: float) -> float:
    """The largest number above 0 and below high for which a condition holds that holds up to a point."""
    low = 1e-9
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def gaussian(shape: Sequence[int]) -> NDArray[np.float64]:
    """Draw standard normal numbers from the generator of the operating system, which nobody can foresee.

    They are float64 numbers, so what an attacker can read from their last bits (Mironov 2012,
    doi:10.1145/2382196.2382264) stays.

    Source: Box & Muller 1958, doi:10.1214/aoms/1177706645.
    """
    size = math.prod(shape)
    drawn = np.frombuffer(os.urandom(16 * size), np.uint64).reshape(2, size) >> np.uint64(64 - _DRAW_BITS)
    uniform, angle = (drawn + 0.5) / 2**_DRAW_BITS
    return (np.sqrt(-2 * np.log(uniform)) * np.cos(2 * np.pi * angle)).reshape(shape)


def protect(sent: Sequence[Arrays], start: Arrays, budget: Budget) -> list[Arrays]:
    """Make the mean of updates private: clip each, and add the noise to their sum.

    Args:
        sent: weights of each party after a round.
        start: the weights that it started from.
        budget: of the training.

    Returns:
        What to join with equal shares instead.
    """
    clipped = [budget.clipped(each, start) for each in sent]
    return [budget.noisy(clipped[0]), *clipped[1:]]


class Releases:
    """What a party has told, in all trainings: it answers as long as that stays within the budget of the present one.

    A question that is asked again, by a server that was started again, has the same answer, not one with other noise.

    Args:
        path: a file that keeps this, so that the party may start again; None for none.

    Raises:
        ConfigError: the file is damaged.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._told, self._question = 0.0, ""
        self._answer: Arrays = []
        if path and path.exists():
            facts, arrays = load_checkpoint(path)
            self._told, self._question = float(facts["told"]), str(facts["question"])
            self._answer = arrays["answer"]

    def answer(self, question: str, budget: Budget, weights: Arrays, start: Arrays) -> Arrays:
        """Return weights, clipped and with noise.

        Args:
            question: tells questions apart, with the start.
            budget: of the training.
            weights: found by the party.
            start: what it started from.

        Raises:
            FederationError: the budget is spent.
        """
        digest = hashlib.blake2b(question.encode())
        for each in start:
            digest.update(each.tobytes())
        question = digest.hexdigest()
        if question == self._question:
            return self._answer
        one = budget.noise_multiplier**-2  # squares of mu add up
        told = self._told + one
        if told > one * budget.rounds * _ROUNDING:
            raise FederationError(
                f"the privacy budget is spent: epsilon {budget.epsilon:g} for all rounds, earlier trainings included"
            )
        answer = budget.noisy(budget.clipped(weights, start))
        self._told, self._question, self._answer = told, question, answer
        if self._path:
            facts = {"told": told, "question": question}
            save_checkpoint(self._path, facts, {"answer": answer})
        return answer


def check_limit(limit: tuple[float, float] | None, asked: Budget | None) -> None:
    """Check that a server asks a party for no more than it lets its updates tell.

    Args:
        limit: largest epsilon and delta; None for none.
        asked: the budget of the training.

    Raises:
        FederationError: it asks for more.
    """
    if limit is None:
        return
    epsilon, delta = limit
    if asked is None or not asked.local or asked.epsilon > epsilon or asked.delta > delta:
        received = f"{asked.epsilon:g} at {asked.delta:g}" if asked and asked.local else "no such noise"
        raise FederationError(
            "this party adds noise to its updates: expected a server that asks for an epsilon of at most "
            f"{epsilon:g} at a delta of {delta:g}. Received: {received}"
        )
