"""How the server joins what the parties send, and what it refuses.

FedAvg, FedProx and FedAdam are Flower's. Flower has no SCAFFOLD; that one is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx

from serctl.errors import ConfigError
from serctl.learning.federated.plan import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from serctl.learning.federated.network import Arrays, Weights
    from serctl.learning.federated.plan import FederationOptions

HUGE = 10.0
"""An update is refused if it is longer than this many times the weights, or the median of all updates of the round."""

FEWEST_FOR_MEDIAN = 3
EXAMPLES = "num-examples"
CONTROL = "control"

_ADAM_RATE = 0.01


class Scaffold(FedAvg):
    """FedAvg whose parties correct their gradients by what those of all parties have in common.

    A party's control variate is the mean of its own gradients of a round, which is what option II of the paper computes
    where the local optimizer is SGD; this also holds for other optimizers. The server keeps their mean, weighted by the
    examples as the weights are.

    Args:
        options: those of Flower's FedAvg.

    Source: Karimireddy et al. 2020, arXiv:1910.06378.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.control: Arrays = []
        self._examples: Mapping[int, int] = {}
        self._total = 0

    def meet(self, examples: Mapping[int, int], total: int) -> None:
        """Learn who takes part; a party that is new has a control variate of 0.

        Args:
            examples: by the id of the party's node.
            total: of all parties, those that are away too.
        """
        if self._total:
            self.control = [each * (self._total / total) for each in self.control]
        self._examples, self._total = dict(examples), total

    def stand_for_all(self, node: int) -> None:
        """Have the next reply of a node count for all parties, whose shares are in it already."""
        self._examples = {node: self._total}

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        """Make the messages of a round; called by the server."""
        if not self.control:
            self.control = [np.zeros_like(each.numpy()) for each in arrays.values()]
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            message.content[CONTROL] = to_record(self.control)
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> Any:
        """Join the replies of a round; called by the server."""
        replies = list(replies)
        for reply in replies:
            changes = from_record(reply.content.pop(CONTROL))
            share = self._examples[reply.metadata.src_node_id] / self._total
            self.control = [kept + share * change for kept, change in zip(self.control, changes, strict=True)]
        return super().aggregate_train(server_round, replies)


def make_strategy(options: FederationOptions) -> FedAvg:
    """Return the strategy that the options ask for; FederationOptions knows their names."""
    common: dict[str, Any] = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": options.least_parties,
        "min_available_nodes": options.least_parties,
        "weighted_by_key": EXAMPLES,
    }
    if options.strategy == "scaffold":
        return Scaffold(**common)
    if options.strategy == "fedprox":
        return FedProx(proximal_mu=options.proximal, **common)
    if options.strategy == "fedadam":
        return FedAdam(eta=_ADAM_RATE, **common)
    if options.strategy == "fedavg":
        return FedAvg(**common)
    raise ConfigError(f"expected a strategy: {', '.join(STRATEGIES)}. Received: {options.strategy}")


def strategy_arrays(strategy: FedAvg) -> dict[str, Arrays]:
    """Return what a strategy keeps from round to round, for a checkpoint."""
    kept = {CONTROL: getattr(strategy, CONTROL, [])}
    for name in ("m_t", "v_t"):
        kept[name] = list((getattr(strategy, name, None) or {}).values())
    return {name: arrays for name, arrays in kept.items() if arrays}


def restore_strategy(strategy: FedAvg, arrays: Mapping[str, Arrays]) -> None:
    """Give a strategy what it kept before the server was started again."""
    if CONTROL in arrays:
        strategy.control = list(arrays[CONTROL])
    for name in ("m_t", "v_t"):
        if name in arrays:
            setattr(strategy, name, _named(arrays[name]))


def to_record(arrays: Sequence[NDArray[Any]]) -> ArrayRecord:
    """Return arrays as a record of a message, in their order."""
    from flwr.app import Array

    return ArrayRecord({name: Array(np.ascontiguousarray(each)) for name, each in _named(arrays).items()})


def from_record(record: ArrayRecord) -> Arrays:
    """Return the arrays of a record, in their order."""
    return [record[name].numpy() for name in sorted(record)]


def _named(arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{index:04d}": each for index, each in enumerate(arrays)}


def fault_of(sent: Weights, held: Weights, *, examples: int, described: int, huge: float = HUGE) -> str:
    """Find what is wrong with the weights that a party sent.

    Args:
        sent: by the party.
        held: what it was sent before.
        examples: how many its weights are to count for.
        described: how many it had before training.
        huge: longest update, in lengths of what it was sent.

    Returns:
        The fault in words; empty without one.
    """
    for name, arrays, expected in (
        ("weights", sent.trainable, held.trainable),
        ("statistics", sent.statistics, held.statistics),
    ):
        if [each.shape for each in arrays] != [each.shape for each in expected]:
            return f"expected {len(expected)} {name} in the shapes of the network, received others"
        if not all(np.isfinite(each).all() for each in arrays):
            return f"the {name} are not all finite numbers"
    if examples != described:
        return f"it claims {examples} examples, after {described} before training"
    length, limit = distance(sent.trainable, held.trainable), huge * max(norm(held.trainable), 1.0)
    return f"an update of length {length:.3g}: expected at most {limit:.3g}" if length > limit else ""


def outliers(lengths: Mapping[str, float]) -> dict[str, str]:
    """Find updates that are far longer than the others.

    Args:
        lengths: of the update of each party in a round.

    Returns:
        The fault in words, by party; empty with too few parties to tell.
    """
    if len(lengths) < FEWEST_FOR_MEDIAN:
        return {}
    limit = HUGE * float(np.median(list(lengths.values())))
    return {
        party: f"an update of length {length:.3g}: expected at most {limit:.3g}, by those of the other parties"
        for party, length in lengths.items()
        if length > limit
    }


def norm(arrays: Sequence[NDArray[Any]]) -> float:
    """Return the Euclidean norm of all numbers of arrays."""
    flat = [np.ravel(each).astype(np.float64, copy=False) for each in arrays]
    return float(np.sqrt(sum(each @ each for each in flat)))


def distance(left: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> float:
    """Return the Euclidean distance of two lists of arrays of the same shapes."""
    return norm([np.subtract(a, b) for a, b in zip(left, right, strict=True)])


def pool_statistics(sent: Sequence[Arrays], examples: Sequence[int], variances: Mapping[int, int]) -> Arrays:
    """Join the statistics of batch normalisation, as if the batches of all parties were one.

    The variance over all parties is the mean of theirs and the variance of their means.

    Args:
        sent: statistics of each party.
        examples: what each counts for.
        variances: for the index of each variance, that of the mean which belongs to it.
    """
    shares = np.array(examples) / sum(examples)

    def mean(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.tensordot(shares, np.stack(values), axes=1).astype(values[0].dtype)

    pooled = [mean(values) for values in zip(*sent, strict=True)]
    for variance, centre in variances.items():
        spread = [np.square(each[centre] - pooled[centre]) for each in sent]
        pooled[variance] = pooled[variance] + mean(spread)
    return pooled
