"""Corpora left out in turn: how networks of the other corpora answer on each, and the temperatures that suit it.

A network is too sure on recordings unlike its training data, and held-out speakers of the same corpora do not show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.corpora import Fold, make_protocol
from serctl.errors import CorpusError
from serctl.learning.adapt import predict_with_network
from serctl.learning.calibrate import choose_among
from serctl.metrics import fit_temperature, kept_above, score, score_by, temperature_scale
from serctl.runtime.recogniser import SMALLEST_PROBABILITY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.corpora import Utterance
    from serctl.learning.calibrate import Learned
    from serctl.learning.dataset import Sample

    Fit = Callable[[Sequence[Sample], Sequence[Sample], Path], Learned]

PROTOCOL = "leave-one-corpus-out"

FEWEST_CORPORA = 3
"""With fewer, a network would be trained on a single corpus, which says little of one that is trained on all."""


THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Least confidences at which coverage and risk are told."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Answers on a corpus of a network that was trained on the others alone.

    Attributes:
        corpus: its name.
        utterances: those with speech, of the classes that the corpus shares with the others.
        truth: index of the class of each, shape (utterances,).
        logs, adapted_logs: log-probabilities without and with adaptation, not calibrated, float64, shape (utterances,
            classes); those of classes that the corpus does not share are at the lower limit.
    """

    corpus: str
    utterances: tuple[Utterance, ...]
    truth: NDArray[np.intp]
    logs: NDArray[np.float64]
    adapted_logs: NDArray[np.float64]


def leave_corpora_out(
    training: Sequence[Sample], validation: Sequence[Sample], *, classes: Sequence[str], fit: Fit, folder: Path
) -> tuple[LeftOut, ...]:
    """Train without each corpus in turn, and predict it.

    Args:
        training: samples to fit, as for the network itself.
        validation: samples that select the epoch, as for the network itself.
        classes: in the order of the network's output.
        fit: trains a network on a part of the training and of the validation samples, with a folder for checkpoints.
        folder: existing; keeps the checkpoints of these trainings.

    Returns:
        The answers by corpus; none where fewer than FEWEST_CORPORA are given, or they share too few classes.
    """
    samples = [*training, *validation]
    found = []
    for number, fold in enumerate(_folds(samples), start=1):
        place = folder / f"left-out-{number:02d}"
        place.mkdir(exist_ok=True)
        learned = fit(_without(fold.name, training), _without(fold.name, validation), place)
        tested = [samples[index] for index in fold.test]
        found.append(predict_left_out(learned, tested, corpus=fold.name, classes=classes, shared=fold.classes))
    return tuple(found)


def predict_left_out(
    learned: Learned, samples: Sequence[Sample], *, corpus: str, classes: Sequence[str], shared: Sequence[str] | None
) -> LeftOut:
    """Predict samples of a corpus with a network that was trained on others.

    Args:
        learned: the network, not calibrated.
        samples: all of one corpus, which adaptation takes together.
        corpus: its name.
        classes: in the order of the network's output.
        shared: those that answers are chosen among; None for all.
    """
    plain, adapted = (
        choose_among(predict_with_network(learned, samples, adapt=adapt), classes, shared) for adapt in (False, True)
    )
    spoken = np.flatnonzero(~np.isnan(plain).any(axis=1)).tolist()
    index = {emotion: position for position, emotion in enumerate(classes)}
    return LeftOut(
        corpus,
        tuple(samples[row].utterance for row in spoken),
        np.array([index[samples[row].utterance.emotion] for row in spoken], dtype=np.intp),
        np.log(np.maximum(plain[spoken], SMALLEST_PROBABILITY)),
        np.log(np.maximum(adapted[spoken], SMALLEST_PROBABILITY)),
    )


def fit_temperatures(found: Sequence[LeftOut]) -> tuple[float, float]:
    """Find the temperatures without and with adaptation that fit the corpora best; each corpus counts alike.

    Args:
        found: at least one corpus with an answer.
    """
    truth = np.concatenate([each.truth for each in found])
    weights = np.concatenate([np.full(len(each.truth), 1 / max(len(each.truth), 1)) for each in found])
    plain = fit_temperature(np.concatenate([each.logs for each in found]), truth, weights)
    return plain, fit_temperature(np.concatenate([each.adapted_logs for each in found]), truth, weights)


def calibrated_by_others(found: Sequence[LeftOut], *, adapted: bool) -> NDArray[np.float64]:
    """Calibrate the answers on each corpus by the temperature that fits the other corpora.

    Args:
        found: at least two corpora.
        adapted: whether the answers with adaptation are meant.

    Returns:
        Probabilities of all corpora one after the other, float64, shape (utterances, classes).
    """
    rows = []
    for each in found:
        temperature = fit_temperatures([other for other in found if other is not each])[adapted]
        rows.append(temperature_scale(each.adapted_logs if adapted else each.logs, temperature))
    return np.concatenate(rows)


def score_left_out(found: Sequence[LeftOut], *, classes: Sequence[str], seed: int, adapted: bool) -> dict[str, Any]:
    """Score the answers on all corpora, each calibrated by the others.

    Args:
        found: at least two corpora.
        classes: of the network.
        seed: of the bootstrap.
        adapted: whether the answers with adaptation are meant.

    Returns:
        Values of a ScoredPart.
    """
    utterances = [utterance for each in found for utterance in each.utterances]
    truth = np.concatenate([each.truth for each in found])
    probabilities = calibrated_by_others(found, adapted=adapted)
    scores = score(truth, probabilities, classes=classes, groups=[each.speaker_id for each in utterances], seed=seed)
    groups = {
        f"per_{name}": score_by([getattr(each, name) for each in utterances], truth, probabilities, classes=classes)
        for name in ("corpus", "language", "gender")
    }
    by_corpus = groups["per_corpus"].values()
    mean_uar, mean_ece = (float(np.mean([each[name] for each in by_corpus])) for name in ("uar", "ece"))
    way = "adapted to the recordings of the corpus" if adapted else "not adapted"
    description = (
        f"each corpus answered by a network of the others, {way}, among the classes that it shares with them; mean UAR "
        f"of the corpora {100 * mean_uar:.1f} %, mean ECE {mean_ece:.3f}, the confidence calibrated on the others"
    )
    return {
        "protocol": {"name": PROTOCOL, "speaker_independent": True, "description": description},
        **scores.to_dict(),
        **groups,
        "thresholds": kept_above(probabilities, truth, THRESHOLDS),
    }


def _folds(samples: Sequence[Sample]) -> tuple[Fold, ...]:
    utterances = [sample.utterance for sample in samples]
    if len({utterance.corpus for utterance in utterances}) < FEWEST_CORPORA:
        return ()
    try:
        return make_protocol(PROTOCOL, utterances, seed=0).folds
    except CorpusError:
        return ()


def _without(corpus: str, samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.utterance.corpus != corpus]
