"""Find the labels of a corpus that its own cross-validation doubts most, to listen to first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError
from serctl.metrics import doubtful_labels
from serctl.metrics.evaluation import read_evaluation
from serctl.reports.schema import Column
from serctl.reports.tables import check_output, write_report
from serctl.verbs.compare import read_answers

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = (
    Column("path", "text"),
    Column("corpus", "text"),
    Column("speaker", "text"),
    Column("emotion", "text"),
    Column("suggested", "text"),
    Column("p_emotion", decimals=4),
    Column("p_suggested", decimals=4),
    Column("margin", decimals=4),
)


def find_suspects(folder: Path, *, output: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Find doubtful labels by the predictions of a cross-validation.

    Args:
        folder: of the evaluation.
        output: table to write; None to write none.
        overwrite: replace a table that exists.

    Returns:
        The table: one row for each doubtful label, the most doubtful first, with the columns of COLUMNS.

    Raises:
        ConfigError: the folder is no evaluation, its model was trained on the recordings, or the output exists.
        MissingExtraError: pyarrow is not installed.
    """
    if output:
        check_output(output, overwrite=overwrite, resume=False)
    answers = read_answers(folder)
    _check_unseen(folder)
    keys = list(answers.rows)
    probabilities = answers.probabilities(keys)
    spoken = np.flatnonzero(~np.isnan(probabilities).any(axis=1))
    labels = np.array([answers.classes.index(str(answers.rows[keys[index]]["emotion"])) for index in spoken], np.int64)
    found, suggested, margins = doubtful_labels(labels, probabilities[spoken])
    rows = [answers.rows[keys[spoken[index]]] for index in found]
    names = [answers.classes[index] for index in suggested]
    table = {
        **{name: [row[name] for row in rows] for name in ("path", "corpus", "speaker", "emotion")},
        "suggested": names,
        "p_emotion": [row[f"p_{row['emotion']}"] for row in rows],
        "p_suggested": [row[f"p_{name}"] for row, name in zip(rows, names, strict=True)],
        "margin": margins.tolist(),
    }
    if output:
        write_report(output, columns=COLUMNS, tables=[table])
    return table


def _check_unseen(folder: Path) -> None:
    """Raise ConfigError if the predictions are of recordings that were trained on: they doubt nothing."""
    leakage = read_evaluation(folder).leakage
    if seen := leakage and leakage.identical_audio:
        raise ConfigError(f"{folder}: {seen} of the recordings were trained on: expected a cross-validation")
