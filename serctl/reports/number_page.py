"""The pages of an evaluation of numbers, in Markdown and in HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.reports.evaluation import GROUPS, group_section, table, write_scored_page
from serctl.reports.markdown import left_out, made_with, shared, stamp, subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from serctl.metrics import NumberScores
    from serctl.metrics.evaluation import NumberEvaluationFacts, NumberGroup

TITLES = {"mae": "Mean absolute error (MAE)", "ccc": "Concordance (CCC)", "pearson": "Pearson's r"}
"""What each score is called."""


def number_page(facts: NumberEvaluationFacts, scores: NumberScores) -> str:
    """Return the Markdown page of an evaluation of numbers.

    Args:
        facts: content of metrics.json.
        scores: the scores that it was made from.
    """
    groups = {"corpus": facts.per_corpus, "language": facts.per_language, "gender": facts.per_gender}
    lines = [
        f"# {facts.target} by {subject(facts)} on {', '.join(facts.corpus)}",
        f"Protocol `{facts.protocol.name}`: {facts.protocol.description}.",
        f"**{stamp(facts)}**",
        _rows(("score", "value", "95 % interval"), score_rows(scores)),
        made_with(scores.n, facts),
        shared(facts),
        f"Left out: {left_out(facts)}. {_silent(scores)}",
        *(_rows((title, "n", "MAE", "CCC", "r"), _group_rows(each)) for title, each in groups.items() if each),
        "![Numbers](numbers.png)",
    ]
    return "\n\n".join(lines) + "\n"


def write_number_page(folder: Path, facts: NumberEvaluationFacts, scores: NumberScores) -> None:
    """Write the HTML page of an evaluation of numbers into its folder; see reports.evaluation."""
    sections = [
        group_section(title, table((title, "n", "MAE", "CCC", "r"), _group_rows(scored)))
        for name, title in GROUPS.items()
        if (scored := getattr(facts, name))
    ]
    told = [(f"{title}, with its 95 % interval", f"{value} ({span})") for title, value, span in score_rows(scores)]
    write_scored_page(
        folder,
        facts,
        scores=[*told, ("Utterances", f"{scores.n:,}")],
        left_out=f"Left out: {left_out(facts)}. {_silent(scores)}",
        sections=sections,
    )


def score_rows(scores: NumberScores) -> list[tuple[str, str, str]]:
    """Return the title, the value and the interval of each score."""
    return [
        (
            title,
            f"{getattr(scores, name):.3f}",
            f"{interval.low:.3f} to {interval.high:.3f}, over {interval.unit}s",
        )
        for name, title in TITLES.items()
        for interval in (scores.intervals[name],)
    ]


def _silent(scores: NumberScores) -> str:
    return f"No speech was found in {scores.no_speech} utterances: they have no prediction and are in no score."


def _group_rows(groups: Mapping[str, NumberGroup]) -> list[tuple[str, ...]]:
    return [(name, str(each.n), *map(_number, (each.mae, each.ccc, each.pearson))) for name, each in groups.items()]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
