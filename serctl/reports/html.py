"""A report as one HTML page: self-contained, nothing fetched; for a colleague, on a screen, a phone or paper.

Charts are plain HTML and CSS: all that is drawn are stacked and coloured bars, which need no library, scale with the
text and can be read by a screen reader. The template, its style and its script are in the folder `page`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from serctl import __version__
from serctl.reports.ranges import RANGE_COLOURS
from serctl.reports.schema import NO_SPEECH, UNCERTAIN
from serctl.reports.summary import FACTS, WARNINGS, Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from serctl.reports.ranges import Ranges

NAMED_COLOURS = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised", "calm")
"""Emotions with a colour of their own: the palette of Okabe and Ito (2008), told apart by the colour-blind."""


@dataclass(frozen=True)
class Page:
    """What a page says besides the rows of its report.

    Attributes:
        about: of the model: terms and what they mean here.
        limits: sentences on what the answers are worth.
        link: the address of a recording relative to the page, by its path in the report; None where it has none.
        sound: the recording as MP3 to embed, by its path; None where it has none.
        model: name of the bundled model that answered, for the command that explains an answer; empty if it is another.
        ranges: of the number that the report has instead of emotions; None for one of emotions.
    """

    about: tuple[tuple[str, str], ...] = ()
    limits: tuple[str, ...] = ()
    link: Callable[[str], str | None] = lambda _: None
    sound: Callable[[str], bytes | None] = lambda _: None
    model: str = ""
    ranges: Ranges | None = None

    def colour_of(self, emotion: str) -> str:
        """Return the name of the colour of an emotion, or of a range, in page.css."""
        if self.ranges and emotion in self.ranges.names:
            return RANGE_COLOURS[self.ranges.names.index(emotion)]
        return colour_of(emotion)


def write_page(path: Path, rows: Iterable[Mapping[str, Any]], page: Page) -> None:
    """Write the page of a report.

    Args:
        path: the file.
        rows: of the report, as read_report returns them; those of one recording follow each other.
        page: what the page says besides.
    """
    summary = summarise(rows, page.ranges)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
        stream.write(_render(summary, page))


def _render(summary: Summary, page: Page) -> str:
    style, script = page_part("page.css"), page_part("page.js")
    sounds = dict(_sounds(summary, page))
    nothing_checked = len(summary.unchecked) == len(WARNINGS)
    return Template(page_part("page.html")).substitute(
        head=page_head(summary.title, style, script),
        title=escape(summary.title),
        made=escape(f"Made on {datetime.now().astimezone():%Y-%m-%d %H:%M} with serctl {__version__}"),
        totals="".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in summary.totals),
        shares="".join(_share(emotion, share, page.colour_of(emotion)) for emotion, share in summary.shares.items()),
        course_title=escape(summary.course_title),
        legend="".join(f"<li>{_swatch(page.colour_of(emotion))}{escape(emotion)}</li>" for emotion in summary.emotions),
        chart="".join(_bar(index, mark, shares, page) for index, (mark, shares) in enumerate(summary.course)),
        course_table=_table(summary),
        answer="Range" if page.ranges else "Emotion",
        heading=escape(page.ranges.name.capitalize()) if page.ranges else "Emotion",
        figure=escape(page.ranges.name.capitalize()) if page.ranges else "Confidence",
        about="".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in page.about),
        limits="".join(f"<li>{escape(each)}</li>" for each in page.limits),
        unchecked=_unchecked(summary.unchecked),
        warned="" if nothing_checked else '<option value="warned">with a warning</option>',
        warnings="Errors" if nothing_checked else "Warnings",
        data=_packed(summary, page, list(sounds)),
        sounds="\n".join(
            f'<script type="application/octet-stream" id="sound-{number}">{text}</script>'
            for number, text in enumerate(sounds.values())
        ),
        script=script,
    )


def page_part(name: str) -> str:
    """Return a file of the folder `page`."""
    return files("serctl.reports").joinpath("page", name).read_text(encoding="utf-8")


def page_head(title: str, style: str, script: str = "") -> str:
    """Return the start of a page up to its body.

    Args:
        title: a text.
        style: the style of the page.
        script: its script, as it stands in the page; empty without one.
    """
    return Template(page_part("head.html")).substitute(
        policy=_policy(style, script), version=escape(__version__), title=escape(title), style=style
    )


def _policy(style: str, script: str) -> str:
    """What the browser lets a page do: its own style, script and pictures, recordings beside it, nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    scripts = f"'sha256-{hashes[1]}'" if script else "'none'"
    return (
        f"default-src 'none'; style-src-elem 'sha256-{hashes[0]}'; style-src-attr 'unsafe-inline'; "
        f"script-src {scripts}; img-src data:; media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def colour_of(emotion: str) -> str:
    """Return the name of the colour of an emotion in page.css."""
    special = {NO_SPEECH: "none", UNCERTAIN: "uncertain"}
    return special.get(emotion, emotion if emotion in NAMED_COLOURS else "other")


def _swatch(colour: str) -> str:
    return f'<span class="swatch" style="background:var(--{colour})"></span>'


def _share(emotion: str, share: float, colour: str) -> str:
    filled = f'<i style="width:{100 * share:.1f}%;background:var(--{colour})"></i>'
    return f'<li><b>{escape(emotion)}</b><span class="track">{filled}</span><span>{100 * share:.1f} %</span></li>'


def _bar(index: int, mark: str, shares: Mapping[str, float], page: Page) -> str:
    parts = "".join(
        f'<i style="height:{100 * share:.1f}%;background:var(--{page.colour_of(emotion)})"></i>'
        for emotion, share in shares.items()
        if share  # its line would shift the others
    )
    even = " even" if index % 2 else ""
    return f'<div><div class="bar">{parts}</div><div class="mark{even}">{escape(mark)}</div></div>'


def _unchecked(names: Sequence[str]) -> str:
    """The sentence on the warnings that the report does not tell; empty if it tells all."""
    named = ", ".join(f"{WARNINGS[name][0]} ({name})" for name in names)
    return f"<p>Not checked, because the report does not have these values: {escape(named)}.</p>" if names else ""


def _table(summary: Summary) -> str:
    named = [emotion for emotion in summary.emotions if emotion != NO_SPEECH]
    head = "".join(f'<th scope="col" class="number">{escape(each)}</th>' for each in named)
    lines = [f'<tr><th scope="col">{escape(summary.course_unit)}</th>{head}</tr>']
    for mark, shares in summary.course:
        cells = "".join(f'<td class="number">{100 * shares.get(each, 0):.0f} %</td>' for each in named)
        lines.append(f'<tr><th scope="row">{escape(mark)}</th>{cells}</tr>')
    return "".join(lines)


def _packed(summary: Summary, page: Page, sounds: list[str]) -> str:
    """What the script shows, as JSON, compressed; base64 has no character that could end the element it is in."""
    recordings = []
    numbers = {path: number for number, path in enumerate(sounds)}
    for each in summary.recordings:
        entry = {name: value for name, value in asdict(each).items() if name != "path"}
        sound = {"sound": numbers[each.path]} if each.path in numbers else {"link": page.link(each.path)}
        recordings.append(entry | sound)
    data = {
        "entries": summary.entries,
        "model": page.model,
        "numbers": page.ranges is not None,
        "emotions": summary.emotions,
        "colours": [page.colour_of(emotion) for emotion in summary.emotions],
        "warnings": [list(texts) for texts in WARNINGS.values()],
        "facts": list(FACTS.values()),
        "recordings": recordings,
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("ascii"), mtime=0)).decode("ascii")


def _sounds(summary: Summary, page: Page) -> Iterator[tuple[str, str]]:
    """The recordings to embed, by their path; each once, however many channels are shown."""
    for path in dict.fromkeys(each.path for each in summary.recordings if not each.error):
        sound = page.sound(path)
        if sound is not None:
            yield path, base64.b64encode(sound).decode("ascii")
