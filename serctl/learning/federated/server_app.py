"""The server's side: asks the parties what they have, runs the rounds, chooses the best one and calibrates it."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from serctl.errors import CorpusError, FederationError
from serctl.features import Moments, Normaliser
from serctl.learning.checkpoints import load_checkpoint, save_checkpoint
from serctl.learning.federated import client_app as messages
from serctl.learning.federated.network import Weights, new_weights
from serctl.learning.federated.outcome import Federated, RoundScores, Traffic, best_temperature
from serctl.learning.federated.plan import Plan
from serctl.learning.federated.privacy import protect
from serctl.learning.federated.roster import RETURN_S, UNUSABLE, Roster
from serctl.learning.federated.secure_round import sum_of_round, update_of_sum
from serctl.learning.federated.strategies import (
    EXAMPLES,
    HUGE,
    Scaffold,
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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from serctl.learning.federated.local import WindowScores
    from serctl.learning.federated.outcome import RoundCallback
    from serctl.learning.federated.parties import Description, Update
    from serctl.learning.federated.plan import FederationOptions
    from serctl.learning.federated.privacy import Budget
    from serctl.learning.recipe import Recipe

CHECKPOINT = "federated.npz"


class Server:
    """The rounds of a federated training.

    Args:
        grid: sends messages to the parties; Flower's, or one like it.
        recipe: how the network is made.
        options: of the federation.
        parties: how many to wait for before the first round.
        checkpoint: a file that keeps every round, so that the server can be started again; None for none.
        on_round: called after every round.
        names: of the parties, by the id of their node, where keys prove who is who; a party with another name is
            refused. None takes the name that a party states.
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
        names: Mapping[int, str] | None = None,
    ) -> None:
        self._options = options
        self._roster = Roster(grid, options, parties=parties, names=names)
        self._checkpoint, self._on_round = checkpoint, on_round
        self._choice = replace(recipe.fit, epochs=options.rounds)
        self._plan = Plan.make(recipe, options)
        self._state = FitState()
        self._budget = options.budget

    def run(self) -> Federated:
        """Train to the end.

        Raises:
            FederationError: fewer parties than a round needs are there, or send what can be used.
            CorpusError: the parties have fewer than two emotions in common.
        """
        saved = load_checkpoint(self._checkpoint) if self._checkpoint and self._checkpoint.exists() else None
        self._roster.gather(self._plan, within_s=RETURN_S if saved else self._options.wait_s)
        if saved:
            self._restore(*saved)
        else:
            self._begin()
        self._spec = network_spec(self._plan.recipe, n_classes=len(self._plan.classes), languages=self._plan.languages)
        initial, self._variances = new_weights(self._plan.architecture, self._spec, seed=self._choice.seed)
        if (self._plan.secure or self._budget) and initial.statistics:
            raise FederationError("expected a network without batch normalisation, whose statistics are not hidden")
        if saved is None:
            self._weights = initial
        self._strategy = make_strategy(self._options)
        restore_strategy(self._strategy, saved[1] if saved else {})
        while self._roster.number < self._options.rounds and not self._state.finished:
            self._train_round()
        return self._finish()

    def _begin(self) -> None:
        """Settle what all parties share: the classes, their counts, the languages and the normaliser."""
        found = sorted(self._roster.nodes.values(), key=lambda each: each.name)
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
        number = self._roster.number + 1
        taken, refused, names = self._secure_update(number) if self._plan.secure else self._updates(number)
        self._score([update.scores for _, update in taken.values()])
        self._join(number, taken)
        for name in names:
            self._roster.traffic[name].rounds += 1
        self._roster.number = number
        self._report(names, refused)
        self._save()

    def _updates(self, number: int) -> tuple[dict[str, tuple[Any, Update]], dict[str, str], list[str]]:
        """Have the parties train; once more where too few are left because others went away meanwhile."""
        until = time.monotonic() + self._options.round_s
        while True:
            self._roster.admit(self._plan)
            self._roster.gather(self._plan, within_s=0)
            sent = self._requests(number)
            replies = self._roster.exchange(sent, enough=self._options.least_parties)
            taken, refused = self._check(replies, number)
            if len(taken) >= self._options.least_parties:
                return taken, refused, sorted(taken)
            if len(replies) == len(sent) or time.monotonic() > until:
                raise FederationError(
                    f"round {number}: expected updates of {self._options.least_parties} parties. Received: "
                    f"{len(taken)}{self._roster.reasons()}"
                )

    def _secure_update(self, number: int) -> tuple[dict[str, tuple[Any, Update]], dict[str, str], list[str]]:
        """Have the parties train, and open the sum of their updates: one update that stands for all of them."""
        self._roster.admit(self._plan)
        self._roster.gather(self._plan, within_s=0)
        values, nodes = sum_of_round(self._roster, self._requests(number), least=self._options.least_parties)
        parties = [self._roster.nodes[node] for node in nodes]
        update = update_of_sum(
            values,
            self._weights.trainable,
            examples=sum(each.examples for each in parties),
            total=sum(each.examples for each in self._roster.known.values()),
            classes=len(self._plan.classes),
            control=isinstance(self._strategy, Scaffold),
        )
        fault = fault_of(update.weights, self._weights, examples=update.examples, described=update.examples)
        if fault:
            raise FederationError(f"round {number}: the sum of the updates of all parties: {fault}")
        if isinstance(self._strategy, Scaffold):
            self._strategy.stand_for_all(nodes[0])
        asked = Message(RecordDict(), nodes[0], messages.TRAIN)
        reply = Message(RecordDict(messages.update_records(update)), reply_to=asked)
        return {"all": (reply, update)}, {}, sorted(each.name for each in parties)

    def _requests(self, number: int) -> list[Message]:
        """The messages that begin a round."""
        if isinstance(self._strategy, Scaffold):
            self._strategy.meet(self._roster.examples, sum(each.examples for each in self._roster.known.values()))
        config = ConfigRecord({"plan": self._plan.to_json()})
        sent = list(self._strategy.configure_train(number, to_record(self._weights.trainable), config, self._roster))
        for message in sent:
            message.content[messages.STATISTICS] = to_record(self._weights.statistics)
            message.content[messages.NORMALISER] = to_record(list(vars(self._normaliser).values()))
        return sent

    def _check(self, replies: Mapping[int, Any], number: int) -> tuple[dict[str, tuple[Any, Update]], dict[str, str]]:
        """The updates that can be used, by party, and why the others cannot."""
        taken: dict[str, tuple[Any, Update]] = {}
        refused: dict[str, str] = {}
        for node, reply in replies.items():
            party = self._roster.nodes[node]
            fault, update = self._open(reply, party)
            if update is None or fault:
                refused[party.name] = fault
            else:
                taken[party.name] = (reply, update)
        if self._budget is None:  # clipping bounds the others, and no party may decide on another's part
            held = self._weights.trainable
            refused |= outliers({name: distance(each.weights.trainable, held) for name, (_, each) in taken.items()})
        self._roster.refused += [(number, name, reason) for name, reason in refused.items()]
        return {name: each for name, each in taken.items() if name not in refused}, refused

    def _open(self, reply: Any, party: Description) -> tuple[str, Update | None]:
        """What is wrong with a reply, and the update in it."""
        if reply.has_error():
            return str(reply.error.reason), None
        self._roster.traffic[party.name].count(reply.content)
        try:
            update = messages.update_of(reply.content, classes=len(self._plan.classes))
        except UNUSABLE as error:
            return f"it is no update: {error}", None
        held = self._weights
        huge = HUGE if self._budget is None else math.inf
        fault = fault_of(update.weights, held, examples=update.examples, described=party.examples, huge=huge)
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
        if self._budget and not self._budget.local:
            self._protect([reply for reply, _ in taken.values()], self._budget)
        arrays, metrics = self._strategy.aggregate_train(number, [reply for reply, _ in taken.values()])
        self._weights = Weights([each.astype(np.float32) for each in from_record(arrays)], statistics)
        self._loss = float(metrics["loss"])

    def _protect(self, replies: Sequence[Any], budget: Budget) -> None:
        """Have the replies count the same, clip them, and add the noise to their sum."""
        sent = [from_record(reply.content[messages.ARRAYS]) for reply in replies]
        for reply, arrays in zip(replies, protect(sent, self._weights.trainable, budget), strict=True):
            reply.content[messages.ARRAYS] = to_record(arrays)
            reply.content[messages.METRICS][EXAMPLES] = 1

    def _score(self, scores: Sequence[WindowScores]) -> None:
        """Record how the weights of the last round do; those before the first are no candidate."""
        if self._roster.number == 0:
            return
        confusion = sum((each.confusion for each in scores), np.zeros((1, 1), np.int64))
        windows = int(confusion.sum())
        losses = np.array([sum(each.loss for each in scores) / windows]) if windows else np.empty(0)
        self._state.record(self._loss, losses, uar(confusion) if windows else float("nan"), self._choice)
        if self._state.best_epoch == self._roster.number:
            self._state.best_weights = [*self._weights.trainable, *self._weights.statistics]

    def _report(self, taken: Sequence[str], refused: Mapping[str, str]) -> None:
        history = self._state.history
        last = {name: values[-1] if values else float("nan") for name, values in history.items()}
        self._on_round(
            RoundScores(
                number=self._roster.number,
                rounds=self._options.rounds,
                loss=self._loss,
                val_loss=last["val_loss"],
                val_uar=last["val_uar"],
                parties=tuple(taken),
                refused=refused,
            )
        )

    def _finish(self) -> Federated:
        """Score the last round, take the best one, calibrate it and test it."""
        if self._state.epochs_done < self._roster.number:
            self._score([scores for scores, _ in self._ask_losses(self._weights).values()])
        split = len(self._weights.trainable)
        best = Weights(self._state.best_weights[:split], self._state.best_weights[split:])
        temperature = best_temperature(sum(each for _, each in self._ask_losses(best).values()))
        content = messages.request(self._plan, self._normaliser, best, temperature=temperature)
        read = partial(messages.held_out_of, classes=len(self._plan.classes))
        tested = self._roster.ask(self._plan, messages.TEST, content, read)
        self._roster.dismiss(self._plan)
        return Federated(
            plan=self._plan,
            spec=self._spec,
            normaliser=self._normaliser,
            weights=best,
            temperature=temperature,
            history=self._state.history,
            best_round=self._state.best_epoch,
            parties=tuple(self._roster.known[name] for name in sorted(self._roster.known)),
            traffic=dict(self._roster.traffic),
            refused=tuple(self._roster.refused),
            scores=tested,
        )

    def _ask_losses(self, weights: Weights) -> dict[str, tuple[WindowScores, Any]]:
        content = messages.request(self._plan, self._normaliser, weights)
        read = partial(messages.losses_of, classes=len(self._plan.classes))
        return self._roster.ask(self._plan, messages.LOSSES, content, read)

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        state = {name: value for name, value in vars(self._state).items() if name != "best_weights"}
        parties = {name: messages.facts_of(found) for name, found in self._roster.known.items()}
        facts = {"round": self._roster.number, "loss": self._loss, "state": state, "plan": self._plan.to_json()}
        facts |= {"refused": self._roster.refused, "parties": parties}
        facts |= {"traffic": {name: asdict(each) for name, each in self._roster.traffic.items()}}
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
        self._roster.number, self._loss = int(facts["round"]), float(facts["loss"])
        self._plan = Plan.from_json(facts["plan"])
        self._state = FitState(**facts["state"], best_weights=list(arrays.get("best", [])))
        self._weights = Weights(list(arrays["trainable"]), list(arrays.get("statistics", [])))
        self._normaliser = Normaliser(*arrays["normaliser"])
        self._roster.refused = [(int(number), party, reason) for number, party, reason in facts["refused"]]
        said = {name: messages.description_from(values) for name, values in facts["parties"].items()}
        self._roster.known = {**said, **self._roster.known}
        self._roster.traffic.update({name: Traffic(**values) for name, values in facts["traffic"].items()})


def _sum(moments: Sequence[Moments]) -> Moments:
    total, *others = moments
    for each in others:
        total = total + each
    return total
