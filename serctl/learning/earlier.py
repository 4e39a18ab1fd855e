"""Earlier models that a training starts or learns from: their score on its held-out part, whose recordings they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.bundle.facts import CorpusFacts
from serctl.corpora import licence_of
from serctl.learning.adapt import predict_with_model
from serctl.metrics import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.bundle.facts import TrainingEntry
    from serctl.bundle.store import Bundle
    from serctl.learning.dataset import Sample


def base_uar(base: Bundle, held_out: Sequence[Sample], truth: NDArray[np.intp], classes: Sequence[str]) -> float | None:
    """Compute the UAR of a model on held-out samples, from 0 to 1; None if it knows none of the emotions.

    Its answers are chosen among the classes, as evaluate does; an emotion that it does not know has a recall of 0.

    Args:
        base: the model.
        held_out: what to predict.
        truth: index of each sample's emotion among the classes, shape (samples,).
        classes: emotions of the new model.
    """
    labels = base.facts.labels
    if not set(labels) & set(classes):
        return None
    predicted = predict_with_model(base, held_out, adapt=False)
    columns = [predicted[:, labels.index(each)] if each in labels else 0 * predicted[:, 0] for each in classes]
    among = np.column_stack(columns)
    return score(truth, among / among.sum(axis=1, keepdims=True), classes=classes, groups=None, seed=0).uar


def earlier_corpora(models: Sequence[Bundle]) -> tuple[CorpusFacts, ...]:
    """Return the corpora of all recordings that models were trained on, by name."""
    entries = {entry.digest: entry for model in models for entry in model.training_list()}
    by_corpus: dict[str, list[TrainingEntry]] = {}
    for entry in entries.values():
        by_corpus.setdefault(entry.corpus, []).append(entry)
    return tuple(
        CorpusFacts(
            name=name,
            utterances=len(found),
            speakers=len({entry.speaker for entry in found if entry.speaker}),
            licence=licence_of(name) or "not known",
        )
        for name, found in sorted(by_corpus.items())
    )
