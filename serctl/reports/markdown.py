"""The Markdown pages of an evaluation and of a comparison of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.metrics.facts import Leakage
from serctl.texts import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from serctl.metrics import Comparison, Difference, Scores
    from serctl.metrics.evaluation import AnyEvaluation, EvaluationFacts
    from serctl.metrics.facts import GroupScores

_COMPARED = {"uar": "UAR %", "wa": "WA %", "ece": "ECE", "mae": "MAE", "ccc": "CCC", "pearson": "Pearson's r"}
_INDEPENDENT = "Speaker-independent: training and test share no speaker and no recording"


def evaluation_page(facts: EvaluationFacts, scores: Scores) -> str:
    """Return the Markdown page of an evaluation.

    Args:
        facts: content of metrics.json.
        scores: the scores that it was made from.

    Returns:
        The page.
    """
    lines = [
        f"# {subject(facts)} on {', '.join(facts.corpus)}",
        f"Protocol `{facts.protocol.name}`: {facts.protocol.description}.",
        f"**{stamp(facts)}**",
        "| score | value | 95 % interval |\n|---|---|---|\n" + "\n".join(_score_rows(scores)),
        f"ECE {scores.ece:.3f}. {made_with(scores.n, facts)}",
        shared(facts),
        f"Left out: {left_out(facts)}.",
        f"No speech was found in {scores.no_speech.sum()} of the utterances: they count as wrong.",
        "| emotion | n | recall | precision | F1 |\n|---|---|---|---|---|\n" + "\n".join(_class_rows(facts)),
        *_group_tables(facts),
        "![Confusion matrix](confusion.png)\n\n![Reliability](reliability.png)",
    ]
    return "\n\n".join(lines) + "\n"


def subject(facts: AnyEvaluation) -> str:
    """Return what was evaluated: a model by its name, short digest and architecture, or an architecture."""
    return f"{facts.model} ({facts.architecture})" if facts.model else f"{facts.architecture}"


def made_with(utterances: int, facts: AnyEvaluation) -> str:
    """Return the sentence on the size of an evaluation and its network, and on what was run."""
    return (
        f"{utterances} utterances, {facts.parameters:,} parameters, seed {facts.seed}, serctl {facts.package_version}, "
        f"commit {facts.commit or 'unknown'}."
    )


def shared(facts: AnyEvaluation) -> str:
    """Return the sentences on how many recordings and speakers training and test share."""
    leakage = facts.leakage or Leakage()
    return (
        f"In training as in test, the same or as an augmented copy: {leakage.identical_audio} of "
        f"{leakage.test_utterances} test utterances. Speakers in both: {leakage.speakers_shared}."
    )


def stamp(facts: AnyEvaluation) -> str:
    """Return one sentence on what training and test share, and so whether the scores can be trusted.

    Args:
        facts: content of metrics.json.

    Returns:
        The sentence, without its full stop.
    """
    by_speaker = "; transductive: each speaker's features were normalised over all of their recordings"
    by_corpus = "; adapted: each corpus was normalised by its own recordings, without labels"
    return (
        _shared_with_training(facts) + (by_speaker if facts.transductive else "") + (by_corpus if facts.adapted else "")
    )


def is_warning(text: str) -> bool:
    """Return whether a stamp warns: of shared recordings or speakers, or that nobody can tell."""
    return not text.startswith(_INDEPENDENT)


def left_out(facts: AnyEvaluation) -> str:
    """Return how many utterances were not tested and why; "none" if there are none.

    Args:
        facts: content of metrics.json.

    Returns:
        The counts, without a full stop.
    """
    reasons = {
        "failed": "recording that failed",
        "other_classes": "utterance of other classes",
        "repeated": "utterance whose recording is there already",
    }
    counts = {reason: facts.left_out.get(name, 0) for name, reason in reasons.items()}
    return ", ".join(counted(count, reason) for reason, count in counts.items() if count) or "none"


def _shared_with_training(facts: AnyEvaluation) -> str:
    leakage = facts.leakage or Leakage()
    if leakage.identical_audio:
        return (
            f"Leaky: {leakage.identical_audio} test recordings were also trained on, as they are or as augmented "
            "copies; the scores are worthless"
        )
    if leakage.speakers_shared:
        return f"Speaker-dependent: {leakage.speakers_shared} speakers were also trained on; expect less on new ones"
    unknown = leakage.training_without_speaker or "unknown" in facts.per_speaker
    if unknown or not facts.per_speaker:
        return "Speakers are not known, so nobody can tell whether training and test share some"
    return _INDEPENDENT


def _score_rows(scores: Scores) -> list[str]:
    values = {"UAR": ("uar", scores.uar), "WA": ("wa", scores.wa), "macro-F1": ("macro_f1", scores.macro_f1)}
    rows = []
    for title, (name, value) in values.items():
        interval = scores.intervals[name]
        span = f"{100 * interval.low:.1f} to {100 * interval.high:.1f} (over {interval.unit}s)"
        rows.append(f"| {title} | {100 * value:.1f} % | {span} |")
    return rows


def _class_rows(facts: EvaluationFacts) -> list[str]:
    def percent(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.1f} %"

    return [
        f"| {name} | {each.n} | {percent(each.recall)} | {percent(each.precision)} | {percent(each.f1)} |"
        for name, each in facts.per_class.items()
    ]


def _group_tables(facts: EvaluationFacts) -> list[str]:
    groups = {"corpus": facts.per_corpus, "language": facts.per_language, "gender": facts.per_gender}
    return [_group_table(title, each) for title, each in groups.items() if each]


def _group_table(title: str, groups: Mapping[str, GroupScores]) -> str:
    lines = [f"| {title} | n | UAR | WA | macro-F1 |", "|---|---|---|---|---|"]
    for key, each in groups.items():
        scores = " | ".join("" if score is None else f"{100 * score:.1f} %" for score in each.rates)
        lines.append(f"| {key} | {each.n} | {scores} |")
    return "\n".join(lines)


def comparison_page(comparison: Comparison) -> str:
    """Return the Markdown page of a comparison of two evaluations.

    Args:
        comparison: what verbs.compare found.

    Returns:
        The page.
    """
    interval = next(iter(comparison.scores.values())).interval
    rows = [_difference_row(_COMPARED[name], each, name) for name, each in comparison.scores.items()]
    left_out = f" {comparison.left_out} that only one of them answers are left out." if comparison.left_out else ""
    lines = [
        f"# {comparison.second} against {comparison.first}",
        "\n".join(map(_side, ("First", "Second"), (comparison.first, comparison.second), comparison.stamps)),
        f"{comparison.utterances} utterances.{left_out} {interval.groups} {interval.unit}s were resampled for the "
        "intervals and exchanged for the tests.",
        "| score | first | second | difference (95 % interval) | p |\n|---|---|---|---|---|\n" + "\n".join(rows),
        *(_where_numbers_differ(comparison) if comparison.numbers else _where_emotions_differ(comparison)),
    ]
    return "\n\n".join(lines) + "\n"


def _side(which: str, name: str, text: str) -> str:
    """The line on what the training and the test of one side share; a warning is bold."""
    return f"- {which}, {name}: " + (f"**{text}**" if is_warning(text) else text)


def _where_emotions_differ(comparison: Comparison) -> list[str]:
    only_first, only_second = comparison.disagreements
    return [
        f"Right in the first alone: {only_first} utterances; in the second alone: {only_second}.",
        _pair_table("emotion", "recall %", comparison.per_class, _percent),
        *([_pair_table("speaker", "accuracy %", comparison.per_speaker, _percent)] if comparison.per_speaker else []),
    ]


def _where_numbers_differ(comparison: Comparison) -> list[str]:
    nearer_first, nearer_second = comparison.disagreements
    return [
        f"Nearer in the first: {nearer_first} utterances; in the second: {nearer_second}.",
        *([_pair_table("speaker", "MAE", comparison.per_speaker, _plain)] if comparison.per_speaker else []),
    ]


def _difference_row(title: str, each: Difference, name: str) -> str:
    first, second = (_scaled(value, name) for value in (each.first, each.second))
    gap, low, high = (_scaled(value, name, "+") for value in (each.difference, each.interval.low, each.interval.high))
    return f"| {title} | {first} | {second} | {gap} ({low} to {high}) | {each.p_value:.4f} |"


def _scaled(value: float, name: str, sign: str = "") -> str:
    return (_percent if name in ("uar", "wa") else _plain)(value, sign)


def _percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}"


def _plain(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _pair_table(
    title: str, what: str, values: Mapping[str, tuple[float, float]], show: Callable[..., str], most: int = 20
) -> str:
    head = f"| {title} | {what}, first | second | difference |\n|---|---|---|---|\n"
    rows = [
        f"| {_cell(name)} | {show(one)} | {show(other)} | {show(other - one, '+')} |"
        for name, (one, other) in list(values.items())[:most]
    ]
    rest = [f"| {len(values) - most} more | | | |"] if len(values) > most else []
    return head + "\n".join([*rows, *rest])
