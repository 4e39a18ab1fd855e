"""Secure aggregation: the server sees noise, the sum opens without those who drop out, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.errors import FederationError
from serctl.learning.federated.secure import MaskedParty, open_sum

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

NODES = (11, 7, 300, 5, 40)
THRESHOLD = 3


class Round:
    """The messages of a round of five parties, up to the masked values."""

    def __init__(self, values: dict[int, NDArray[np.float64]]) -> None:
        self.parties = {node: MaskedParty(node) for node in values}
        self.keys = {node: party.public_keys for node, party in self.parties.items()}
        sealed = {node: party.share(self.keys, THRESHOLD) for node, party in self.parties.items()}
        self.shares = {
            node: {other: sealed[other][node] for other in self.parties if other != node} for node in self.parties
        }
        self.masked = {node: party.mask(values[node], self.shares[node]) for node, party in self.parties.items()}

    def open(self, present: Collection[int], answering: Collection[int]) -> NDArray[np.float64]:
        """The sum of those whose values the server has, by the shares of those who answer last."""
        dropped = set(self.parties) - set(present)
        revealed = {node: self.parties[node].reveal(present, dropped) for node in answering}
        masked = {node: self.masked[node] for node in present}
        return open_sum(masked, self.keys, revealed, threshold=THRESHOLD)


@pytest.fixture
def values() -> dict[int, NDArray[np.float64]]:
    """Small numbers of each party, as weights are."""
    rng = np.random.default_rng(0)
    return {node: rng.normal(0, 0.05, 5000) for node in NODES}


@pytest.mark.parametrize(
    ("present", "answering"),
    [(NODES, NODES), (NODES, NODES[:3]), (NODES[1:], NODES[1:]), (NODES[2:], NODES[2:])],
    ids=("all", "two do not answer", "one drops out", "two drop out"),
)
def test_the_sum_of_those_who_sent_opens_with_three_of_five(
    values: dict[int, NDArray[np.float64]], present: Collection[int], answering: Collection[int]
) -> None:
    found = Round(values).open(present, answering)
    np.testing.assert_allclose(found, sum(values[node] for node in present), atol=5 * 2.0**-40)


def test_fewer_than_three_cannot_open_the_sum(values: dict[int, NDArray[np.float64]]) -> None:
    with pytest.raises(FederationError, match=r"expected 3 parties to open the sum of a round\. Received: 2"):
        Round(values).open(NODES, NODES[:2])
    with pytest.raises(FederationError, match=r"expected 3 parties to open the sum of a round\. Received: 2"):
        Round(values).open(NODES[:2], NODES[:2])


def test_what_the_server_sees_of_a_party_is_uniform_noise(values: dict[int, NDArray[np.float64]]) -> None:
    from scipy.stats import chisquare

    one, again = Round(values), Round(values)
    for node in NODES:
        counts = np.bincount(one.masked[node] >> np.uint64(58), minlength=64)
        assert chisquare(counts).pvalue > 1e-6
        assert not np.any(one.masked[node] == again.masked[node])
    partial = one.masked[11] + one.masked[7]
    assert chisquare(np.bincount(partial >> np.uint64(58), minlength=64)).pvalue > 1e-6


def test_a_party_hides_values_once_in_a_round(values: dict[int, NDArray[np.float64]]) -> None:
    made = Round(values)
    with pytest.raises(FederationError, match="asks for values twice"):
        made.parties[7].mask(values[7] + 1, made.shares[7])


def test_a_party_gives_shares_once_and_never_both_secrets_of_another(values: dict[int, NDArray[np.float64]]) -> None:
    party = Round(values).parties[7]
    with pytest.raises(FederationError, match="more shares than a sum needs"):
        party.reveal(NODES, [11])
    party.reveal(NODES, [])
    with pytest.raises(FederationError, match="more shares than a sum needs"):
        party.reveal(NODES[1:], NODES[:1])


def unmasked(made: Round) -> MaskedParty:
    """The party 7 before it hid its values."""
    made.parties[7]._masked = False
    return made.parties[7]


def test_a_party_refuses_a_minority_foreign_keys_and_changed_shares(values: dict[int, NDArray[np.float64]]) -> None:
    made = Round(values)
    fresh = MaskedParty(7)
    with pytest.raises(FederationError, match="a majority"):
        fresh.share({**made.keys, 7: fresh.public_keys}, 2)
    with pytest.raises(FederationError, match="a majority"):
        fresh.share(made.keys, 3)
    shares = made.shares[7]
    changed = {**shares, 11: shares[11][:-1] + bytes([shares[11][-1] ^ 1])}
    with pytest.raises(FederationError, match="was changed"):
        unmasked(made).mask(values[7], changed)
    with pytest.raises(FederationError, match=r"at most 1e\+06"):
        unmasked(made).mask(np.array([1.0, np.nan]), shares)
