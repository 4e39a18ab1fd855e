"""The parties of a federated training: who has which data, and what a party does with it in a round."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.corpora import Split, citation_of, hold_out, licence_of, marked_split
from serctl.errors import ConfigError, CorpusError
from serctl.features import Moments, Normaliser, functional_names
from serctl.learning.calibrate import Learned, predict_samples
from serctl.learning.checkpoints import load_checkpoint, save_checkpoint
from serctl.learning.dataset import Dataset, Sample, load_dataset
from serctl.learning.federated.local import LocalTrainer
from serctl.learning.federated.network import LocalNetwork, Weights
from serctl.learning.federated.privacy import Releases, check_limit
from serctl.learning.fit import Fitted
from serctl.learning.learn import make_examples, network_spec
from serctl.metrics import confidence_bins, confusion_matrix, temperature_scale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.corpora import Utterance
    from serctl.learning.federated.local import WindowScores
    from serctl.learning.federated.network import Arrays
    from serctl.learning.federated.plan import Plan
    from serctl.run import Run

    Memory = tuple[Arrays, Arrays]
    """What a party remembers from round to round: its control variate, and the state of its training."""

TEMPERATURES = np.geomspace(0.05, 20.0, 121)
"""Parties send their loss at each of these; the server finds the best of the sums."""

BINS = 15
"""Bins of the confidence, to compute the calibration error of all parties."""

_SMALLEST_PROBABILITY = 1e-7
_STATE, _RELEASES = "party.npz", "releases.npz"


def split_parties(utterances: Sequence[Utterance], values: Sequence[str | None], parties: int) -> dict[str, list[int]]:
    """Divide utterances among parties, so that those of the same value are at the same party.

    Args:
        utterances: labelled utterances.
        values: the value of each, such as its speaker.
        parties: how many to make; where there are more values, the parties get several each and similar numbers of
            utterances.

    Returns:
        Indices by the name of the party: its value, or party-1 and so on where it has several.

    Raises:
        CorpusError: a value is not known, or there are fewer values than parties.
    """
    unknown = sum(value is None for value in values)
    if unknown:
        raise CorpusError(f"expected to know the party of every utterance: {unknown} of {len(utterances)} do not tell")
    by_value: dict[str, list[int]] = {}
    for index, value in enumerate(values):
        by_value.setdefault(str(value), []).append(index)
    if len(by_value) < parties:
        raise CorpusError(f"expected values for {parties} parties. Found: {', '.join(sorted(by_value))}")
    if len(by_value) == parties:
        return dict(sorted(by_value.items()))
    shares: list[list[int]] = [[] for _ in range(parties)]
    for _, indices in sorted(by_value.items(), key=lambda item: (-len(item[1]), item[0])):
        min(shares, key=len).extend(indices)
    return {f"party-{number}": sorted(share) for number, share in enumerate(shares, start=1)}


@dataclass(frozen=True)
class Description:
    """What a party says of its data before training.

    Attributes:
        name: of the party.
        version: of its code and features.
        class_counts: training windows by emotion.
        utterances, validation, speakers: how many there are.
        languages: of the training part.
        corpora: name, utterances, speakers, languages, licence and citation of each.
        mel, functionals: sums of the features of the training windows.
    """

    name: str
    version: str
    class_counts: dict[str, int]
    utterances: int
    validation: int
    speakers: int
    languages: list[str]
    corpora: list[dict[str, Any]]
    mel: Moments
    functionals: Moments

    @property
    def examples(self) -> int:
        """Training windows."""
        return sum(self.class_counts.values())


@dataclass(frozen=True)
class Update:
    """What a party sends after its training in a round.

    Attributes:
        weights: of its network.
        examples: training windows, which its weights count for.
        loss: of training, mean over the steps.
        scores: of the weights that it received, on its validation windows.
        control: how its control variate changed; empty without SCAFFOLD.
    """

    weights: Weights
    examples: int
    loss: float
    scores: WindowScores
    control: Arrays = field(default_factory=list)


@dataclass(frozen=True)
class HeldOutScores:
    """How the calibrated network does on the held-out utterances of a party, as sums that can be added.

    Attributes:
        confusion: counts, shape (classes, classes + 1); the last column: no speech.
        bins: number, sum of confidences and number of right answers in bins of the confidence, shape (3, BINS).
    """

    confusion: NDArray[np.int64]
    bins: NDArray[np.float64]


class Party:
    """A party: its recordings, and the network that it keeps from round to round.

    Args:
        name: by which the server calls it.
        paths: its corpora.
        run: cache and workers for the features.
        folder: keeps what must outlive a restart; None for nothing.
        limit: largest epsilon and delta of its updates, see privacy.check_limit; None leaves them to the server.
        networks: those that were compiled, by what they are for; parties in one process may share them.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        *,
        run: Run,
        folder: Path | None = None,
        limit: tuple[float, float] | None = None,
        networks: dict[str, LocalNetwork] | None = None,
    ) -> None:
        self.name = name
        self._networks = {} if networks is None else networks
        self._paths, self._run, self._folder = paths, run, folder
        self._prepared: tuple[str, Dataset, Split] | None = None
        self._trainer: tuple[str, LocalTrainer] | None = None
        self._kept: tuple[int, Memory, Memory] | None = None
        self._limit = limit
        self._releases = Releases(folder / _RELEASES if folder else None)

    def describe(self, plan: Plan) -> Description:
        """Extract the features, and say what the server has to know of them.

        Raises:
            CorpusError: the corpora do not suffice.
            FederationError: the server asks for more than the limit.
        """
        check_limit(self._limit, plan.budget)
        dataset, split = self._data(plan)
        training = _part(dataset, split.train)
        windows = [window for each in make_examples(training, dataset.classes) for window in each.variants]
        if not windows:
            raise CorpusError("no speech in the training recordings: every window of them is silent")
        taken = len(functional_names(plan.recipe.network_features))
        labels = [each.label for each in make_examples(training, dataset.classes)]
        counts = np.bincount(labels, minlength=len(dataset.classes)).tolist()
        spoken = [sample.utterance for sample in training]
        return Description(
            name=self.name,
            version=plan.version,
            class_counts=dict(zip(dataset.classes, counts, strict=True)),
            utterances=len(training),
            validation=len(split.held_out),
            speakers=len({each.speaker_id for each in spoken} - {None}),
            languages=sorted({each.language for each in spoken if each.language}),
            corpora=[_corpus(name, spoken) for name in sorted({each.corpus for each in spoken})],
            mel=Moments.measure([window.log_mel for window in windows]),
            functionals=Moments.measure([window.functionals[None, :taken] for window in windows]),
        )

    def train(
        self, plan: Plan, normaliser: Normaliser, *, number: int, start: Weights, control: Arrays | None
    ) -> Update:
        """Train in a round.

        Args:
            plan: of the training.
            normaliser: of all parties.
            number: of the round, from 1.
            start: the weights that it starts from.
            control: SCAFFOLD's control variate of all parties; None without it.

        Raises:
            DivergedError: the loss is not a number.
            FederationError: the server asks for more than the limit, or too often.
        """
        check_limit(self._limit, plan.budget)
        trainer = self._trainer_for(plan, normaliser)
        scores = trainer.score(start)
        own, state = self._before(number, trainer, start)
        result = trainer.train(
            start,
            state,
            first_epoch=(number - 1) * plan.local_epochs,
            epochs=plan.local_epochs,
            correction=None if control is None else _minus(control, own),
            pull=plan.proximal,
        )
        after = own if control is None else result.mean_gradient
        self._keep(number, before=(own, state), after=(after, result.state))
        change = [] if control is None else _minus(after, own)
        weights = self._private(plan, number, start, result.weights)
        return Update(weights, trainer.examples, result.loss, scores, change)

    def _private(self, plan: Plan, number: int, start: Weights, found: Weights) -> Weights:
        """What leaves the party of the weights that it found in a round."""
        budget = plan.budget
        if budget is None or not budget.local:
            return found
        question = f"{number} {plan.to_json()}"
        return Weights(self._releases.answer(question, budget, found.trainable, start.trainable), found.statistics)

    def losses(self, plan: Plan, normaliser: Normaliser, weights: Weights) -> tuple[WindowScores, NDArray[np.float64]]:
        """Score weights on the validation windows.

        Returns:
            Their scores, and the sum of their losses at each of TEMPERATURES.
        """
        trainer = self._trainer_for(plan, normaliser)
        scores = trainer.score(weights)
        if not trainer.validation:
            return scores, np.zeros(len(TEMPERATURES))
        logs = np.log(np.maximum(trainer.predict(trainer.validation), _SMALLEST_PROBABILITY), dtype=np.float64)
        labels = np.array([each.label for each in trainer.validation])
        rows = np.arange(len(labels))
        scaled = (temperature_scale(logs, temperature)[rows, labels] for temperature in TEMPERATURES)
        return scores, np.array([-np.log(np.maximum(each, _SMALLEST_PROBABILITY)).sum() for each in scaled])

    def test(self, plan: Plan, normaliser: Normaliser, weights: Weights, *, temperature: float) -> HeldOutScores:
        """Score the calibrated network on the held-out utterances."""
        dataset, split = self._data(plan)
        held_out = _part(dataset, split.held_out)
        trainer = self._trainer_for(plan, normaliser)
        trainer.score(weights)
        config = plan.recipe.network_features
        learned = Learned(
            Fitted(trainer.network.model, [], {}, 0), normaliser, config, trainer.network.spec, temperature
        )
        truth = np.array([plan.classes.index(each.utterance.emotion) for each in held_out], dtype=np.intp)
        return held_out_scores(predict_samples(learned, held_out), truth)

    def _data(self, plan: Plan) -> tuple[Dataset, Split]:
        """The dataset of the plan and its split, loaded once."""
        recipe = plan.recipe
        key = str(recipe.to_dict())
        if self._prepared is None or self._prepared[0] != key:
            dataset = load_dataset(
                self._paths,
                labels=recipe.labels,
                config=recipe.extracted_features,
                augmentation=recipe.augmentation,
                run=self._run,
                skip_test=True,
            )
            utterances = dataset.utterances
            split = marked_split(utterances) or hold_out(
                utterances, share=recipe.validation_share, seed=recipe.fit.seed
            )
            self._prepared = (key, dataset, split)
        return self._prepared[1:]

    def _trainer_for(self, plan: Plan, normaliser: Normaliser) -> LocalTrainer:
        """The network of the plan, built once."""
        values = (plan.to_json().encode(), *(each.tobytes() for each in vars(normaliser).values()))
        key = hashlib.blake2b(b"".join(values)).hexdigest()
        if self._trainer is None or self._trainer[0] != key:
            self._trainer = (key, self._build(plan, normaliser))
        return self._trainer[1]

    def _build(self, plan: Plan, normaliser: Normaliser) -> LocalTrainer:
        dataset, split = self._data(plan)
        recipe = plan.recipe
        # Parties that draw the same dropout in the same step would not average it out.
        seed = recipe.fit.seed + int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=3).digest(), "big")
        return LocalTrainer(
            self._network(plan),
            make_examples(_part(dataset, split.train), plan.classes),
            make_examples(_part(dataset, split.held_out), plan.classes),
            normaliser=normaliser,
            options=replace(recipe.fit, seed=seed),
            class_counts=np.array(list(plan.class_counts.values())),
        )

    def _network(self, plan: Plan) -> LocalNetwork:
        """The network of the plan, compiled once."""
        fit = plan.recipe.fit
        spec = network_spec(plan.recipe, n_classes=len(plan.classes), languages=plan.languages)
        key = repr((plan.architecture, spec, fit.weight_decay, fit.label_smoothing))
        if key not in self._networks:
            self._networks[key] = LocalNetwork(plan.architecture, spec, fit)
        return self._networks[key]

    def _before(self, number: int, trainer: LocalTrainer, like: Weights) -> Memory:
        """What the party remembers before a round: as it was then, if the round is trained once more."""
        fresh = ([np.zeros_like(each) for each in like.trainable], trainer.fresh)
        if number == 1:
            return fresh
        if self._kept is None:
            self._kept = self._load()
        kept, before, after = self._kept or (0, fresh, fresh)
        return before if kept == number else after

    def _load(self) -> tuple[int, Memory, Memory] | None:
        path = self._folder / _STATE if self._folder else None
        if path is None or not path.exists():
            return None
        facts, arrays = load_checkpoint(path)
        before, after = ((arrays[f"{when} control"], arrays[f"{when} state"]) for when in ("before", "after"))
        return int(facts["round"]), before, after

    def _keep(self, number: int, *, before: Memory, after: Memory) -> None:
        self._kept = (number, before, after)
        if self._folder:
            arrays = {"before control": before[0], "before state": before[1]}
            arrays |= {"after control": after[0], "after state": after[1]}
            save_checkpoint(self._folder / _STATE, {"round": number}, arrays)


def held_out_scores(probabilities: NDArray[np.float64], truth: NDArray[np.intp]) -> HeldOutScores:
    """Sum up predictions.

    Args:
        probabilities: shape (n, classes); NaN for an utterance without speech.
        truth: shape (n,).
    """
    k = probabilities.shape[1]
    spoken = ~np.isnan(probabilities).any(axis=1)
    predicted = np.where(spoken, np.nan_to_num(probabilities).argmax(axis=1), k)
    confidence = probabilities[spoken].max(axis=1)
    bins = confidence_bins(confidence, bins=BINS)
    right = (predicted == truth)[spoken]
    sums = [np.bincount(bins, weights=each, minlength=BINS) for each in (np.ones(len(bins)), confidence, right)]
    return HeldOutScores(confusion_matrix(truth, predicted, n_classes=k + 1)[:k], np.array(sums))


def check_name(name: str) -> str:
    """Return the name of a party.

    Raises:
        ConfigError: it is empty or longer than 100 characters.
    """
    if not 0 < len(name.strip()) <= 100:
        raise ConfigError(f"expected the name of a party, of at most 100 characters. Received: {name!r}")
    return name.strip()


def _part(dataset: Dataset, indices: Sequence[int]) -> list[Sample]:
    return [dataset.samples[index] for index in indices]


def _minus(left: Arrays, right: Arrays) -> Arrays:
    return [a - b for a, b in zip(left, right, strict=True)]


def _corpus(name: str, utterances: Sequence[Utterance]) -> dict[str, Any]:
    own = [each for each in utterances if each.corpus == name]
    languages = Counter(each.language for each in own if each.language)
    return {
        "name": name,
        "utterances": len(own),
        "speakers": len({each.speaker for each in own if each.speaker}),
        "languages": sorted(languages),
        "licence": licence_of(name) or "not known",
        "citation": citation_of(name) or "",
    }
