"""A round of secure aggregation over messages: both sides, and what an update is as a list of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from serctl.errors import FederationError
from serctl.learning.federated.local import WindowScores
from serctl.learning.federated.network import Weights
from serctl.learning.federated.parties import Update
from serctl.learning.federated.secure import MaskedParty, open_sum
from serctl.learning.federated.strategies import from_record, to_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flwr.clientapp import ClientApp
    from numpy.typing import NDArray

    from serctl.learning.federated.network import Arrays
    from serctl.learning.federated.roster import Roster

KEYS, SHARES, REVEAL = "query.keys", "query.shares", "query.reveal"
MASKED, SECRETS = "masked", "secrets"


class SecureApp:
    """A party's side of secure aggregation; it has new keys in every round.

    Args:
        app: answers the messages.
    """

    def __init__(self, app: ClientApp) -> None:
        self._party: MaskedParty | None = None

        @app.query("keys")
        def keys(message: Message, _: Any) -> Message:
            node = message.metadata.dst_node_id
            self._party = MaskedParty(node)
            return _reply(message, {node: self._party.public_keys})

        @app.query("shares")
        def shares(message: Message, _: Any) -> Message:
            threshold = int(message.content["config"]["threshold"])
            return _reply(message, self._current.share(_secrets(message.content), threshold))

        @app.query("reveal")
        def reveal(message: Message, _: Any) -> Message:
            present, dropped = ([int(node) for node in message.content["config"][name]] for name in ("in", "out"))
            return _reply(message, self._current.reveal(present, dropped))

    @property
    def _current(self) -> MaskedParty:
        if self._party is None:
            raise FederationError("this party was started again since the round began")
        return self._party

    def mask(self, update: Update, message: Message) -> RecordDict:
        """Return what the party sends instead of its update."""
        values = values_of(update, total=int(message.content["config"]["total"]))
        return RecordDict({MASKED: to_record([self._current.mask(values, _secrets(message.content))])})


def sum_of_round(roster: Roster, sent: Sequence[Message], *, least: int) -> tuple[NDArray[np.float64], list[int]]:
    """Have the parties train, and open the sum of their updates.

    Args:
        roster: of the parties.
        sent: the messages that begin a round.
        least: parties that a round needs.

    Returns:
        The sum of what values_of makes of the updates, and the nodes whose updates are in it.

    Raises:
        FederationError: too few parties are left to open it.
    """
    total = sum(each.examples for each in roster.known.values())
    begun = {each.metadata.dst_node_id: each for each in sent}
    keys = _ask(roster, KEYS, {node: RecordDict() for node in begun}, least)
    public = {node: _secrets(content)[node] for node, content in keys.items()}
    threshold = len(public) // 2 + 1
    config = ConfigRecord({"threshold": threshold})
    everyone = _record(public)
    sealed = _ask(roster, SHARES, {node: RecordDict({"config": config, SECRETS: everyone}) for node in public}, least)
    shares = {node: _secrets(content) for node, content in sealed.items()}
    # Flower's strategies give all messages the same content.
    train = {node: RecordDict({**begun[node].content, SECRETS: _record(_others(shares, node))}) for node in shares}
    for each in train.values():
        each["config"]["total"] = total
    trained = _ask(roster, "train", train, least)
    masked = {node: from_record(content[MASKED])[0].astype(np.uint64) for node, content in trained.items()}
    asked = ConfigRecord({"in": sorted(masked), "out": sorted(set(shares) - set(masked))})
    revealed = _ask(roster, REVEAL, {node: RecordDict({"config": asked}) for node in masked}, threshold)
    found = {node: _secrets(content) for node, content in revealed.items()}
    used = {node: public[node] for node in shares}
    return open_sum(masked, used, found, threshold=threshold), sorted(masked)


def values_of(update: Update, *, total: int) -> NDArray[np.float64]:
    """Return an update as values whose sum over the parties is that of all.

    Args:
        update: of a party.
        total: training windows of all parties.

    Returns:
        Its weights and its loss times its share of the windows, and its scores, shape (n,).
    """
    share = update.examples / total
    scores = [np.array(update.scores.loss), update.scores.confusion]
    weighted = [np.array(update.loss), *update.weights.trainable, *update.control]
    parts = [*(share * each for each in weighted), *(each / total for each in scores)]
    return np.concatenate([np.ravel(each) for each in parts])


def update_of_sum(
    values: NDArray[np.float64], like: Arrays, *, examples: int, total: int, classes: int, control: bool
) -> Update:
    """Return what the parties of a sum sent together.

    Args:
        values: the sum.
        like: the weights before, for their shapes.
        examples: training windows of the parties whose updates are in the sum.
        total: those of all parties.
        classes: of the network.
        control: whether control variates are in it; their change stays weighted by the share of all.
    """
    share = examples / total
    shapes = [(), *(each.shape for each in like), *((each.shape for each in like) if control else ())]
    shapes += [(), (classes, classes)]
    bounds = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = [part.reshape(shape) for part, shape in zip(np.split(values, bounds), shapes, strict=True)]
    trainable = [(each / share).astype(np.float32) for each in parts[1 : 1 + len(like)]]
    changes = [each.astype(np.float32) for each in parts[1 + len(like) : -2]]
    scores = WindowScores(float(parts[-2] * total), np.rint(parts[-1] * total).astype(np.int64))
    return Update(Weights(trainable, []), examples, float(parts[0] / share), scores, changes)


def _ask(roster: Roster, kind: str, contents: Mapping[int, RecordDict], least: int) -> dict[int, RecordDict]:
    """The replies that are no errors; those are recorded."""
    sent = [Message(content, node, kind) for node, content in contents.items()]
    found = {}
    for node, reply in roster.exchange(sent, enough=least).items():
        name = roster.nodes[node].name
        if reply.has_error():
            roster.refused.append((roster.number + 1, name, str(reply.error.reason)))
        else:
            roster.traffic[name].count(reply.content)
            found[node] = reply.content
    if len(found) < least:
        raise FederationError(
            f"round {roster.number + 1}: expected {least} parties. Received: {len(found)}{roster.reasons()}"
        )
    return found


def _others(shares: Mapping[int, Mapping[int, bytes]], node: int) -> dict[int, bytes]:
    """The shares that the other parties made for one."""
    return {other: each[node] for other, each in shares.items() if other != node}


def _record(secrets: Mapping[int, bytes]) -> ConfigRecord:
    return ConfigRecord({str(node): each for node, each in secrets.items()})


def _secrets(content: RecordDict) -> dict[int, bytes]:
    return {int(node): bytes(each) for node, each in content[SECRETS].items()}


def _reply(message: Message, secrets: Mapping[int, bytes]) -> Message:
    return Message(RecordDict({SECRETS: _record(secrets)}), reply_to=message)
