"""What a federated training does: options of the server, and the plan that it sends with every message.

A message carries the whole plan, so that a party which joins late, or starts again, lacks nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from serctl import __version__
from serctl.errors import ConfigError, RecordError, Remedy
from serctl.features import FEATURE_VERSION
from serctl.learning.federated.privacy import Budget
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.learning.recipe import Recipe
from serctl.options import check_options, option

if TYPE_CHECKING:
    from collections.abc import Mapping

STRATEGIES = ("fedavg", "fedprox", "fedadam", "scaffold")
VERSION = f"{__version__}, features {FEATURE_VERSION}"
"""What all parties have to share: the same code gives the same features and the same network."""

_COPIES = ("copies", "noisy_copies", "degraded_copies", "vocal_tract_copies", "seed")


@dataclass(frozen=True)
class FederationOptions:
    """How the parties' trainings are joined.

    Args:
        rounds: how often the parties train and the server joins what they send.
        strategy: how it joins them.
        local_epochs: epochs that a party trains in a round.
        proximal: strength of FedProx's pull towards the weights that a round starts from.
        least_parties: parties that a round needs; more are awaited for a while.
        round_s: longest wait for a round, in seconds.
        secure: whether updates are summed in secret.
        wait_s: longest wait for the parties: for all before the first round, later for as many as a round needs.
        epsilon, delta, clip, local_privacy: see privacy.Budget; 0: none.

    Raises:
        ConfigError: a value is out of range, or does not go with another.

    Sources: McMahan et al. 2017, arXiv:1602.05629 (FedAvg); Li et al. 2020, arXiv:1812.06127 (FedProx); Reddi et al.
    2021, arXiv:2003.00295 (FedAdam); Karimireddy et al. 2020, arXiv:1910.06378 (SCAFFOLD).
    """

    rounds: int = option(100, "Number of rounds; in each, the parties train and the server joins their updates.", low=1)
    strategy: str = option("scaffold", "How the server joins the updates.", choices=STRATEGIES)
    local_epochs: int = option(1, "Epochs that a party trains in a round.", low=1, high=100)
    proximal: float = option(0.01, "Strength of fedprox's pull towards the weights that a round starts from.", low=0)
    least_parties: int = option(2, "Least number of parties for a round; the server waits some time for others.", low=1)
    round_s: float = option(600.0, "Longest wait for the updates of a round, in seconds.", low=1, name="round-timeout")
    wait_s: float = option(
        3600.0,
        "Longest wait for the parties, in seconds: for all of them before the first round, where they extract their "
        "features, and later for as many as a round needs.",
        low=1,
        name="wait",
    )
    secure: bool = option(False, "Hide the update of each party from the server, which sees only their sum.")

    epsilon: float = option(
        0.0,
        "Differential privacy: how much all updates together may tell of a whole party; 0 adds no noise. 8 is weak, 1 "
        "is strong.",
        low=0,
        high=100,
    )
    delta: float = option(1e-5, "Probability that a party tells more than epsilon allows.", above=0, below=1)
    clip: float = option(1.0, "With epsilon: longest update of a party; longer ones are scaled down.", above=0)
    local_privacy: bool = option(
        False, "With epsilon: each party adds the noise itself, and the server sees no update without it."
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.local_privacy and not self.epsilon:
            raise ConfigError("expected an epsilon, which says how much noise the parties add", Remedy.EPSILON)
        if self.epsilon and self.strategy == "scaffold":
            raise ConfigError(
                "differential privacy: expected fedavg, fedprox or fedadam; scaffold sends control variates too, which "
                "would need a budget of their own",
                Remedy.PRIVATE_STRATEGY,
            )
        if self.epsilon and self.secure:
            raise ConfigError("expected secure aggregation or differential privacy. Received: both")

    @property
    def budget(self) -> Budget | None:
        """What the updates may tell; None without differential privacy."""
        if not self.epsilon:
            return None
        return Budget(self.epsilon, self.delta, self.clip, self.rounds, self.local_privacy)


@dataclass(frozen=True)
class Plan:
    """All that a party needs to know besides the weights.

    Attributes:
        architecture: its name.
        fit, augmentation, labels: the options of these names, as JSON-able values; epochs count those of all rounds.
        validation_share: share of each party's utterances held out.
        local_epochs, strategy, proximal: see FederationOptions.
        secure: whether the server learns only the sum of the updates.
        privacy: the fields of a Budget; empty without differential privacy.
        version: of the code and the features.
        class_counts: training windows of each class at all parties, in the order of the classes; empty before they were
            asked.
        languages: those that the network tells apart.
    """

    architecture: str
    fit: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    labels: Mapping[str, Any]
    validation_share: float
    local_epochs: int
    strategy: str
    proximal: float
    secure: bool = False
    privacy: Mapping[str, Any] = field(default_factory=dict)
    version: str = VERSION
    class_counts: Mapping[str, int] = field(default_factory=dict)
    languages: tuple[str, ...] = ()

    @classmethod
    def make(cls, recipe: Recipe, options: FederationOptions) -> Plan:
        """Return the plan before the parties were asked what they have."""
        fit = replace(recipe.fit, epochs=options.rounds * options.local_epochs, weight_average=0.0)
        augmentation = asdict(recipe.augmentation)
        return cls(
            architecture=recipe.architecture,
            fit=fit.to_dict(),
            augmentation={name: augmentation[name] for name in _COPIES},
            labels=asdict(recipe.labels),
            validation_share=recipe.validation_share,
            local_epochs=options.local_epochs,
            strategy=options.strategy,
            secure=options.secure,
            privacy=asdict(options.budget) if options.budget else {},
            proximal=options.proximal if options.strategy == "fedprox" else 0.0,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Emotions in the order of the network's output."""
        return tuple(self.class_counts)

    @property
    def budget(self) -> Budget | None:
        """What the updates may tell of a party; None without differential privacy."""
        return Budget(**self.privacy) if self.privacy else None

    @property
    def recipe(self) -> Recipe:
        """How a party prepares its data."""
        mapping = tuple((str(old), str(new)) for old, new in self.labels["mapping"])
        return Recipe(
            architecture=self.architecture,
            validation_share=self.validation_share,
            labels=LabelOptions(classes=tuple(self.labels["classes"]), mapping=mapping),
            augmentation=Augmentation(**self.augmentation),
            fit=FitOptions(**self.fit),
        )

    def to_json(self) -> str:
        """The plan as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what to_json gave.

        Raises:
            RecordError: it is not a plan.
        """
        try:
            values = json.loads(text)
            return cls(**{**values, "languages": tuple(values["languages"])})
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"expected the plan of a federated training: {error}") from error
