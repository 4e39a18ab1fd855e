"""What an evaluation of emotions writes: scores, tables, plots and pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.metrics import coverage_risk, reliability_curve, score, score_by
from serctl.metrics.evaluation import EvaluationFacts
from serctl.records import read_record
from serctl.reports.evaluation import write_evaluation_page
from serctl.reports.markdown import evaluation_page, subject
from serctl.reports.plots import plot_confusion, plot_history, plot_reliability, plot_speakers
from serctl.reports.schema import NO_SPEECH, Column
from serctl.reports.tables import write_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.corpora import Utterance
    from serctl.metrics import Scores
    from serctl.metrics.evaluation import AnyEvaluation

PREDICTIONS = "predictions.parquet"
DESCRIBED = ("path", "fold", "corpus", "speaker", "gender", "language")
"""What the table of predictions says of an utterance."""

_TRUTH = "truth \\ predicted"


@dataclass(frozen=True)
class Tested:
    """Tested utterances.

    Attributes:
        truth: index of the class of each, or its number; shape (n,).
        probabilities: float64, shape (n, outputs), NaN without speech.
        folds: the fold that each was tested in.
    """

    utterances: tuple[Utterance, ...]
    truth: NDArray[Any]
    probabilities: NDArray[np.float64]
    folds: tuple[str, ...]

    @property
    def with_speech(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Truth and probabilities of the utterances in which speech was found: the others have no confidence."""
        spoken = ~np.isnan(self.probabilities).all(axis=1)
        return self.truth[spoken], self.probabilities[spoken]

    @property
    def groups(self) -> dict[str, list[str | None]]:
        """By what else the scores are told, with the value of each utterance."""
        return {
            "per_speaker": [utterance.speaker_id for utterance in self.utterances],
            "per_gender": [utterance.gender for utterance in self.utterances],
            "per_language": [utterance.language for utterance in self.utterances],
            "per_corpus": [utterance.corpus for utterance in self.utterances],
        }

    def described(self) -> dict[str, Any]:
        """The columns of DESCRIBED."""
        return {
            "path": [str(each.path) for each in self.utterances],
            "fold": list(self.folds),
            "corpus": [each.corpus for each in self.utterances],
            "speaker": [each.speaker for each in self.utterances],
            "gender": [each.gender for each in self.utterances],
            "language": [each.language for each in self.utterances],
        }


@dataclass(frozen=True)
class EmotionResults:
    """The results of an evaluation of emotions; classes: what the columns of the probabilities stand for."""

    tested: Tested
    classes: tuple[str, ...]
    seed: int

    @cached_property
    def scores(self) -> Scores:
        """All scores, with their intervals."""
        tested = self.tested
        speakers = tested.groups["per_speaker"]
        return score(tested.truth, tested.probabilities, classes=self.classes, groups=speakers, seed=self.seed)

    def facts(self, about: Mapping[str, Any]) -> EvaluationFacts:
        """Return what metrics.json says; about: all but the scores, by the name of its field."""
        tested = self.tested
        by_group = {
            name: score_by(values, tested.truth, tested.probabilities, classes=self.classes)
            for name, values in tested.groups.items()
        }
        scores = {**self.scores.to_dict(), "risk_at_coverage": _risks(tested), **by_group}
        return read_record(EvaluationFacts, {**about, **scores})

    def write(self, folder: Path, about: Mapping[str, Any]) -> EvaluationFacts:
        """Write the tables, plots and pages, and return what metrics.json says; about: see `facts`."""
        facts = self.facts(about)
        _write_tables(folder, self.tested, self.scores)
        _write_plots(folder, self.tested, self.scores, facts)
        (folder / "report.md").write_text(evaluation_page(facts, self.scores), encoding="utf-8")
        write_evaluation_page(folder, facts, self.scores)
        return facts


def plot_first_fold(folder: Path, facts: AnyEvaluation, title: str) -> None:
    """Draw the learning curve of the first fold of a cross-validation."""
    if facts.per_fold:
        fold = facts.per_fold[0]
        history_title = f"{title}: fold {fold.fold}"
        plot_history(folder / "history.png", fold.history, best_epoch=fold.best_epoch, title=history_title)


def title_of(facts: AnyEvaluation) -> str:
    """Return the title of the plots."""
    protocol = "" if facts.model else f", {facts.protocol.name}"
    return f"{subject(facts)}{protocol}, {' + '.join(facts.corpus)}"


def _risks(tested_part: Tested) -> dict[str, float]:
    """Share of errors among the most confident half, 80 % and all of the predictions."""
    truth, probabilities = tested_part.with_speech
    if not len(truth):
        return {}
    coverage, risk = coverage_risk(probabilities, truth)
    return {f"{share:g}": float(risk[np.searchsorted(coverage, share - 1e-9)]) for share in (0.5, 0.8, 1.0)}


def _write_tables(output: Path, tested_part: Tested, scores: Scores) -> None:
    classes = scores.classes
    columns = [
        *(Column(name, "text") for name in (*DESCRIBED, "emotion", "predicted")),
        *(Column(f"p_{emotion}") for emotion in classes),
    ]
    write_report(output / PREDICTIONS, columns=columns, tables=[_predictions(tested_part, classes)])
    counts = {emotion: scores.confusion[:, index] for index, emotion in enumerate(classes)}
    columns = [Column(_TRUTH, "text"), *(Column(emotion, "int") for emotion in classes)]
    write_report(output / "confusion.csv", columns=columns, tables=[{_TRUTH: list(classes), **counts}])


def _predictions(tested_part: Tested, classes: Sequence[str]) -> dict[str, Any]:
    """The table of all tested utterances."""
    probabilities = {f"p_{emotion}": tested_part.probabilities[:, index] for index, emotion in enumerate(classes)}
    return {
        **tested_part.described(),
        "emotion": [classes[label] for label in tested_part.truth],
        "predicted": [NO_SPEECH if np.isnan(row).all() else classes[row.argmax()] for row in tested_part.probabilities],
        **probabilities,
    }


def _write_plots(output: Path, tested_part: Tested, scores: Scores, facts: EvaluationFacts) -> None:
    title = title_of(facts)
    plot_confusion(output / "confusion.png", scores.confusion, scores.classes, title=title)
    truth, probabilities = tested_part.with_speech
    if len(truth):
        curve = reliability_curve(probabilities, truth)
        plot_reliability(output / "reliability.png", curve, ece=scores.ece, title=title)
    if len(facts.per_speaker) > 1:
        plot_speakers(output / "speakers.png", facts.per_speaker, title=title)
    plot_first_fold(output, facts, title)
