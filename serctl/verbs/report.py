"""Make a page of a report, or of a prediction as it ends."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from serctl.bundle.store import load_bundle
from serctl.errors import AudioError, BundleError, ConfigError
from serctl.files import atomic_path, check_new_file
from serctl.reports.html import Page, write_page
from serctl.reports.ranges import Ranges, find_ranges
from serctl.reports.schema import headers, row_count, values_of
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from serctl.bundle.facts import BundleFacts
    from serctl.bundle.store import Bundle
    from serctl.metrics import Scale
    from serctl.reports.schema import Columns, Table

LIMITS = (
    "The model recognises how acted speech sounds. It does not know what a person feels: make no decisions about "
    "people with it.",
    "Expect more errors on spontaneous speech, over the telephone, and in languages that it was not trained on. "
    "Listen before you draw a conclusion, and measure on labelled recordings of your own.",
    "A confidence of 70 % means: about 70 % of such answers were right on the recordings that the model was calibrated "
    "on. On others it may be too sure.",
)

SOUND_RATE = 16_000
"""Sample rate of embedded recordings, in Hz: that of the models."""


def make_page(
    report: Path,
    output: Path,
    *,
    recordings: Path | None = None,
    embed_audio: bool = False,
    overwrite: bool = False,
) -> None:
    """Make a page of a finished report.

    Args:
        report: CSV, Parquet or JSON Lines, of predict.
        output: the page to write.
        recordings: the folder that the recordings are in; None if the paths of the report lead to them from here.
        embed_audio: put the recordings into the page, instead of links to them.
        overwrite: replace a page that exists.

    Raises:
        ConfigError: the file is no report of predict; the page exists or cannot be written.
        MissingExtraError: the report is in Parquet, and pyarrow is not installed.
    """
    check_page(output, overwrite=overwrite)
    if recordings and not os.path.isdir(recordings):  # noqa: PTH112 - is_dir raises for a NUL
        raise ConfigError(f"{recordings} is no folder: expected that of the recordings")
    rows = _read(report)
    model = next((str(row["model"]) for row in rows if row.get("model")), "")
    with atomic_path(output) as draft:
        write_page(draft, rows, describe(model, output, recordings, embed_audio, find_ranges(rows)))


def check_page(output: Path, *, overwrite: bool) -> None:
    """Make sure that a page can be written. Raises ConfigError if its name is another, or it exists."""
    if output.suffix.lower() != ".html":
        raise ConfigError(f"expected a page ending in .html. Received: {output}")
    check_new_file(output, overwrite=overwrite)


def _read(report: Path) -> list[dict[str, Any]]:
    try:
        rows = read_report(report)
    except OSError as error:
        raise ConfigError(f"{report}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{report} is not a report of predict: {error}") from error
    needed = {"path", "start", "end", "emotion", "status"}
    if rows and isinstance(rows[0], dict) and find_ranges(rows):
        needed -= {"emotion"}
    if not rows or not isinstance(rows[0], dict) or not needed <= rows[0].keys():
        raise ConfigError(f"{report} is not a report of predict: expected the columns {', '.join(sorted(needed))}")
    return rows


def write_prediction(
    path: Path,
    *,
    columns: Columns,
    tables: Iterable[Table],
    output: Path,
    embed_audio: bool = False,
    scale: Scale | None = None,
) -> None:
    """Write the page of a prediction.

    Args:
        path: the draft of the output.
        columns: of the report.
        tables: of the report.
        output: the page.
        embed_audio: put the recordings into it.
        scale: of a model of numbers.
    """
    rows = list(_rows(columns, tables))
    model = next((str(row["model"]) for row in rows if row.get("model")), "")
    ranges = Ranges(scale.name, scale.low, scale.high) if scale else None
    write_page(path, rows, describe(model, output, None, embed_audio, ranges))


def _rows(columns: Columns, tables: Iterable[Table]) -> Iterator[dict[str, Any]]:
    names = headers(columns)
    for table in tables:
        count = row_count(table)
        for row in zip(*(values_of(name, table, count) for name in names), strict=True):
            yield dict(zip(names, row, strict=True))


def describe(
    model: str, output: Path, recordings: Path | None, embed_audio: bool, ranges: Ranges | None = None
) -> Page:
    """Return what a page says besides its rows.

    Args:
        model: identity of the model, as the report has it.
        output: the page, which links are relative to.
        recordings: the folder that the recordings are in; None if their paths lead to them from here.
        embed_audio: put the recordings into the page.
        ranges: of a report of numbers.
    """
    find = partial(_find, recordings=recordings)
    bundle = _bundled(model)
    about = (("Model", model or "not known"), *(_described(bundle.facts) if bundle else ()))
    # The last of the limits is of a confidence, which a number has not.
    page = Page(about, LIMITS[:-1] if ranges else LIMITS, model=bundle.facts.name if bundle else "", ranges=ranges)
    if embed_audio:
        return replace(page, sound=lambda path: _encoded(find(path)))
    return replace(page, link=lambda path: _address(find(path), output))


def _bundled(model: str) -> Bundle | None:
    """The bundled model of this identity; None if it is another model."""
    try:
        bundle = load_bundle(model.split("@")[0])
    except BundleError:
        return None
    return bundle if bundle.bundled and bundle.identity == model else None


def _described(facts: BundleFacts) -> Iterator[tuple[str, str]]:
    yield "Emotions", ", ".join(facts.labels)
    trained = [f"{each.name} ({', '.join(each.languages) or '?'})" for each in facts.training.corpora]
    yield "Trained on", "; ".join(trained) or "not known"
    scored = facts.metrics.get("cross_validation") or facts.metrics.get("validation")
    if scored:
        yield "Tested", f"UAR {100 * scored.uar:.0f} % on {scored.n:,} utterances: {scored.protocol.description}"
    if (unlike := facts.metrics.get("left_out")) and (corpora := unlike.per_corpus.values()):
        uar = 100 * mean(each.uar for each in corpora)
        yield "On other corpora", f"mean UAR {uar:.0f} % on {len(corpora)}, each left out in turn"
    yield "Licence", facts.licence


def _find(path: str, recordings: Path | None) -> Path | None:
    """Where a recording is: at its path from here, or in the folder, at its path there or the longest end of it."""
    if recordings is None:
        return Path(path) if os.path.isfile(path) else None  # noqa: PTH113 - is_file raises for a NUL
    parts = Path(path).parts
    for first in range(len(parts)):
        candidate = recordings.joinpath(*parts[first:])
        if ".." not in parts[first:] and os.path.isfile(candidate):  # noqa: PTH113
            return candidate
    return None


def _address(recording: Path | None, output: Path) -> str | None:
    if recording is None:
        return None
    relative = os.path.relpath(recording.resolve(), output.parent.resolve())
    # A first part with a colon would be taken for a scheme.
    return "./" + quote(os.fsencode(Path(relative).as_posix()))


def _encoded(recording: Path | None) -> bytes | None:
    """The recording as MP3, mono; None if it cannot be read."""
    if recording is None:
        return None
    import soundfile

    from serctl.audio.segments import read_audio

    try:
        samples = read_audio(recording, sample_rate=SOUND_RATE)
    except AudioError:
        return None
    stream = io.BytesIO()
    soundfile.write(stream, samples, SOUND_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return stream.getvalue()
