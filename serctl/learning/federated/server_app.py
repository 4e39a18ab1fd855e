"""The server's side: asks the parties what they have, runs the rounds, chooses the best one and calibrates it."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, Message

from serctl.errors import CorpusError, FederationError
from serctl.features import Moments, Normaliser
from serctl.learning.checkpoints import load_checkpoint, save_checkpoint
from serctl.learning.federated import client_app as messages
from serctl.learning.federated.local import Weights, new_weights
from serctl.learning.federated.outcome import Federated, RoundScores, Traffic, best_temperature
from serctl.learning.federated.plan import Plan
from serctl.learning.federated.strategies import (
    distance,
    fault_of,
    from_record,
    make_strategy,
    outliers,
    pool_statistics,
    restore_strategy,
    strategy_arrays,
    to_record,
)
from serctl.learning.learn import network_spec
from serctl.learning.selection import FitState
from serctl.metrics import uar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from serctl.learning.federated.local import WindowScores
    from serctl.learning.federated.outcome import RoundCallback
    from serctl.learning.federated.parties import Description, Update
    from serctl.learning.federated.plan import FederationOptions
    from serctl.learning.recipe import Recipe

CHECKPOINT = "federated.npz"
_POLL_S = 0.1
_GRACE_S = 10.0
"""How long a round waits at least for the parties that it could do without."""


class Server:
    """The rounds of a federated training.

    Args:
        grid: sends messages to the parties; Flower's, or one like it.
        recipe: how the network is made.
        options: of the federation.
        parties: how many to wait for before the first round.
        checkpoint: a file that keeps every round, so that the server can be started again; None for none.
        on_round: called after every round.
    """

    def __init__(
        self,
        grid: Any,
        recipe: Recipe,
        options: FederationOptions,
        *,
        parties: int,
        checkpoint: Path | None,
        on_round: RoundCallback,
    ) -> None:
        self._grid, self._options, self._parties = grid, options, parties
        self._checkpoint, self._on_round = checkpoint, on_round
        self._choice = replace(recipe.fit, epochs=options.rounds)
        self._plan = Plan.make(recipe, options)
        self._nodes: dict[int, Description] = {}
        self._turned_away: set[int] = set()
        self._known: dict[str, Description] = {}
        self._traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self._refused: list[tuple[int, str, str]] = []
        self._state = FitState()
        self._round = 0

    def run(self) -> Federated:
        """Train to the end.

        Raises:
            FederationError: fewer parties than a round needs are there, or send what can be used.
            CorpusError: the parties have fewer than two emotions in common.
        """
        saved = load_checkpoint(self._checkpoint) if self._checkpoint and self._checkpoint.exists() else None
        self._gather(self._options.least_parties if saved else self._parties)
        if saved:
            self._restore(*saved)
        else:
            self._begin()
        self._spec = network_spec(self._plan.recipe, n_classes=len(self._plan.classes), languages=self._plan.languages)
        initial, self._variances = new_weights(self._plan.architecture, self._spec, seed=self._choice.seed)
        if saved is None:
            self._weights = initial
        self._strategy = make_strategy(self._options, self._examples)
        restore_strategy(self._strategy, saved[1] if saved else {})
        while self._round < self._options.rounds and not self._state.finished:
            self._train_round()
        return self._finish()

    @property
    def _examples(self) -> dict[int, int]:
        return {node: found.examples for node, found in self._nodes.items()}

    def get_node_ids(self) -> list[int]:
        """Return the parties that take part and are connected; asked by Flower's strategies."""
        return [node for node in self._grid.get_node_ids() if node in self._nodes]

    def _gather(self, parties: int) -> None:
        """Wait for the first parties and ask each what it has."""
        last = time.monotonic() + self._options.round_s
        while len(self._nodes) < parties:
            self._admit()
            if time.monotonic() > last:
                raise FederationError(
                    f"expected {parties} parties within {self._options.round_s:g} s. "
                    f"Received: {', '.join(sorted(self._known)) or 'none'}{self._reasons()}"
                )
            if len(self._nodes) < parties:
                time.sleep(_POLL_S)

    def _admit(self) -> None:
        """Ask the parties that are new what they have; a known one that was started again takes its place."""
        new = [node for node in self._grid.get_node_ids() if node not in self._nodes and node not in self._turned_away]
        if not new:
            return
        content = messages.request(self._plan)
        for reply in self._exchange([Message(content, node, messages.DESCRIBE) for node in new], enough=len(new)):
            node = reply.metadata.src_node_id
            fault = reply.error.reason if reply.has_error() else self._fault_of_description(reply.content)
            if fault:
                self._turned_away.add(node)
                self._refused.append((self._round, f"node {node}", fault))
                continue
            found = messages.description_of(reply.content)
            self._nodes = {other: each for other, each in self._nodes.items() if each.name != found.name}
            self._nodes[node] = self._known[found.name] = found
            self._traffic[found.name].count(reply.content)

    def _fault_of_description(self, content: Any) -> str:
        found = messages.description_of(content)
        if found.version != self._plan.version:
            return f"{found.name}: expected serctl {self._plan.version}. Received: {found.version}"
        foreign = sorted(set(found.class_counts) - set(self._plan.classes)) if self._plan.classes else []
        if foreign:
            return f"{found.name}: joined after the start, with emotions of no other party: {', '.join(foreign)}"
        moments = (found.mel.sums, found.mel.squares, found.functionals.sums, found.functionals.squares)
        if not all(np.isfinite(each).all() for each in moments):
            return f"{found.name}: the sums of its features are not all finite numbers"
        return ""

    def _begin(self) -> None:
        """Settle what all parties share: the classes, their counts, the languages and the normaliser."""
        found = list(self._nodes.values())
        counts: dict[str, int] = {}
        for each in found:
            for emotion, count in each.class_counts.items():
                counts[emotion] = counts.get(emotion, 0) + count
        asked = tuple(self._plan.labels["classes"])
        classes = [emotion for emotion in asked or sorted(counts) if emotion in counts]
        if len(classes) < 2:
            raise CorpusError(f"expected at least two emotions. Found: {', '.join(classes) or 'none'}")
        adapters = self._plan.recipe.architecture_facts.adapters
        languages = sorted({code for each in found for code in each.languages}) if adapters else []
        self._plan = replace(
            self._plan, class_counts={each: counts[each] for each in classes}, languages=tuple(languages)
        )
        self._normaliser = Normaliser.from_moments(
            _sum([each.mel for each in found]), _sum([each.functionals for each in found])
        )

    def _train_round(self) -> None:
        number = self._round + 1
        self._admit()
        config = ConfigRecord({"plan": self._plan.to_json()})
        sent = list(self._strategy.configure_train(number, to_record(self._weights.trainable), config, self))
        for message in sent:
            message.content[messages.STATISTICS] = to_record(self._weights.statistics)
            message.content[messages.NORMALISER] = to_record(list(vars(self._normaliser).values()))
        replies = self._exchange(sent, enough=self._options.least_parties)
        taken, refused = self._check(replies, number)
        if len(taken) < self._options.least_parties:
            raise FederationError(
                f"round {number}: expected updates of {self._options.least_parties} parties. Received: "
                f"{len(taken)}{self._reasons()}"
            )
        self._score([update.scores for _, update in taken.values()])
        self._join(number, taken)
        self._round = number
        self._report(taken, refused)
        self._save()

    def _check(self, replies: Sequence[Any], number: int) -> tuple[dict[str, tuple[Any, Update]], dict[str, str]]:
        """The updates that can be used, by party, and why the others cannot."""
        taken: dict[str, tuple[Any, Update]] = {}
        refused: dict[str, str] = {}
        for reply in replies:
            party = self._nodes[reply.metadata.src_node_id]
            fault, update = self._open(reply, party)
            if update is None or fault:
                refused[party.name] = fault
            else:
                taken[party.name] = (reply, update)
        lengths = {
            name: distance(update.weights.trainable, self._weights.trainable) for name, (_, update) in taken.items()
        }
        refused |= outliers(lengths)
        self._refused += [(number, name, reason) for name, reason in refused.items()]
        return {name: each for name, each in taken.items() if name not in refused}, refused

    def _open(self, reply: Any, party: Description) -> tuple[str, Update | None]:
        """What is wrong with a reply, and the update in it."""
        if reply.has_error():
            return str(reply.error.reason), None
        self._traffic[party.name].count(reply.content)
        try:
            update = messages.update_of(reply.content)
        except (KeyError, ValueError, TypeError) as error:
            return f"it is no update: {error}", None
        held = self._weights
        fault = fault_of(update.weights, held, examples=update.examples, described=party.examples)
        if not fault and update.control:
            control = Weights(update.control, update.weights.statistics)
            fault = fault_of(control, held, examples=update.examples, described=party.examples)
        return fault, update

    def _join(self, number: int, taken: Mapping[str, tuple[Any, Update]]) -> None:
        """Make the weights of the next round."""
        updates = [update for _, update in taken.values()]
        statistics = pool_statistics(
            [each.weights.statistics for each in updates], [each.examples for each in updates], self._variances
        )
        for reply, _ in taken.values():
            for name in (messages.STATISTICS, messages.SCORES):
                reply.content.pop(name)
        arrays, metrics = self._strategy.aggregate_train(number, [reply for reply, _ in taken.values()])
        self._weights = Weights([each.astype(np.float32) for each in from_record(arrays)], statistics)
        self._loss = float(metrics["loss"])
        for name in taken:
            self._traffic[name].rounds += 1

    def _score(self, scores: Sequence[WindowScores]) -> None:
        """Record how the weights of the last round do; those before the first are no candidate."""
        if self._round == 0:
            return
        confusion = sum((each.confusion for each in scores), np.zeros((1, 1), np.int64))
        windows = int(confusion.sum())
        losses = np.array([sum(each.loss for each in scores) / windows]) if windows else np.empty(0)
        self._state.record(self._loss, losses, uar(confusion) if windows else float("nan"), self._choice)
        if self._state.best_epoch == self._round:
            self._state.best_weights = [*self._weights.trainable, *self._weights.statistics]

    def _report(self, taken: Mapping[str, Any], refused: Mapping[str, str]) -> None:
        history = self._state.history
        last = {name: values[-1] if values else float("nan") for name, values in history.items()}
        self._on_round(
            RoundScores(
                number=self._round,
                rounds=self._options.rounds,
                loss=self._loss,
                val_loss=last["val_loss"],
                val_uar=last["val_uar"],
                parties=tuple(sorted(taken)),
                refused=refused,
            )
        )

    def _finish(self) -> Federated:
        """Score the last round, take the best one, calibrate it and test it."""
        if self._state.epochs_done < self._round:
            self._score([scores for scores, _ in self._ask_losses(self._weights).values()])
        split = len(self._weights.trainable)
        best = Weights(self._state.best_weights[:split], self._state.best_weights[split:])
        temperature = best_temperature(sum(each for _, each in self._ask_losses(best).values()))
        content = messages.request(self._plan, self._normaliser, best, temperature=temperature)
        scores = {name: messages.held_out_of(each) for name, each in self._ask(messages.TEST, content).items()}
        self._ask(messages.FINISH, messages.request(self._plan))
        return Federated(
            plan=self._plan,
            spec=self._spec,
            normaliser=self._normaliser,
            weights=best,
            temperature=temperature,
            history=self._state.history,
            best_round=self._state.best_epoch,
            parties=tuple(self._known[name] for name in sorted(self._known)),
            traffic=dict(self._traffic),
            refused=tuple(self._refused),
            scores=scores,
        )

    def _ask_losses(self, weights: Weights) -> dict[str, tuple[WindowScores, Any]]:
        replies = self._ask(messages.LOSSES, messages.request(self._plan, self._normaliser, weights))
        arrays = {name: from_record(content[messages.SCORES]) for name, content in replies.items()}
        return {name: (messages.scores_of(each[:2]), each[2]) for name, each in arrays.items()}

    def _ask(self, kind: str, content: Any) -> dict[str, Any]:
        """Ask every party that is there the same; returns the replies by party."""
        nodes = self.get_node_ids()
        replies = self._exchange([Message(content, node, kind) for node in nodes], enough=len(nodes))
        found = {self._nodes[each.metadata.src_node_id].name: each for each in replies}
        for name, each in found.items():
            if each.has_error():
                self._refused.append((self._round, name, each.error.reason))
            else:
                self._traffic[name].count(each.content)
        return {name: each.content for name, each in found.items() if not each.has_error()}

    def _exchange(self, sent: Iterable[Message], *, enough: int) -> list[Message]:
        """Send messages and wait for the replies: for all, or a while longer than it took to have enough."""
        began = time.monotonic()
        waiting = set(self._grid.push_messages(list(sent)))
        replies: list[Message] = []
        until = began + self._options.round_s
        while waiting and time.monotonic() < until:
            for reply in self._grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
                if len(replies) == enough:
                    until = min(until, time.monotonic() + max(_GRACE_S, 2 * (time.monotonic() - began)))
            if waiting:
                time.sleep(_POLL_S)
        return [each for each in replies if each.has_error() or each.metadata.src_node_id]

    def _reasons(self) -> str:
        listed = "; ".join(f"{party}: {reason}" for _, party, reason in self._refused[-5:])
        return f"; refused: {listed}" if listed else ""

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        state = {name: value for name, value in vars(self._state).items() if name != "best_weights"}
        parties = {name: messages.facts_of(found) for name, found in self._known.items()}
        facts = {"round": self._round, "loss": self._loss, "state": state, "plan": self._plan.to_json()}
        facts |= {"refused": self._refused, "parties": parties}
        facts |= {"traffic": {name: asdict(each) for name, each in self._traffic.items()}}
        arrays = {
            "trainable": self._weights.trainable,
            "statistics": self._weights.statistics,
            "best": self._state.best_weights,
            "normaliser": list(vars(self._normaliser).values()),
            **strategy_arrays(self._strategy),
        }
        save_checkpoint(self._checkpoint, facts, arrays)

    def _restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; parties that are not there yet are known by what they said before."""
        self._round, self._loss = int(facts["round"]), float(facts["loss"])
        self._plan = Plan.from_json(facts["plan"])
        self._state = FitState(**facts["state"], best_weights=list(arrays.get("best", [])))
        self._weights = Weights(list(arrays["trainable"]), list(arrays.get("statistics", [])))
        self._normaliser = Normaliser(*arrays["normaliser"])
        self._refused = [(int(number), party, reason) for number, party, reason in facts["refused"]]
        said = {name: messages.description_from(values) for name, values in facts["parties"].items()}
        self._known = {**said, **self._known}
        self._traffic.update({name: Traffic(**values) for name, values in facts["traffic"].items()})


def _sum(moments: Sequence[Moments]) -> Moments:
    total, *others = moments
    for each in others:
        total = total + each
    return total
