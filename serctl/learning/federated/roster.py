"""Who takes part in a federated training, and the messages between them and the server."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from flwr.app import Message

from serctl.arrays import UNREADABLE
from serctl.errors import FederationError
from serctl.learning.federated import client_app as messages
from serctl.learning.federated.outcome import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serctl.learning.federated.parties import Description
    from serctl.learning.federated.plan import FederationOptions, Plan

_POLL_S = 0.1
_GRACE_S = 10.0
"""How long a round waits at least for the parties that it could do without."""

RETURN_S = 60.0
"""How long a server that was started again waits for the parties that it could do without."""

LINGER_S = 60.0
"""How long a server stays after the end for parties that are away, so that they end too."""

T = TypeVar("T")

UNUSABLE = (*UNREADABLE, IndexError, AttributeError)
"""What reading something that is no answer of a party raises."""

_GONE = (3, 4, 5)
"""Flower's codes of errors for a message, its reply or a node that is not available."""


class Roster:
    """The parties of a training, by their nodes and their names.

    Args:
        grid: sends messages to the parties; Flower's, or one like it.
        options: of the federation.
        parties: how many are expected.
        names: of the parties, by the id of their node, where keys prove who is who.

    Attributes:
        nodes: what each party that was admitted said of its data, by the id of its node.
        known: the same by the name of the party; those of an earlier start too.
        refused: round, party and reason of all that was refused.
        traffic: what each party sent.
        number: of the round that is finished.
    """

    def __init__(
        self, grid: Any, options: FederationOptions, *, parties: int, names: Mapping[int, str] | None = None
    ) -> None:
        self._grid, self._options, self._parties, self._names = grid, options, parties, names or {}
        self._turned_away: set[int] = set()
        self._asked: dict[str, int] = {}
        self.nodes: dict[int, Description] = {}
        self.known: dict[str, Description] = {}
        self.refused: list[tuple[int, str, str]] = []
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self.number = 0

    @property
    def examples(self) -> dict[int, int]:
        """Training windows of the parties by the ids of their nodes."""
        return {node: found.examples for node, found in self.nodes.items()}

    def get_node_ids(self) -> list[int]:
        """Return the parties that take part and are connected; asked by Flower's strategies."""
        return [node for node in self._grid.get_node_ids() if node in self.nodes]

    def gather(self, plan: Plan, *, within_s: float) -> None:
        """Wait for the parties and ask each what it has; those that a round needs are awaited longer.

        Raises:
            FederationError: a round needs more parties, and all have come and were turned away, or time is up.
        """
        began = time.monotonic()
        while self._missing(everybody := time.monotonic() - began < within_s) > 0:
            self.admit(plan)
            missing, late = self._missing(everybody), time.monotonic() - began > self._options.wait_s
            if missing > 0 and (late or self._nobody_else_comes()):
                limit = f" within {self._options.wait_s:g} s" if late else ""
                raise FederationError(
                    f"expected {missing} more parties{limit}. "
                    f"Received: {', '.join(sorted(self.known)) or 'none'}{self.reasons()}"
                )
            time.sleep(_POLL_S)

    def _missing(self, all_of_them: bool) -> int:
        """How many parties are still awaited; one that was turned away does not come."""
        present = len(self.get_node_ids())
        if all_of_them:
            return self._parties - present - len(self._turned_away)
        return self._options.least_parties - present

    def _nobody_else_comes(self) -> bool:
        """Whether all parties are there and have answered, and so many were turned away that no round can begin."""
        there = len(self.get_node_ids()) + len(self._turned_away)
        return not self._asked and there >= self._parties and self._missing(all_of_them=False) > 0

    def admit(self, plan: Plan) -> None:
        """Ask the parties that are new what they have, and admit those that have answered.

        Nobody waits for the answer, which takes long where a party extracts its features first. A known party that was
        started again takes its place; one that was turned away is asked again once it has been away.
        """
        present = list(self._grid.get_node_ids())
        self._turned_away.intersection_update(present)
        met = {*self.nodes, *self._turned_away, *self._asked.values()}
        new = [node for node in present if node not in met]
        if new:
            content = messages.request(plan)
            pushed = self._grid.push_messages([Message(content, node, messages.DESCRIBE) for node in new])
            self._asked |= {key: node for key, node in zip(pushed, new, strict=True) if key}
        for reply in self._grid.pull_messages(list(self._asked)) if self._asked else ():
            node = self._asked.pop(reply.metadata.reply_to_message_id)
            if not _is_gone(reply):
                self._meet(node, reply, plan)

    def _meet(self, node: int, reply: Any, plan: Plan) -> None:
        """Admit a party that said what it has, or turn it away."""
        try:
            found = messages.description_of(_content(reply))
            fault = self._fault_of_description(node, found, plan)
        except UNUSABLE as error:
            fault = str(error)
        if fault:
            self._turned_away.add(node)
            self.refused.append((self.number, self._names.get(node, f"node {node}"), fault))
            return
        self.nodes = {other: each for other, each in self.nodes.items() if each.name != found.name}
        self.nodes[node] = self.known[found.name] = found
        self.traffic[found.name].count(reply.content)

    def _fault_of_description(self, node: int, found: Description, plan: Plan) -> str:
        if found.name != self._names.get(node, found.name):
            return f"the key is that of {self._names[node]}, the party calls itself {found.name}"
        if found.version != plan.version:
            return f"{found.name}: expected serctl {plan.version}. Received: {found.version}"
        foreign = sorted(set(found.class_counts) - set(plan.classes)) if plan.classes else []
        if foreign:
            return f"{found.name}: joined after the start, with emotions of no other party: {', '.join(foreign)}"
        moments = (found.mel.sums, found.mel.squares, found.functionals.sums, found.functionals.squares)
        if not all(np.isfinite(each).all() for each in moments):
            return f"{found.name}: the sums of its features are not all finite numbers"
        return ""

    def ask(self, plan: Plan, kind: str, content: Any, read: Callable[[Any], T]) -> dict[str, T]:
        """Ask every party that is there the same.

        Args:
            plan: of the training.
            kind: of the message.
            content: of it.
            read: makes something of an answer.

        Returns:
            What was made of the answers by party, of one at least; what cannot be read is refused.

        Raises:
            FederationError: nobody sent what can be used.
        """
        self.gather(plan, within_s=RETURN_S)
        nodes = self.get_node_ids()
        replies = self.exchange([Message(content, node, kind) for node in nodes], enough=self._options.least_parties)
        usable: dict[str, T] = {}
        for node, reply in replies.items():
            name = self.nodes[node].name
            try:
                usable[name] = read(_content(reply))
            except UNUSABLE as error:
                self.refused.append((self.number, name, str(error)))
            else:
                self.traffic[name].count(reply.content)
        if not usable:
            raise FederationError(f"no party answered after the last round{self.reasons()}")
        return usable

    def dismiss(self, plan: Plan) -> None:
        """Tell the parties that the training is over: those that are there, and for LINGER_S those that return."""
        content = messages.request(plan)
        told: set[int] = set()
        until = time.monotonic() + LINGER_S
        while len(told) < len(self.known) and time.monotonic() < until:
            present = [node for node in self._grid.get_node_ids() if node not in told]
            told |= set(self.exchange([Message(content, node, messages.FINISH) for node in present], enough=0))
            time.sleep(_POLL_S)

    def exchange(self, sent: Sequence[Message], *, enough: int) -> dict[int, Message]:
        """Send messages and wait for the replies: for all, or a while longer than it took to have enough.

        Returns:
            The replies by node, in the order of the parties' names: sums of floating-point numbers depend on it. Those
            of nodes that went away are missing.
        """
        began = time.monotonic()
        pushed = self._grid.push_messages(list(sent))
        waiting = {key: each.metadata.dst_node_id for key, each in zip(pushed, sent, strict=True) if key}
        replies: dict[int, Message] = {}
        until = began + self._options.round_s
        while waiting and time.monotonic() < until:
            if len(replies) >= enough:
                until = min(until, time.monotonic() + max(_GRACE_S, 2 * (time.monotonic() - began)))
                enough = len(sent) + 1
            for reply in self._grid.pull_messages(list(waiting)):
                node = waiting.pop(reply.metadata.reply_to_message_id)
                if not _is_gone(reply):
                    replies[node] = reply
            if waiting:
                time.sleep(_POLL_S)
        names = {node: each.name for node, each in self.nodes.items()}
        return {node: replies[node] for node in sorted(replies, key=lambda node: names.get(node, ""))}

    def reasons(self) -> str:
        """Return the last refusals in words, to be added to an error."""
        listed = "; ".join(f"{party}: {reason}" for _, party, reason in self.refused[-5:])
        return f"; refused: {listed}" if listed else ""


def _is_gone(reply: Message) -> bool:
    """Whether it stands for one of a node that went away."""
    return bool(reply.has_error() and reply.error.code in _GONE)


def _content(reply: Message) -> Any:
    """What a party answered; its error is raised."""
    if reply.has_error():
        raise ValueError(reply.error.reason)
    return reply.content
