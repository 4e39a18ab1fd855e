"""A party as a Flower app: what its messages hold, and which method of Party answers them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from serctl.features import Moments, Normaliser
from serctl.learning.federated.local import WindowScores
from serctl.learning.federated.network import Weights
from serctl.learning.federated.parties import BINS, TEMPERATURES, Description, HeldOutScores, Update
from serctl.learning.federated.plan import VERSION, Plan
from serctl.learning.federated.strategies import CONTROL, EXAMPLES, from_record, to_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serctl.learning.federated.parties import Party

DESCRIBE, TRAIN, LOSSES, TEST, FINISH = "query.describe", "train", "evaluate.losses", "evaluate.test", "query.finish"
ARRAYS, STATISTICS, NORMALISER, METRICS, FACTS, SCORES = (
    *("arrays", "statistics", "normaliser", "metrics", "facts", "scores"),
)


def make_app(party: Party, *, finish: Callable[[], None]) -> ClientApp:
    """Return the app of a party; finish: called when the server says that the training is over."""
    from serctl.learning.federated.secure_round import SecureApp

    app = ClientApp()
    secure = SecureApp(app)

    @app.query("describe")
    def describe(message: Message, _: Any) -> Message:
        return _reply(message, description_records(party.describe(_plan(message))))

    @app.train()
    def train(message: Message, _: Any) -> Message:
        content = message.content
        update = party.train(
            _plan(message),
            normaliser_of(content),
            number=int(content["config"]["server-round"]),
            start=weights_of(content),
            control=from_record(content[CONTROL]) if CONTROL in content else None,
        )
        if _plan(message).secure:
            return Message(secure.mask(update, message), reply_to=message)
        return _reply(message, update_records(update))

    @app.evaluate("losses")
    def losses(message: Message, _: Any) -> Message:
        scores, at_temperatures = party.losses(
            _plan(message), normaliser_of(message.content), weights_of(message.content)
        )
        records = {SCORES: to_record([*_score_arrays(scores), at_temperatures])}
        return _reply(message, records)

    @app.evaluate("test")
    def test(message: Message, _: Any) -> Message:
        content = message.content
        temperature = float(content["config"]["temperature"])
        found = party.test(_plan(message), normaliser_of(content), weights_of(content), temperature=temperature)
        return _reply(message, {SCORES: to_record([found.confusion, found.bins])})

    @app.query("finish")
    def end(message: Message, _: Any) -> Message:
        finish()
        return _reply(message, {METRICS: MetricRecord({"finished": 1})})

    return app


def _reply(message: Message, records: dict[str, Any]) -> Message:
    return Message(RecordDict(records), reply_to=message)


def _plan(message: Message) -> Plan:
    """The plan of a message; a party with other code refuses it, for its features would be others."""
    plan = Plan.from_json(str(message.content["config"]["plan"]))
    if plan.version != VERSION:
        raise ValueError(f"expected a server of serctl {VERSION}. Received: {plan.version}")
    return plan


def request(
    plan: Plan, normaliser: Normaliser | None = None, weights: Weights | None = None, **config: Any
) -> RecordDict:
    """Return what a message to a party holds."""
    records: dict[str, Any] = {"config": ConfigRecord({"plan": plan.to_json(), **config})}
    if normaliser:
        records[NORMALISER] = to_record(list(vars(normaliser).values()))
    if weights:
        records |= {ARRAYS: to_record(weights.trainable), STATISTICS: to_record(weights.statistics)}
    return RecordDict(records)


def weights_of(content: RecordDict) -> Weights:
    """Return the weights of a message."""
    return Weights(from_record(content[ARRAYS]), from_record(content[STATISTICS]))


def normaliser_of(content: RecordDict) -> Normaliser:
    """Return the normaliser of a message."""
    return Normaliser(*from_record(content[NORMALISER]))


def description_records(found: Description) -> dict[str, Any]:
    """Return a description as the records of a message."""
    arrays = [found.mel.sums, found.mel.squares, found.functionals.sums, found.functionals.squares]
    return {FACTS: ConfigRecord({"json": json.dumps(facts_of(found))}), ARRAYS: to_record(arrays)}


def description_of(content: RecordDict) -> Description:
    """Return the description that a party sent."""
    return description_from(json.loads(str(content[FACTS]["json"])), from_record(content[ARRAYS]))


def facts_of(found: Description) -> dict[str, Any]:
    """Return a description without its arrays, JSON-able."""
    return {
        **{name: value for name, value in vars(found).items() if name not in ("mel", "functionals")},
        "mel": found.mel.rows,
        "functionals": found.functionals.rows,
    }


def description_from(facts: dict[str, Any], arrays: Sequence[Any] = (np.empty(0),) * 4) -> Description:
    """Return the description of these facts, as facts_of gave them, and arrays."""
    mel_sums, mel_squares, sums, squares = arrays
    mel = Moments(int(facts["mel"]), mel_sums, mel_squares)
    return Description(**{**facts, "mel": mel, "functionals": Moments(int(facts["functionals"]), sums, squares)})


def update_records(update: Update) -> dict[str, Any]:
    """Return an update as the records of a message."""
    records = {
        ARRAYS: to_record(update.weights.trainable),
        STATISTICS: to_record(update.weights.statistics),
        SCORES: to_record(_score_arrays(update.scores)),
        METRICS: MetricRecord({EXAMPLES: update.examples, "loss": update.loss}),
    }
    return {**records, CONTROL: to_record(update.control)} if update.control else records


def update_of(content: RecordDict, *, classes: int) -> Update:
    """Return the update that a party sent; see losses_of."""
    metrics = content[METRICS]
    return Update(
        weights_of(content),
        int(metrics[EXAMPLES]),
        float(metrics["loss"]),
        _scores_of(from_record(content[SCORES]), classes),
        from_record(content[CONTROL]) if CONTROL in content else [],
    )


def _score_arrays(scores: WindowScores) -> list[Any]:
    return [np.array(scores.loss), scores.confusion]


def losses_of(content: RecordDict, *, classes: int) -> tuple[WindowScores, Any]:
    """Return the scores that a party sent, and its losses at each of TEMPERATURES.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it sent something else.
    """
    arrays = from_record(content[SCORES])
    return _scores_of(arrays[:2], classes), _checked(arrays[2], TEMPERATURES.shape)


def held_out_of(content: RecordDict, *, classes: int) -> HeldOutScores:
    """Return the scores of the held-out part that a party sent; see losses_of."""
    confusion, bins = from_record(content[SCORES])
    shape = (classes, classes + 1)
    return HeldOutScores(_checked(confusion, shape).astype(np.int64), _checked(bins, (3, BINS)).astype(np.float64))


def _scores_of(arrays: Sequence[Any], classes: int) -> WindowScores:
    loss, confusion = arrays
    return WindowScores(float(_checked(loss, (1,))[0]), _checked(confusion, (classes, classes)).astype(np.int64))


def _checked(array: Any, shape: tuple[int, ...]) -> Any:
    """Return an array that a party sent, if it can be used."""
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers of shape {shape}. Received: shape {array.shape}")
    return array
