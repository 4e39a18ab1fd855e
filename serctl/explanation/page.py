"""Explanations as one HTML page: nothing is fetched, nothing runs, every text is escaped."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from serctl.explanation.charts import bars_over_time, curves, heat_map
from serctl.explanation.quantity import Quantity
from serctl.explanation.words import (
    agreement_words,
    answer_words,
    change_words,
    name_of,
    novelty_words,
    order_words,
    speak_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from serctl.explanation.groups import Contributions
    from serctl.explanation.recording import Explanation

_ANSWER_TITLE = '<th scope="col">answer</th>'
_STYLE = """
:root{color-scheme:light dark;--text:#1a1a1a;--soft:#595959;--back:#fff;--card:#f4f5f7;--line:#c8ccd2;
--for:#0072b2;--against:#b34700}
@media(prefers-color-scheme:dark){:root{--text:#ececec;--soft:#b4b4b4;--back:#15171a;--card:#212429;--line:#4a4f57;
--for:#56b4e9;--against:#f0a05a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:64rem;font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere;
color:var(--text);background:var(--back)}
h1{font-size:1.4rem;line-height:1.25}h2{font-size:1.25rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:0 0 .5rem}
p{margin:.4rem 0}ul{padding-left:1.2rem;margin:.3rem 0}
.answer{font-size:1.15rem}
.soft,figcaption{color:var(--soft);font-size:.9rem}
.warn{border-left:4px solid var(--against);padding-left:.6rem}
.cards{columns:20rem 2;column-gap:1rem}
.card{background:var(--card);border-radius:.5rem;padding:.9rem;margin:0 0 1rem;break-inside:avoid}
svg{display:block;width:100%;max-width:32rem;height:auto}svg text{font-size:13px;fill:var(--text)}
.for{fill:var(--for);background:var(--for)}.against{fill:var(--against);background:var(--against)}
.axis{stroke:var(--soft);fill:none}.line{fill:none;stroke-width:2.5}
.deletion{stroke:var(--against)}.insertion{stroke:var(--for)}.random{stroke:var(--soft);stroke-dasharray:5 4}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:.25rem .4rem;border-bottom:1px solid var(--line);vertical-align:top}
tbody th{font-weight:400}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{display:inline-block;height:.7rem;min-width:1px;border-radius:2px}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.3rem;vertical-align:-1px}
@media print{.card{border:1px solid var(--line)}}
"""

_METHOD = """
<section><h2>How to read this page</h2><ul>
<li>Parts are hidden by noise that has the spectrum of the recording. The importance of a part is how much the
probability (or the number) falls when it is hidden, on average over what else is hidden already.</li>
<li>Groups of features are set to the mean of the training recordings, in every combination. The points of the groups
add up to the difference between the two answers.</li>
<li>Changed speech is made by resynthesis of the window, which adds slight artefacts of its own.</li>
<li>This says why the model answers so. It does not say what a person feels, nor that the answer is right.</li>
</ul></section>
"""

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
"""
"""The policy forbids scripts and every request, whatever a text on the page may say."""


def make_page(explanations: Sequence[Explanation], failures: Sequence[tuple[str, str]] = ()) -> str:
    """Make the page.

    Args:
        explanations: in the order of the page.
        failures: path and error of recordings that have none.

    Returns:
        HTML, complete in itself.
    """
    title = f"Why {name_of(explanations[0])}" if len(explanations) == 1 else f"Why: {len(explanations)} recordings"
    body = [f"<h1>{_safe(title)}</h1>", _contents(explanations), _failures(failures)]
    alone = len(explanations) == 1
    body += [_recording(each, number, alone=alone) for number, each in enumerate(explanations)]
    head = f"{_HEAD}<title>{_safe(title)}</title><style>{_STYLE}</style></head>"
    return f"{head}\n<body><main>{''.join(body)}{_METHOD}</main></body></html>\n"


def _safe(text: str) -> str:
    return escape(text)


def _contents(explanations: Sequence[Explanation]) -> str:
    if len(explanations) < 2:
        return ""
    items = [
        f'<li><a href="#r{number}">{_safe(name_of(each))}</a>: '
        f"{_safe(each.answer)} {each.quantity.shown(each.confidence)}</li>"
        for number, each in enumerate(explanations)
    ]
    return f'<nav aria-label="Recordings"><ul>{"".join(items)}</ul></nav>'


def _failures(failures: Sequence[tuple[str, str]]) -> str:
    if not failures:
        return ""
    items = [f"<li>{_safe(path)}: {_safe(error)}</li>" for path, error in failures]
    return f'<section class="warn"><h2>Not explained</h2><ul>{"".join(items)}</ul></section>'


def _recording(each: Explanation, number: int, *, alone: bool) -> str:
    moments = [_course(each), _time(each), _attention(each), _map(each)]
    cards = [*moments, _groups(each), _changes(each), _trust(each)]
    parts = [
        "" if alone else f"<h2>{_safe(name_of(each))}</h2>",
        f'<p class="answer">{_safe(answer_words(each))}</p>',
        _paragraphs(change_words(each)),
        _paragraphs(novelty_words(each), style="warn"),
        f'<p class="soft">{_safe(each.path)}, model {_safe(each.model)}</p>',
        f'<div class="cards">{"".join(cards)}</div>',
    ]
    return f'<section id="r{number}">{"".join(parts)}</section>'


def _paragraphs(texts: Iterable[str], *, style: str = "") -> str:
    return "".join(f'<p class="{style}">{_safe(text)}</p>' for text in texts)


def _card(title: str, content: str, caption: str = "") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="card"><h3>{_safe(title)}</h3>{content}{below}</figure>'


def _course(each: Explanation) -> str:
    """The windows of the recording; nothing where there is only one."""
    if len(each.window_start_s) < 2:
        return ""
    values = [0.0 if math.isnan(value) else value for value in each.window_probability]
    edges = (*each.window_start_s, each.window_end_s[-1])
    title = f"{each.emotion if each.scale else f'Probability of {each.emotion}'} in each window"
    caption = f"The rest is about the window from {each.start_s:.1f} to {each.end_s:.1f} s."
    return _card(title, bars_over_time(edges, values, label=title, shown=each.quantity.shown), caption)


def _time(each: Explanation) -> str:
    title = f"Which moments {speak_for(each)}"
    less, more = ("makes {} less likely", "more likely") if each.scale is None else ("lowers {}", "raises it")
    caption = f"{_key('for')}hiding it {less.format(_safe(each.emotion))}. {_key('against')}{more}."
    bars = bars_over_time(each.edges_s, each.importance, label=title, shown=each.quantity.shown)
    return _card(title, bars, caption)


def _attention(each: Explanation) -> str:
    """The weights of the moments; nothing for a network that keeps none."""
    if not each.attention:
        return ""
    title = "Where the network looks"
    caption = "Its attention: the weight of each moment in its average over time. It does not say for which emotion."
    return _card(title, _bars_of_attention(each, title), caption)


def _bars_of_attention(each: Explanation, title: str) -> str:
    return bars_over_time(each.attention_edges_s, each.attention, label=title, shown=Quantity(()).shown)


def _map(each: Explanation) -> str:
    title = "Which moments and frequencies"
    most = max(abs(value) for row in each.band_importance for value in row)
    moved = f"moves the {_safe(each.quantity.name)} by {each.quantity.shown(most)}"
    caption = f"Each cell hidden alone; the darkest {moved}. Frequencies in kHz."
    return _card(title, heat_map(each.edges_s, each.edges_hz, each.band_importance, label=title), caption)


def _key(style: str) -> str:
    return f'<span class="key {style}"></span>'


def _groups(each: Explanation) -> str:
    title = f"Which features {speak_for(each)}"
    if each.contributions is None:
        return _card(title, "<p>This model takes the spectrogram as it is: it has no features with names.</p>")
    found = each.contributions
    average, here = each.quantity.shown(found.reference), each.quantity.shown(each.probability)
    caption = f"From {average} for a recording that is average in everything to {here} in the window."
    return _card(title, _group_table(found, each.quantity), caption)


def _group_table(found: Contributions, quantity: Quantity) -> str:
    most = max((abs(group.points) for group in found.groups), default=1) or 1
    rows = [
        f'<tr><th scope="row">{_safe(group.group)}</th><td class="n">{quantity.shown_in_points(group.points)}</td>'
        f'<td style="width:35%"><span class="bar {"for" if group.points >= 0 else "against"}" '
        f'style="width:{100 * abs(group.points) / most:.0f}%"></span></td></tr>'
        for group in found.groups
    ]
    unit = "change" if quantity.scale else "points"
    return _table(f'<th scope="col">group</th><th scope="col" class="n">{unit}</th><td></td>', rows)


def _table(titles: str, rows: Sequence[str]) -> str:
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _changes(each: Explanation) -> str:
    rows = []
    for change in each.counterfactuals:
        answer = f"{_safe(change.emotion)} {each.quantity.shown(change.confidence)}"
        shown = f"<strong>{answer}</strong>" if change.emotion != each.window_answer else answer
        rows.append(
            f'<tr><th scope="row">{_safe(change.quality)} {_safe(change.change)}</th>'
            f"{'' if each.scale else f'<td>{shown}</td>'}"
            f'<td class="n">{each.quantity.shown(change.probability)}</td></tr>'
        )
    titles = (
        f'<th scope="col">change</th>{"" if each.scale else _ANSWER_TITLE}'
        f'<th scope="col" class="n">{_safe(each.emotion)}</th>'
    )
    before = each.quantity.shown(each.probabilities[each.window_answer])
    caption = f"Unchanged, the window is {_safe(each.window_answer)} {before}."
    return _card("What if it were said differently", _table(titles, rows), caption)


def _trust(each: Explanation) -> str:
    found, quantity = each.faithfulness, each.quantity
    lines = (("random", found.random), ("deletion", found.deletion), ("insertion", found.insertion))
    label = f"{quantity.name.capitalize()} as parts are hidden or shown"
    points = "".join(f"<li>{_safe(text)}</li>" for text in (order_words(found, quantity), *agreement_words(found)))
    caption = (
        f"{_key('against')}hiding the most important first. {_key('for')}showing the most important first. "
        "Dashed: hiding in random order."
    )
    drawn = curves(lines, bounds=quantity.bounds, label=label, shown=quantity.shown)
    return _card("How far to trust this", f"{drawn}<ul>{points}</ul>", caption)
