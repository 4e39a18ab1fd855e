"""The pages of an evaluation of numbers, in Markdown and in HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.reports.evaluation import GROUPS, group_section, table, write_scored_page
from serctl.reports.markdown import left_out, stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from serctl.metrics import NumberScores

TITLES = {"mae": "Mean absolute error (MAE)", "ccc": "Concordance (CCC)", "pearson": "Pearson's r"}
"""What each score is called."""


def number_page(metrics: Mapping[str, Any], scores: NumberScores) -> str:
    """Return the Markdown page of an evaluation of numbers.

    Args:
        metrics: content of metrics.json.
        scores: the scores that it was made from.
    """
    protocol, leakage = metrics["protocol"], metrics["leakage"]
    lines = [
        f"# {metrics['target']} by {metrics['architecture']} on {', '.join(metrics['corpus'])}",
        f"Protocol `{protocol['name']}`: {protocol['description']}.",
        f"**{stamp(metrics)}**",
        _rows(("score", "value", "95 % interval"), score_rows(scores)),
        f"{scores.n} utterances, {metrics['parameters']:,} parameters, seed {metrics['seed']}, "
        f"serctl {metrics['package_version']}, commit {metrics['commit'] or 'unknown'}.",
        f"In training as in test, the same or as an augmented copy: {leakage['identical_audio']} of "
        f"{leakage['test_utterances']} test utterances. Speakers in both: {leakage['speakers_shared']}.",
        f"Left out: {left_out(metrics)}. {_silent(scores)}",
        *(
            _rows((name.removeprefix("per_"), "n", "MAE", "CCC", "r"), _group_rows(metrics[name]))
            for name in ("per_corpus", "per_language", "per_gender")
            if metrics[name]
        ),
        "![Numbers](numbers.png)",
    ]
    return "\n\n".join(lines) + "\n"


def write_number_page(folder: Path, metrics: Mapping[str, Any], scores: NumberScores) -> None:
    """Write the HTML page of an evaluation of numbers into its folder; see reports.evaluation."""
    sections = [
        group_section(title, table((title, "n", "MAE", "CCC", "r"), _group_rows(metrics[name])))
        for name, title in GROUPS.items()
        if metrics.get(name)
    ]
    told = [(f"{title}, with its 95 % interval", f"{value} ({span})") for title, value, span in score_rows(scores)]
    write_scored_page(
        folder,
        metrics,
        scores=[*told, ("Utterances", f"{scores.n:,}")],
        left_out=f"Left out: {left_out(metrics)}. {_silent(scores)}",
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


def _group_rows(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [(name, str(each["n"]), *(_number(each[score]) for score in TITLES)) for name, each in groups.items()]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
