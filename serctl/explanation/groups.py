"""How much each group of features contributes: exact Shapley values against the mean of the training recordings.

A group is what a person can hear or name: pitch, loudness, tempo, pauses, voice quality, timbre; and each layer or
encoder whose features have no such name. A group is taken away by setting its features to the mean of the training
data. The model is asked about every subset of the groups, so the values are exact, not estimated. A group that the
network does not use contributes exactly nothing, and is left out.

Source: Shapley 1953, doi:10.1515/9781400881970-018.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders import speech, voice
from serctl.features import functional_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.explanation.listener import Listener
    from serctl.features import Features, Normaliser

TIMBRE = "timbre"

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pitch", ("f0_",)),
    ("loudness", ("level_", "loudness_rise", "loudness_fall", "loudness_", "flux_")),
    ("pauses", ("unvoiced_segment_s_", "voiced_share")),
    ("tempo", ("active_s", "voiced_segments_per_s", "voiced_segment_s_", "loudness_peaks_per_s")),
    ("voice quality", ("hnr_", "jitter_", "shimmer_", "h1_", "periodicity_")),
    ("voice encoder", (voice.PREFIX,)),
    *((f"speech encoder, layer {layer}", (f"{speech.PREFIX}{layer}_",)) for layer in range(1, speech.LAYERS + 1)),
)
"""Groups, and how the names of their features begin; the longest beginning decides. All others are timbre."""

_STATES = f"speech encoder, layer {speech.STATE_LAYER}"
"""The group that the states of the speech encoder belong to."""


@dataclass(frozen=True)
class Contribution:
    """How much a group adds to the probability, or number, of the mean of the training data."""

    group: str
    points: float


@dataclass(frozen=True)
class Contributions:
    """What the groups of features contribute.

    Attributes:
        groups: those that the network uses, the largest first. Their sum is the probability less the reference.
        reference: probability of the emotion where every group is at the mean of the training recordings.
    """

    groups: tuple[Contribution, ...]
    reference: float


def group_of(name: str) -> str:
    """Return the group of a feature."""
    found = [(len(start), group) for group, starts in GROUPS for start in starts if name.startswith(start)]
    return max(found)[1] if found else TIMBRE


def contributions(features: Features, listener: Listener) -> Contributions | None:
    """Compute the contribution of every group to the probability of the emotion.

    Args:
        features: of the window that is explained.
        listener: the model.

    Returns:
        The contributions; None for a network that takes no functionals.
    """
    bundle = listener.recogniser.bundle
    if "functionals" not in listener.recogniser.inputs:
        return None
    found = [group_of(name) for name in functional_names(bundle.facts.features)]
    names = list(dict.fromkeys(found))
    columns = np.array([names.index(group) for group in found])
    reference, hidden_states = bundle.normaliser.functional_mean, _mean_states(features, bundle.normaliser)
    subsets = (np.arange(2 ** len(names))[:, None] >> np.arange(len(names))) & 1
    changed = [
        replace(
            features,
            functionals=np.where(present[columns] == 1, features.functionals, reference),
            states=features.states if _STATES in itertools.compress(names, present) else hidden_states,
        )
        for present in subsets
    ]
    values = listener.of_features(changed)[:, listener.target]
    used = [row for row in range(len(names)) if not is_idle(values, row)]
    shares = shapley_values(values, len(names))
    ordered = sorted(used, key=lambda row: -abs(shares[row]))
    return Contributions(tuple(Contribution(names[row], float(shares[row])) for row in ordered), float(values[0]))


def _mean_states(features: Features, normaliser: Normaliser) -> NDArray[np.float16] | None:
    """As many states as the window has, each the mean of the training data; None where it has none."""
    if features.states is None:
        return None
    return np.broadcast_to(normaliser.state_scale()[0].astype(np.float16), features.states.shape)


def is_idle(values: NDArray[np.float64], player: int) -> bool:
    """Whether no coalition is worth more or less with a player; values: see shapley_values."""
    without = np.flatnonzero((np.arange(len(values)) >> player) & 1 == 0)
    return bool(np.array_equal(values[without], values[without | 1 << player]))


def shapley_values(values: Sequence[float] | NDArray[np.float64], players: int) -> NDArray[np.float64]:
    """Compute exact Shapley values.

    Args:
        values: of every coalition, shape (2 ** players,); bit i of the index says whether player i takes part.
        players: how many.

    Returns:
        float64, shape (players,); their sum is the value of all less that of none.
    """
    worth = np.asarray(values, np.float64)
    coalitions = np.arange(2**players)
    sizes = np.array([int(each).bit_count() for each in coalitions])
    weights = np.array([1 / (players * math.comb(players - 1, size)) for size in range(players)])
    shares = np.empty(players)
    for player in range(players):
        without = coalitions[(coalitions >> player) & 1 == 0]
        shares[player] = weights[sizes[without]] @ (worth[without | 1 << player] - worth[without])
    return shares
