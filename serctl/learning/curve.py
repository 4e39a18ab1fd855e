"""The learning curve: how the score on the held-out part grows with the amount of training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.learning.calibrate import predict_samples
from serctl.learning.learn import fit_network, ignore_epoch
from serctl.metrics import score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.learning.calibrate import Learned
    from serctl.learning.dataset import Sample
    from serctl.learning.recipe import Recipe

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the training utterances that are tried, besides all of them."""

_FEWEST_SPEAKERS = 3


@dataclass(frozen=True)
class CurvePoint:
    """The score of a network that learned from a part of the training data.

    Attributes:
        utterances: how many it learned from.
        speakers: how many are known by name among them.
        uar: on the held-out part, 0 to 1.
        low, high: the 95 % interval of the UAR, over speakers where they are known.
    """

    utterances: int
    speakers: int
    uar: float
    low: float
    high: float


def learning_curve(
    recipe: Recipe,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    whole: Learned,
    classes: Sequence[str],
    folder: Path,
) -> tuple[CurvePoint, ...]:
    """Train on nested parts of the training data, and score each network on the same held-out part.

    Args:
        recipe: how to make the networks.
        training: samples to learn from.
        validation: samples that select the epoch, and that are scored: the scores are optimistic.
        whole: the network that learned from all of the training samples.
        classes: emotions in the order of the network's output.
        folder: existing; keeps checkpoints, so that an interrupted call can go on.

    Returns:
        A point for each part, the smallest first; the last one is that of all training samples.
    """
    points = []
    for part in nested_parts(training, classes=classes, seed=recipe.fit.seed):
        place = folder / f"curve-{len(part)}"
        place.mkdir(exist_ok=True)
        learned, _ = fit_network(recipe, part, validation, classes=classes, folder=place, on_epoch=ignore_epoch)
        points.append(_point(learned, part, validation, classes, recipe.fit.seed))
    return (*points, _point(whole, training, validation, classes, recipe.fit.seed))


def nested_parts(samples: Sequence[Sample], *, classes: Sequence[str], seed: int) -> list[list[Sample]]:
    """Draw parts of samples, each of which holds the one before: whole speakers, in random order.

    A part has as many speakers as it takes to reach its share and to hold every class. Recordings take the place of
    speakers where fewer than three are known.

    Args:
        samples: what to draw from.
        classes: emotions that each part holds.
        seed: the same seed gives the same parts.

    Returns:
        Parts of different size, the smallest first; none is the whole.
    """
    names = [each.utterance.speaker_id for each in samples]
    if None in names or len(set(names)) < _FEWEST_SPEAKERS:
        names = [each.origin for each in samples]
    order = np.random.default_rng(seed).permutation(sorted({str(name) for name in names})).tolist()
    rank = {name: place for place, name in enumerate(order)}
    ranks = np.array([rank[str(name)] for name in names])
    counts = np.cumsum(np.bincount(ranks, minlength=len(order)))
    enough = max(min(ranks[[each.utterance.emotion == name for each in samples]]) for name in classes)
    last = {max(int(np.searchsorted(counts, share * len(samples))), int(enough)) for share in SHARES}
    chosen = [[each for each, place in zip(samples, ranks, strict=True) if place <= end] for end in sorted(last)]
    return [part for part in chosen if len(part) < len(samples)]


def _point(
    learned: Learned, part: Sequence[Sample], validation: Sequence[Sample], classes: Sequence[str], seed: int
) -> CurvePoint:
    truth = [classes.index(sample.utterance.emotion) for sample in validation]
    speakers = [sample.utterance.speaker_id for sample in validation]
    scores = score(truth, predict_samples(learned, validation), classes=classes, groups=speakers, seed=seed)
    interval = scores.intervals["uar"]
    known = {sample.utterance.speaker_id for sample in part} - {None}
    return CurvePoint(len(part), len(known), scores.uar, interval.low, interval.high)
