"""Federated training: how updates are joined, what is refused, and whole trainings with all parties in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.error import Error

import serctl
from serctl.corpora import Split, Utterance
from serctl.errors import ConfigError, CorpusError, FederationError
from serctl.features import Features, Moments, Normaliser, functional_names
from serctl.learning.checkpoints import load_checkpoint
from serctl.learning.dataset import Dataset, Sample
from serctl.learning.federated.client_app import DESCRIBE, SCORES, held_out_of, losses_of, make_app, request
from serctl.learning.federated.local import WindowScores
from serctl.learning.federated.network import LocalNetwork, Weights, new_weights
from serctl.learning.federated.outcome import Federated, RoundScores, best_temperature
from serctl.learning.federated.parties import TEMPERATURES, Party, Update, held_out_scores, split_parties
from serctl.learning.federated.plan import FederationOptions, Plan
from serctl.learning.federated.privacy import noise_multiplier
from serctl.learning.federated.roster import UNUSABLE, Roster
from serctl.learning.federated.server_app import Server
from serctl.learning.federated.simulation import LocalGrid
from serctl.learning.federated.strategies import (
    EXAMPLES,
    Scaffold,
    fault_of,
    from_record,
    make_strategy,
    outliers,
    pool_statistics,
    to_record,
)
from serctl.learning.learn import network_spec
from serctl.learning.options import Augmentation, FitOptions
from serctl.learning.recipe import Recipe
from serctl.metrics import expected_calibration_error
from serctl.run import Run
from serctl.verbs.federate import FederateOptions
from serctl.verbs.federated_bundle import write_federated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flwr.clientapp import ClientApp
    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
GRID = LocalGrid({1: None, 2: None})  # type: ignore[dict-item] # strategies ask it for the nodes only


def features(rows: int) -> list[Features]:
    """Windows of random features, some columns far from 0."""
    offset = np.array([0, 1000, -50, 3], np.float32)
    return [
        Features(
            log_mel=(RNG.normal(-60, 15, (5 + row, 3))).astype(np.float16),
            lld=np.zeros((5 + row, 1), np.float32),
            functionals=(RNG.normal(size=4) + offset).astype(np.float32),
            first_frame=0,
        )
        for row in range(rows)
    ]


def test_the_normaliser_of_the_parties_is_that_of_all_their_windows() -> None:
    parties = [features(7), features(20), features(3)]
    central = Normaliser.fit([window for party in parties for window in party])
    mel = [Moments.measure([window.log_mel for window in party]) for party in parties]
    functionals = [Moments.measure([window.functionals[None] for window in party]) for party in parties]
    pooled = Normaliser.from_moments(mel[0] + mel[1] + mel[2], functionals[0] + functionals[1] + functionals[2])
    for name, expected in vars(central).items():
        np.testing.assert_allclose(getattr(pooled, name), expected, rtol=1e-6, err_msg=name)


def replies(sent: Mapping[int, list[NDArray[Any]]], examples: Mapping[int, int], **controls: Any) -> list[Message]:
    """Replies of nodes to a message of the server."""
    found = []
    for node, arrays in sent.items():
        content = RecordDict(
            {"arrays": to_record(arrays), "metrics": MetricRecord({EXAMPLES: examples[node], "loss": 1.0})}
        )
        if controls:
            content["control"] = to_record(controls["control"][node])
        message = Message(content, node, "train")
        message.metadata.__dict__["_src_node_id"] = node
        found.append(message)
    return found


def test_fedavg_of_one_full_step_is_the_step_of_central_training() -> None:
    inputs, truth, start, rate = RNG.normal(size=(30, 4)), RNG.normal(size=30), RNG.normal(size=4), 0.1

    def step(rows: slice) -> NDArray[np.float64]:
        error = inputs[rows] @ start - truth[rows]
        return start - rate * inputs[rows].T @ error / len(error)

    strategy = make_strategy(FederationOptions(strategy="fedavg"))
    sent = {1: [step(slice(0, 10))], 2: [step(slice(10, 30))]}
    joined, _ = strategy.aggregate_train(1, replies(sent, {1: 10, 2: 20}))
    np.testing.assert_allclose(from_record(joined)[0], step(slice(0, 30)), rtol=1e-12)


def test_a_strategy_of_no_known_name_is_an_error_that_names_them() -> None:
    options = FederationOptions()
    object.__setattr__(options, "strategy", "fedsgd")
    with pytest.raises(
        ConfigError, match=r"expected a strategy: fedavg, fedprox, fedadam, scaffold\. Received: fedsgd"
    ):
        make_strategy(options)


def test_the_servers_control_variate_stays_the_weighted_sum_of_the_parties() -> None:
    strategy = make_strategy(FederationOptions(strategy="scaffold"))
    assert isinstance(strategy, Scaffold)
    strategy.meet({1: 10, 2: 30}, 40)
    own = {1: np.zeros(3), 2: np.zeros(3)}
    for number in (1, 2, 3):
        list(strategy.configure_train(number, to_record([np.zeros(3)]), ConfigRecord(), GRID))
        # The second party drops out of the second round.
        taking_part = [1] if number == 2 else [1, 2]
        change = {node: RNG.normal(size=3) for node in taking_part}
        own |= {node: own[node] + change[node] for node in taking_part}
        sent = {node: [np.zeros(3)] for node in taking_part}
        strategy.aggregate_train(
            number, replies(sent, {1: 10, 2: 30}, control={node: [each] for node, each in change.items()})
        )
        np.testing.assert_allclose(strategy.control[0], 0.25 * own[1] + 0.75 * own[2], rtol=1e-6)


def test_pooled_batch_statistics_are_those_of_all_rows() -> None:
    parties = [RNG.normal(3, 2, (50, 4)), RNG.normal(-1, 1, (150, 4))]
    sent = [[rows.mean(axis=0), rows.var(axis=0)] for rows in parties]
    mean, variance = pool_statistics(sent, [50, 150], {1: 0})
    rows = np.concatenate(parties)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, rows.var(axis=0), rtol=1e-12)


HELD = Weights([np.ones((2, 3)), np.ones(3)], [np.ones(3)])


@pytest.mark.parametrize(
    ("sent", "examples", "fault"),
    [
        (HELD, 10, ""),
        (Weights([np.ones((3, 2)), np.ones(3)], [np.ones(3)]), 10, "in the shapes of the network"),
        (Weights([np.ones((2, 3))], [np.ones(3)]), 10, "in the shapes of the network"),
        (Weights([np.full((2, 3), np.nan), np.ones(3)], [np.ones(3)]), 10, "weights are not all finite"),
        (Weights(HELD.trainable, [np.array([1, np.inf, 1])]), 10, "statistics are not all finite"),
        (Weights([np.full((2, 3), 1e3), np.ones(3)], [np.ones(3)]), 10, "an update of length"),
        (HELD, 1000, "it claims 1000 examples, after 10"),
    ],
    ids=("sound", "shape", "missing", "nan", "infinite", "huge", "examples"),
)
def test_unusable_updates_are_told_apart(sent: Weights, examples: int, fault: str) -> None:
    found = fault_of(sent, HELD, examples=examples, described=10)
    assert fault in found
    assert bool(found) == bool(fault)


def test_an_update_far_longer_than_the_others_is_an_outlier() -> None:
    assert list(outliers({"a": 1.0, "b": 1.2, "c": 50.0})) == ["c"]
    assert outliers({"a": 1.0, "c": 50.0}) == {}


def test_parties_get_whole_speakers_and_similar_numbers_of_utterances() -> None:
    speakers = [f"{index % 7}" for index in range(70)]
    utterances = [Utterance(Path(f"{index}.wav"), "happy", "c", speaker=each) for index, each in enumerate(speakers)]
    parties = split_parties(utterances, speakers, 3)
    assert sorted(index for indices in parties.values() for index in indices) == list(range(70))
    assert {name: len(indices) for name, indices in parties.items()} == {"party-1": 30, "party-2": 20, "party-3": 20}
    found = [{speakers[index] for index in indices} for indices in parties.values()]
    assert sum(map(len, found)) == 7
    assert set(split_parties(utterances, speakers, 7)) == set(speakers)
    with pytest.raises(CorpusError, match="expected values for 8 parties"):
        split_parties(utterances, speakers, 8)
    with pytest.raises(CorpusError, match="1 of 70 do not tell"):
        split_parties(utterances, [None, *speakers[1:]], 3)


def test_the_temperature_of_least_loss_is_found_between_the_trial_ones() -> None:
    assert best_temperature((np.log(TEMPERATURES) - np.log(1.7)) ** 2) == pytest.approx(1.7)
    assert best_temperature(np.arange(len(TEMPERATURES))) == TEMPERATURES[0]


def test_the_sums_of_a_held_out_part_give_its_confusion_and_calibration_error() -> None:
    probabilities = RNG.dirichlet(np.ones(3), 40)
    truth = RNG.integers(3, size=40)
    silent = np.vstack([probabilities, np.full(3, np.nan)])
    scores = held_out_scores(silent, np.append(truth, 2))
    number, confidence, right = scores.bins
    assert np.abs(confidence - right).sum() / number.sum() == pytest.approx(
        expected_calibration_error(probabilities, truth)
    )
    assert scores.confusion[:, 3].tolist() == [0, 0, 1]
    assert scores.confusion.sum() == 41


CLASSES = ("angry", "sad")
RECIPE = Recipe(
    architecture="speech",
    augmentation=Augmentation(copies=0),
    fit=replace(FitOptions.defaults("speech"), batch_size=8, patience=9),
)


class OwnFeatures(Party):
    """A party with features that are drawn here, easy to tell apart, in place of those of recordings."""

    def _data(self, plan: Plan) -> tuple[Dataset, Split]:
        rng = np.random.default_rng(len(self.name))
        size = len(functional_names(plan.recipe.network_features))
        samples = []
        for index in range(24):
            values = rng.normal(size=size).astype(np.float32) + (1 if index % 2 else -1)
            window = Features(np.zeros((9, 64), np.float16), np.zeros((9, 1), np.float32), values, 0)
            utterance = Utterance(Path(f"{index}.wav"), CLASSES[index % 2], "c", speaker=f"{index // 6}", language="en")
            samples.append(Sample(utterance, f"{self.name}{index}", (window,), (True,)))
        split = Split(tuple(range(18)), tuple(range(18, 24)), speaker_disjoint=True, reason="")
        return Dataset(tuple(samples), CLASSES, (), ()), split


class Net(LocalGrid):
    """All parties in this process; those in `silent` do not answer yet, those in `gone` went away after the message."""

    silent: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that are there."""
        nodes = {key: int(key.split("-")[1]) for key in message_ids}
        replies = super().pull_messages([key for key, node in nodes.items() if node not in self.silent])
        return [self._as_the_link(each, nodes[each.metadata.reply_to_message_id]) for each in replies]

    def _as_the_link(self, reply: Message, node: int) -> Message:
        if node in self.gone:
            reply.__dict__["_error"], reply.__dict__["_content"] = Error(5, "node unavailable"), None
        return reply


def party_app(name: str) -> ClientApp:
    return make_app(OwnFeatures(name, [], run=Run()), finish=lambda: None)


def test_parties_are_admitted_by_their_key_when_they_come_and_when_they_return() -> None:
    plan = Plan.make(RECIPE, FederationOptions())
    net = Net({1: party_app("north"), 2: party_app("stranger")})
    roster = Roster(net, FederationOptions(), parties=3, names={1: "north", 2: "south", 3: "west"})
    roster.admit(plan)
    assert sorted(roster.known) == ["north"]
    assert roster.refused == [(0, "south", "the key is that of south, the party calls itself stranger")]
    roster.admit(plan)
    assert len(roster.refused) == 1  # not asked again while it is there
    del net.apps[2]
    roster.admit(plan)
    net.apps |= {2: party_app("south"), 3: party_app("west")}
    net.silent = frozenset({3})
    roster.admit(plan)
    assert roster.get_node_ids() == [1, 2]  # nobody waits for the third, which still extracts its features
    net.silent = frozenset()
    roster.admit(plan)
    assert roster.get_node_ids() == [1, 2, 3]


def test_a_node_that_went_away_is_neither_refused_nor_awaited() -> None:
    plan = Plan.make(RECIPE, FederationOptions())
    net = Net({1: party_app("north"), 2: party_app("south")})
    roster = Roster(net, FederationOptions(), parties=2)
    roster.gather(plan, within_s=1)
    net.gone = frozenset({2})
    content = request(plan)
    replies = roster.exchange([Message(content, node, DESCRIBE) for node in (1, 2)], enough=2)
    assert list(replies) == [1]
    assert roster.refused == []


def test_too_few_parties_are_an_error_that_says_who_is_there() -> None:
    options = FederationOptions(wait_s=1)
    roster = Roster(Net({1: party_app("north")}), options, parties=3)
    with pytest.raises(FederationError, match=r"expected 1 more parties within 1 s\. Received: north"):
        roster.gather(Plan.make(RECIPE, options), within_s=0)


def test_nobody_is_awaited_where_all_have_come_and_too_many_were_turned_away() -> None:
    options = FederationOptions(wait_s=5)
    net = Net({1: party_app("north"), 2: party_app("stranger")})
    roster = Roster(net, options, parties=2, names={1: "north", 2: "south"})
    with pytest.raises(FederationError, match=r"expected 1 more parties\. Received: north; refused: south: the key"):
        roster.gather(Plan.make(RECIPE, options), within_s=0)


def test_a_party_that_was_away_at_the_end_is_told_when_it_returns() -> None:
    plan = Plan.make(RECIPE, FederationOptions())
    ended: list[str] = []
    parties = {node: OwnFeatures(name, [], run=Run()) for node, name in ((1, "north"), (2, "south"))}
    apps = {node: make_app(each, finish=lambda name=each.name: ended.append(name)) for node, each in parties.items()}

    class Returns(Net):
        def get_node_ids(self) -> list[int]:
            if ended:
                away.clear()  # it comes back after the other one was told
            return [node for node in super().get_node_ids() if node not in away]

    away: set[int] = set()
    roster = Roster(Returns(apps), FederationOptions(), parties=2)
    roster.gather(plan, within_s=1)
    away.add(2)
    roster.dismiss(plan)
    assert ended == ["north", "south"]


def test_a_party_that_is_new_leaves_the_servers_control_variate_a_weighted_mean() -> None:
    strategy = make_strategy(FederationOptions(strategy="scaffold"))
    assert isinstance(strategy, Scaffold)
    strategy.meet({1: 10, 2: 30}, 40)
    strategy.control = [np.array([0.25 * 4 + 0.75 * 8])]
    strategy.meet({1: 10, 2: 30, 3: 40}, 80)
    np.testing.assert_allclose(strategy.control[0], (10 * 4 + 30 * 8 + 40 * 0) / 80)


def test_a_sum_of_all_parties_leaves_the_control_variate_as_it_is_for_the_next_round() -> None:
    strategy = make_strategy(FederationOptions(strategy="scaffold"))
    assert isinstance(strategy, Scaffold)
    strategy.control = [np.zeros(3)]
    for number in (1, 2):
        strategy.meet({1: 10, 2: 30}, 40)
        np.testing.assert_allclose(strategy.control[0], number - 1)
        strategy.stand_for_all(1)
        strategy.aggregate_train(number, replies({1: [np.zeros(3)]}, {1: 40}, control={1: [np.ones(3)]}))


class SendsNan(OwnFeatures):
    """A party whose weights are not numbers."""

    def train(self, plan: Plan, normaliser: Normaliser, **round_facts: Any) -> Update:
        """Train, and send something else."""
        update = super().train(plan, normaliser, **round_facts)
        nan = [np.full_like(each, np.nan) for each in update.weights.trainable]
        return replace(update, weights=Weights(nan, update.weights.statistics))


def federate(
    *parties: Party, checkpoint: Path | None = None, strategy: str = "scaffold", rounds: int = 2, **privacy: Any
) -> tuple[Federated, list[RoundScores]]:
    """A federated training with these parties in this process, and how its rounds went."""
    went: list[RoundScores] = []
    apps = {node: make_app(party, finish=lambda: None) for node, party in enumerate(parties, start=1)}
    options = FederationOptions(rounds=rounds, strategy=strategy, round_s=60, **privacy)
    server = Server(LocalGrid(apps), RECIPE, options, parties=len(parties), checkpoint=checkpoint, on_round=went.append)
    return server.run(), went


@pytest.mark.usefixtures("tensorflow")
def test_the_order_in_which_parties_answer_changes_no_bit() -> None:
    networks: dict[str, LocalNetwork] = {}
    names = ("west", "north", "south-1")
    (one, _), (other, _) = (
        federate(*(OwnFeatures(name, [], run=Run(), networks=networks) for name in order))
        for order in (names, names[::-1])
    )
    for left, right in zip(one.weights.trainable, other.weights.trainable, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.usefixtures("tensorflow")
def test_parties_train_together_and_a_server_that_starts_again_goes_on(tmp_path: Path) -> None:
    parties = [OwnFeatures(name, [], run=Run(), folder=tmp_path) for name in ("north", "south-1")]
    found, went = federate(*parties, checkpoint=tmp_path / "server.npz")
    assert [(each.number, each.parties) for each in went] == [(1, ("north", "south-1")), (2, ("north", "south-1"))]
    assert found.plan.class_counts == {"angry": 18, "sad": 18}
    assert max(each.loss for each in went) < 2  # of the prediction alone; that of the experts together is above 3
    assert found.refused == ()
    assert {name: each.confusion.sum() for name, each in found.scores.items()} == {"north": 6, "south-1": 6}
    assert found.traffic["north"].rounds == 2
    of_a_round = sum(each.nbytes for each in found.weights.trainable)
    assert found.traffic["north"].sent["control"] == pytest.approx(2 * of_a_round, rel=0.01)
    again, more = federate(*parties, checkpoint=tmp_path / "server.npz", rounds=3)
    assert [each.number for each in more] == [3]
    assert again.history["val_uar"][:1] == found.history["val_uar"][:1]


@pytest.mark.usefixtures("tensorflow")
def test_the_bundle_of_parties_names_them_and_predicts(tmp_path: Path, samples: Path) -> None:
    parties = [OwnFeatures(name, [], run=Run()) for name in ("north", "south-1")]
    found, _ = federate(*parties, strategy="fedavg", rounds=1)
    options = FederateOptions("speech", augmentation=RECIPE.augmentation, fit=RECIPE.fit, licence="CC-BY-4.0")
    written = write_federated(tmp_path / "ours", found, options)
    assert written.scores.confusion.sum() == 12
    bundle = serctl.load_model(tmp_path / "ours")
    assert bundle.predict(next(samples.glob("*.wav"))).emotion in CLASSES
    federation = written.facts.training.federation
    assert federation is not None
    assert [(each.name, each.utterances, each.rounds) for each in federation.parties] == [
        ("north", 18, 1),
        ("south-1", 18, 1),
    ]
    card = (tmp_path / "ours" / "README.md").read_text()
    assert "north" in card
    assert "fedavg" in card.lower()


@pytest.mark.usefixtures("tensorflow")
def test_a_party_that_starts_again_sends_what_it_would_have_sent(tmp_path: Path) -> None:
    options = FederationOptions(rounds=4)
    plan = replace(Plan.make(RECIPE, options), class_counts={"angry": 9, "sad": 9})
    party = OwnFeatures("north", [], run=Run(), folder=tmp_path)
    described = party.describe(plan)
    normaliser = Normaliser.from_moments(described.mel, described.functionals)
    spec = network_spec(RECIPE, n_classes=2, languages=())
    start, _ = new_weights("speech", spec, seed=0)
    control = [np.zeros_like(each) for each in start.trainable]

    def train(number: int) -> Update:
        return party.train(plan, normaliser, number=number, start=start, control=control)

    first, second = train(1), train(2)
    again = train(2)  # the server died before it saved the round
    party = OwnFeatures("north", [], run=Run(), folder=tmp_path)
    anew = train(2)
    for sent in (again, anew):
        found = [*sent.weights.trainable, *sent.control]
        for one, other in zip([*second.weights.trainable, *second.control], found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert (first.weights.trainable[0] != second.weights.trainable[0]).any()


@pytest.mark.usefixtures("tensorflow")
def test_a_party_that_sends_nan_is_refused_by_name_and_the_others_go_on() -> None:
    parties = [OwnFeatures("north", [], run=Run()), OwnFeatures("south-1", [], run=Run())]
    found, went = federate(*parties, SendsNan("west", [], run=Run()), strategy="fedavg", rounds=1)
    assert went[0].parties == ("north", "south-1")
    assert [(number, party) for number, party, _ in found.refused] == [(1, "west")]
    assert all(np.isfinite(each).all() for each in found.weights.trainable)


class Idle(OwnFeatures):
    """A party that sends back what it received, in the first round 1000 away."""

    def train(self, *_: Any, start: Weights, number: int, **__: Any) -> Update:
        """Train nothing."""
        far = [each + (1000 if number == 1 else 0) for each in start.trainable]
        scores = WindowScores(1.0, np.eye(2, dtype=np.int64))
        return Update(Weights(far, start.statistics), 18, 1.0, scores)


@pytest.mark.usefixtures("tensorflow")
def test_the_server_clips_what_it_joins_adds_noise_and_the_card_says_how_much(tmp_path: Path) -> None:
    parties = [Idle(name, [], run=Run()) for name in ("north", "south-1")]
    saved = tmp_path / "server.npz"
    found, went = federate(*parties, checkpoint=saved, strategy="fedavg", rounds=1, epsilon=3, clip=0.5)
    assert went[0].refused == {}
    initial, _ = new_weights("speech", found.spec, seed=RECIPE.fit.seed)
    change = np.concatenate([np.ravel(a - b) for a, b in zip(found.weights.trainable, initial.trainable, strict=True)])
    assert change.std() == pytest.approx(0.5 * noise_multiplier(3, 1e-5, 1) / 2, rel=0.02)
    assert abs(change.mean()) < 0.01
    options = FederateOptions("speech", augmentation=RECIPE.augmentation, fit=RECIPE.fit, licence="CC-BY-4.0")
    written = write_federated(tmp_path / "ours", found, options)
    federation = written.facts.training.federation
    assert federation is not None
    assert federation.privacy["epsilon"] == 3
    card = (tmp_path / "ours" / "README.md").read_text()
    assert "epsilon 3 at delta 1e-05" in card
    assert "Not protected: counts of utterances" in card


@pytest.mark.usefixtures("tensorflow")
def test_a_party_adds_the_noise_itself_and_refuses_a_server_that_asks_for_less() -> None:
    options = FederationOptions(rounds=1, strategy="fedavg", epsilon=3, local_privacy=True)
    plan = replace(Plan.make(RECIPE, options), class_counts={"angry": 9, "sad": 9})
    party = OwnFeatures("north", [], run=Run(), limit=(3, 1e-5))
    described = party.describe(plan)
    normaliser = Normaliser.from_moments(described.mel, described.functionals)
    start, _ = new_weights("speech", network_spec(RECIPE, n_classes=2, languages=()), seed=0)
    sent = party.train(plan, normaliser, number=1, start=start, control=None)
    change = np.concatenate([np.ravel(a - b) for a, b in zip(sent.weights.trainable, start.trainable, strict=True)])
    assert change.std() == pytest.approx(noise_multiplier(3, 1e-5, 1), rel=0.02)
    for other in (FederationOptions(), replace(options, epsilon=4), replace(options, local_privacy=False)):
        with pytest.raises(FederationError, match="this party adds noise to its updates: expected a server that asks"):
            party.describe(Plan.make(RECIPE, other))


@pytest.mark.parametrize(
    "arrays",
    [[], [np.zeros(1)], [np.full(1, np.nan), np.zeros((2, 2))], [np.zeros(1), np.zeros((3, 3))]],
    ids=("nothing", "no confusion", "nan", "classes"),
)
def test_scores_that_are_none_are_not_read(arrays: list[NDArray[Any]]) -> None:
    content = RecordDict({SCORES: to_record([*arrays, np.zeros(len(TEMPERATURES))])})
    with pytest.raises(UNUSABLE):
        losses_of(content, classes=2)
    with pytest.raises(UNUSABLE):
        held_out_of(content, classes=2)


class Fails(OwnFeatures):
    """A party that cannot train."""

    def train(self, *_: Any, **__: Any) -> Update:
        """Fail."""
        raise CorpusError("no speech")


@pytest.mark.usefixtures("tensorflow")
def test_too_few_updates_end_the_training_and_say_why() -> None:
    message = r"round 1: expected updates of 2 parties. Received: 0; refused: .*north: CorpusError: no speech"
    with pytest.raises(FederationError, match=message):
        federate(Fails("north", [], run=Run()), Fails("west", [], run=Run()))


@pytest.mark.usefixtures("tensorflow")
def test_secure_rounds_are_the_open_ones_without_any_single_update(tmp_path: Path) -> None:
    """Three parties, one of which drops out after the keys were agreed on."""
    seen: list[Any] = []

    class Watched(LocalGrid):
        def push_messages(self, messages: Any) -> list[str]:
            keys = super().push_messages(messages)
            seen.extend(self._replies[key] for key in keys)
            return keys

    class DropsOut(OwnFeatures):
        def train(self, *_: Any, **__: Any) -> Update:
            raise CorpusError("the line is broken")

    def trained(secure: bool) -> Federated:
        parties = [
            *(OwnFeatures(name, [], run=Run()) for name in ("north", "south-1")),
            DropsOut("west", [], run=Run()),
        ]
        apps = {node: make_app(party, finish=lambda: None) for node, party in enumerate(parties, start=1)}
        options = FederationOptions(rounds=2, round_s=60, secure=secure)
        saved = tmp_path / f"{secure}.npz"
        return Server(Watched(apps), RECIPE, options, parties=3, checkpoint=saved, on_round=lambda _: None).run()

    plain = trained(secure=False)
    seen.clear()
    hidden = trained(secure=True)
    (_, expected), (_, found) = (load_checkpoint(tmp_path / f"{secure}.npz") for secure in (False, True))
    for name in ("trainable", "control"):
        for one, other in zip(expected[name], found[name], strict=True):
            np.testing.assert_allclose(other, one, atol=1e-6, err_msg=name)
    assert hidden.history["val_uar"] == plain.history["val_uar"]
    updates = [each.content for each in seen if not each.has_error() and "masked" in each.content]
    assert [list(content) for content in updates] == [["masked"]] * 4
    assert {name: each.rounds for name, each in hidden.traffic.items()} == {"north": 2, "south-1": 2, "west": 0}
