"""What bundle.json says of a federated training."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read_record needs the types at run time
from dataclasses import dataclass, field
from typing import Any

from serctl.records import Count, Name, Share, Text  # noqa: TC001


@dataclass(frozen=True)
class PartyFacts:
    """A party of a federated training; rounds: those that it took part in, sent: bytes by their meaning."""

    name: Name
    utterances: Count
    validation: Count
    speakers: Count
    languages: tuple[Name, ...] = ()
    rounds: Count = 0
    sent: Mapping[str, Count] = field(default_factory=dict)
    uar: Share | None = None


@dataclass(frozen=True)
class FederationFacts:
    """How parties trained a model together; privacy: what was done to protect what they sent, by name."""

    strategy: Name
    rounds: Count
    best_round: Count
    local_epochs: Count
    parties: tuple[PartyFacts, ...]
    refused: tuple[Text, ...] = ()
    privacy: Mapping[str, Any] = field(default_factory=dict)
