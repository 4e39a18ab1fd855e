"""What an evaluation of numbers writes: scores, a table, plots and pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from serctl.metrics import score_numbers, score_numbers_by
from serctl.metrics.evaluation import NumberEvaluationFacts
from serctl.records import read_record
from serctl.reports.number_page import number_page, write_number_page
from serctl.reports.plots import plot_numbers
from serctl.reports.schema import Column
from serctl.reports.tables import write_report
from serctl.verbs.results import DESCRIBED, PREDICTIONS, plot_first_fold, title_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from serctl.metrics import NumberScores, Scale
    from serctl.verbs.results import Tested


@dataclass(frozen=True)
class NumberResults:
    """The results of an evaluation of numbers; the probabilities are of the bins of the scale."""

    tested: Tested
    scale: Scale
    seed: int

    @cached_property
    def predicted(self) -> NDArray[np.float64]:
        """The predicted numbers, shape (n,); NaN without speech."""
        return self.scale.values(self.tested.probabilities)

    @cached_property
    def scores(self) -> NumberScores:
        """All scores, with their intervals."""
        speakers = self.tested.groups["per_speaker"]
        return score_numbers(self.tested.truth, self.predicted, groups=speakers, seed=self.seed)

    def facts(self, about: Mapping[str, Any]) -> NumberEvaluationFacts:
        """Return what metrics.json says; about: all but the scores, by the name of its field."""
        by_group = {
            name: score_numbers_by(values, self.tested.truth, self.predicted)
            for name, values in self.tested.groups.items()
        }
        scores = {"target": self.scale.name, **self.scores.to_dict(), **by_group}
        return read_record(NumberEvaluationFacts, {**about, **scores})

    def write(self, folder: Path, about: Mapping[str, Any]) -> NumberEvaluationFacts:
        """Write the table, the plots and the pages, and return what metrics.json says; about: see `facts`."""
        facts = self.facts(about)
        name = self.scale.name
        columns = [*(Column(each, "text") for each in DESCRIBED), Column("truth"), Column("predicted")]
        table = {**self.tested.described(), "truth": self.tested.truth, "predicted": self.predicted}
        write_report(folder / PREDICTIONS, columns=columns, tables=[table])
        title = title_of(facts)
        plot_numbers(folder / "numbers.png", self.tested.truth, self.predicted, name=name, title=title)
        plot_first_fold(folder, facts, title)
        (folder / "report.md").write_text(number_page(facts, self.scores), encoding="utf-8")
        write_number_page(folder, facts, self.scores)
        return facts
