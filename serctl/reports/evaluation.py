"""The page of an evaluation in HTML: the scores of report.md with tables and plots, in one file."""

from __future__ import annotations

import base64
from html import escape
from string import Template
from typing import TYPE_CHECKING

from serctl.reports.html import page_head, page_part
from serctl.reports.markdown import stamp, subject
from serctl.texts import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from serctl.metrics import Scores
    from serctl.metrics.evaluation import AnyEvaluation, EvaluationFacts
    from serctl.metrics.facts import GroupScores

EVALUATION_PAGE = "report.html"

_PLOTS = {
    "numbers.png": "Predicted numbers against the truth: on the diagonal, both are equal",
    "reliability.png": "Confidence against accuracy: on the diagonal, a confidence of 70 % is right in 70 %",
    "speakers.png": "The score of each speaker",
    "history.png": "The learning curve of the first fold",
}
"""What each plot shows, by its file."""

GROUPS = {
    "per_speaker": "Speakers",
    "per_corpus": "Corpora",
    "per_language": "Languages",
    "per_gender": "Genders",
}
"""By what else scores are told, with the title of their table."""

_CLASS_HEAD = ("emotion", "n", "recall", "precision", "F1")


def write_evaluation_page(folder: Path, facts: EvaluationFacts, scores: Scores) -> None:
    """Write the page of an evaluation into its folder, with the plots that are there.

    Args:
        folder: of the evaluation.
        facts: content of metrics.json.
        scores: the scores that it was made from.
    """
    emotions = _section("Emotions", "Scores of each emotion", table(_CLASS_HEAD, _class_rows(facts)))
    confusion = _section(
        "Confusion",
        "Confusion matrix",
        _confusion(scores),
        "Rows are the truth, columns what was predicted; in percent of the row.",
    )
    groups = [_group(title, scored) for name, title in GROUPS.items() if (scored := getattr(facts, name))]
    write_scored_page(
        folder,
        facts,
        scores=_scores(scores),
        left_out=_left_out(facts, scores),
        sections=[emotions, confusion, *groups],
    )


def write_scored_page(
    folder: Path,
    facts: AnyEvaluation,
    *,
    scores: Iterable[tuple[str, str]],
    left_out: str,
    sections: Iterable[str],
) -> None:
    """Write the page of an evaluation of emotions or of numbers.

    Args:
        folder: of the evaluation; its plots are shown.
        facts: content of metrics.json.
        scores: names and values.
        left_out: what was not tested.
        sections: HTML.
    """
    style = page_part("page.css")
    protocol, made = facts.protocol, f"Made on {facts.created}, seed {facts.seed}"
    plots = [_plot(folder / name, told) for name, told in _PLOTS.items() if (folder / name).is_file()]
    title = f"{subject(facts)} on {', '.join(facts.corpus)}"
    text = Template(page_part("evaluation.html")).substitute(
        head=page_head(title, style),
        title=escape(title),
        about=escape(f"Protocol {protocol.name}: {protocol.description}. {made}"),
        stamp=escape(stamp(facts)),
        scores="".join(_term(term, value) for term, value in scores),
        left_out=escape(left_out),
        sections="\n".join([*sections, *plots]),
    )
    (folder / EVALUATION_PAGE).write_text(text, encoding="utf-8", errors="backslashreplace")


def _section(title: str, label: str, content: str, told: str = "") -> str:
    name = title.lower()
    note = f'<p class="quiet">{escape(told)}</p>' if told else ""
    region = f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{note}{region}</section>'


def _term(term: str, value: str) -> str:
    return f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>"


def _percent(value: float | None) -> str:
    return "" if value is None or value != value else f"{100 * value:.1f} %"


def _scores(scores: Scores) -> Iterable[tuple[str, str]]:
    for title, name in (("UAR", "uar"), ("Accuracy (WA)", "wa"), ("Macro-F1", "macro_f1")):
        interval = scores.intervals[name]
        span = f"({100 * interval.low:.1f} to {100 * interval.high:.1f})"
        yield f"{title}, with its 95 % interval", f"{_percent(getattr(scores, name))} {span}"
    yield "Calibration error (ECE)", f"{scores.ece:.3f}"
    yield "Utterances", f"{scores.n:,}"


def _left_out(facts: EvaluationFacts, scores: Scores) -> str:
    failed, other_classes = (facts.left_out.get(name, 0) for name in ("failed", "other_classes"))
    return (
        f"Left out: {counted(failed, 'recording that failed')}, "
        f"{counted(other_classes, 'utterance of other classes')}. "
        f"No speech was found in {counted(scores.no_speech.sum(), 'utterance')}: they count as wrong."
    )


def _class_rows(facts: EvaluationFacts) -> Iterable[Sequence[str]]:
    for name, each in facts.per_class.items():
        yield name, str(each.n), *map(_percent, (each.recall, each.precision, each.f1))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of HTML, the first column of which names the rows."""
    cells = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in head[1:])
    lines = [f'<tr><th scope="col">{escape(head[0])}</th>{cells}</tr>']
    for first, *others in rows:
        numbers = "".join(f'<td class="number">{escape(each)}</td>' for each in others)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{numbers}</tr>')
    return f"<table>{''.join(lines)}</table>"


def _confusion(scores: Scores) -> str:
    counts = scores.confusion
    rows = [
        (name, *(f"{100 * count / max(counts[index].sum(), 1):.0f}" for count in counts[index]))
        for index, name in enumerate(scores.classes)
    ]
    return table(("truth", *scores.classes), rows)


def _group(title: str, groups: Mapping[str, GroupScores]) -> str:
    rows = [(name, str(each.n), *map(_percent, each.rates)) for name, each in groups.items()]
    return group_section(title, table((title, "n", "UAR", "WA", "Macro-F1"), rows))


def group_section(title: str, content: str) -> str:
    """Return a section with a table of groups."""
    label = escape(title)
    region = f'<div class="wide" tabindex="0" role="region" aria-label="{label}">{content}</div>'
    return f"<section><h2>{label}</h2>{region}</section>"


def _plot(path: Path, told: str) -> str:
    image = base64.b64encode(path.read_bytes()).decode("ascii")
    caption = f"<figcaption>{escape(told)}</figcaption>"
    return f'<figure><img alt="{escape(told)}" src="data:image/png;base64,{image}">{caption}</figure>'
