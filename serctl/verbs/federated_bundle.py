"""Write what a federated training gave as a bundle: its facts come from what the parties said of their data."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.bundle.card import model_card
from serctl.bundle.facts import BundleFacts, CorpusFacts, TrainingFacts
from serctl.bundle.federation import FederationFacts, PartyFacts
from serctl.bundle.store import write_bundle
from serctl.bundle.versions import package_versions
from serctl.corpora import citation_of
from serctl.export.convert import to_litert
from serctl.features import encoder_citations, encoder_parameters
from serctl.files import atomic_folder
from serctl.metrics import score_counts, uar
from serctl.metrics.facts import ProtocolFacts, ScoredPart
from serctl.records import read_record
from serctl.reports.plots import plot_confusion
from serctl.verbs.train import write_history

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from serctl.learning.federated.outcome import Federated
    from serctl.learning.federated.parties import Description, HeldOutScores
    from serctl.metrics import Scores
    from serctl.verbs.federate import FederateOptions


@dataclass(frozen=True)
class FederateResult:
    """A finished federated training: where the bundle is, its facts, and its scores on what the parties held out."""

    folder: Path
    facts: BundleFacts
    scores: Scores
    federated: Federated


def write_federated(output: Path, found: Federated, options: FederateOptions) -> FederateResult:
    """Write the bundle of a federated training.

    Args:
        output: its folder.
        found: the training.
        options: how it was made.

    Returns:
        The bundle's facts, and the scores.
    """
    from serctl.learning.federated.network import in_order
    from serctl.learning.fit import restore

    weights = in_order(found.plan.architecture, found.spec, found.weights)
    network = restore(found.plan.architecture, found.spec, weights)
    scores = _scores(found)
    facts = _facts(output, found, options, scores, parameters=int(network.count_params()))
    with atomic_folder(output) as draft:
        write_history(draft, found.history, best=found.best_round, unit="round")
        plot_confusion(draft / "confusion.png", scores.confusion, scores.classes, title="Confusion on held-out parts")
        write_bundle(
            draft,
            facts,
            model=to_litert(network, n_frames=found.spec.n_frames),
            weights=weights,
            normaliser=found.normaliser,
            training=[],
            card=model_card(facts),
        )
    return FederateResult(output, facts, scores, found)


def _scores(found: Federated) -> Scores:
    """The scores on what all parties held out, from their counts."""
    number, confidence, right = np.sum([each.bins for each in found.scores.values()], axis=0)
    return score_counts(
        np.sum([each.confusion for each in found.scores.values()], axis=0),
        ece=float(np.abs(confidence - right).sum() / max(number.sum(), 1)),
        classes=found.plan.classes,
        seed=found.plan.recipe.fit.seed,
    )


def _facts(output: Path, found: Federated, options: FederateOptions, scores: Scores, *, parameters: int) -> BundleFacts:
    config = options.network_features
    corpora = _corpora(found.parties)
    citations = [citation for each in corpora if (citation := citation_of(each.name))]
    return BundleFacts(
        name=options.name or output.name,
        architecture=options.architecture,
        labels=found.plan.classes,
        features=config,
        n_frames=found.spec.n_frames,
        temperature=found.temperature,
        parameters=parameters + encoder_parameters(config),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=options.licence,
        attribution=(*citations, *encoder_citations(config)),
        languages=found.spec.languages,
        metrics={"validation": _scored(found, scores)},
        training=TrainingFacts(
            utterances=sum(each.utterances + each.validation for each in found.parties),
            corpora=corpora,
            command=options.command,
            seed=options.fit.seed,
            fit=dict(found.plan.fit),
            augmentation=dict(found.plan.augmentation),
            labels=asdict(options.labels),
            validation_share=options.validation_share,
            federation=_federation(found),
        ),
        packages=package_versions(),
    )


def _scored(found: Federated, scores: Scores) -> ScoredPart:
    protocol = ProtocolFacts(
        name="validation",
        description=f"the held-out parts of {len(found.scores)} parties; optimistic: they selected the round and the "
        "temperature",
    )
    values = {"protocol": asdict(protocol), "best_epoch": found.best_round, "epochs": len(found.history["loss"])}
    return read_record(ScoredPart, {**values, **scores.to_dict()})


def _corpora(parties: Iterable[Description]) -> tuple[CorpusFacts, ...]:
    """The corpora of all parties; those of the same name are one."""
    by_name: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for party in parties:
        for each in party.corpora:
            by_name[each["name"]].append(each)
    return tuple(
        CorpusFacts(
            name=name,
            utterances=sum(each["utterances"] for each in parts),
            speakers=sum(each["speakers"] for each in parts),
            languages=tuple(sorted({code for each in parts for code in each["languages"]})),
            licence=parts[0]["licence"],
            citation=parts[0]["citation"],
        )
        for name, parts in sorted(by_name.items())
    )


def _federation(found: Federated) -> FederationFacts:
    return FederationFacts(
        strategy=found.plan.strategy,
        rounds=len(found.history["loss"]),
        best_round=found.best_round,
        local_epochs=found.plan.local_epochs,
        parties=tuple(_party(each, found) for each in found.parties),
        refused=tuple(f"round {number}, {party}: {reason}" for number, party, reason in found.refused),
        privacy=_privacy(found),
    )


def _privacy(found: Federated) -> dict[str, Any]:
    """How the updates were protected."""
    if found.plan.secure:
        return {"secure_aggregation": "of the updates"}
    budget = found.plan.budget
    if budget is None:
        return {}
    done = len(found.history["loss"])
    return {
        "noise_of": "each party" if budget.local else "the server",
        "epsilon": round(budget.spent(done), 3),
        "delta": budget.delta,
        "clip": budget.clip,
        "noise_multiplier": round(budget.noise_multiplier, 4),
    }


def _party(said: Description, found: Federated) -> PartyFacts:
    sent = found.traffic[said.name]
    tested = found.scores.get(said.name)
    return PartyFacts(
        name=said.name,
        utterances=said.utterances,
        validation=said.validation,
        speakers=said.speakers,
        languages=tuple(said.languages),
        rounds=sent.rounds,
        sent=sent.sent,
        uar=_uar(tested) if tested else None,
    )


def _uar(scores: HeldOutScores) -> float | None:
    """UAR over the emotions that occur; None without any utterance."""
    k = len(scores.confusion)
    matrix = np.vstack([scores.confusion, np.zeros((1, k + 1), np.int64)])
    return uar(matrix) if matrix.sum() else None
