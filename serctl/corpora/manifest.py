"""Manifests: the one place that knows the columns by which corpora are listed, in reading and in writing."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from serctl.corpora import filename
from serctl.corpora.base import (
    SPLITS,
    Corpus,
    ReadOptions,
    Utterance,
    digest_of_part,
    normalise_emotion,
    unknown_labels,
)
from serctl.corpora.columns import LABEL_COLUMNS, NAMES_OF_FILES, NUMBERS, find_columns
from serctl.corpora.rows import OVERFLOW, read_rows
from serctl.corpora.terms import citation_of, licence_of
from serctl.errors import BadRowError, ConfigError, CorpusError, Remedy
from serctl.files import atomic_path
from serctl.texts import find_file, not_utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MANIFEST_NAMES = ("manifest.csv", "manifest.tsv", "manifest.jsonl", "manifest.parquet")

Cell = str | float | None

WRITTEN_SUFFIXES = (".csv", ".parquet")

_DURATION = re.compile(r"(?:(\d+) days?)?[ ,]*(?:(\d+):(\d\d):(\d\d(?:\.\d+)?))?")
_GENDERS = {
    "f": "female",
    "female": "female",
    "w": "female",
    "woman": "female",
    "m": "male",
    "male": "male",
    "man": "male",
}


@dataclass(frozen=True)
class _Row:
    """One line of a manifest; a column that is absent or empty reads as the empty string."""

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        cell = self.cells.get(column, "")
        return cell if column == "path" else cell.strip()


def find_manifest(folder: Path) -> Path | None:
    """Find the manifest in the root of a folder; None if there is none."""
    return next((folder / name for name in MANIFEST_NAMES if (folder / name).is_file()), None)


def load_manifest(manifest: Path, options: ReadOptions | None = None) -> Corpus:
    """Read the recordings that a manifest lists.

    Columns: path (relative to the manifest's folder, or absolute) and emotion; optional speaker, gender, language,
    text, start and end (seconds, or a duration such as '0 days 00:00:01.5'), split (train, validation, test), corpus
    and, of augmented copies, source_digest, source_start, source_end and copy; others are ignored. A column is also
    found by another usual name, such as file or label, if there is one of them only. Where the file names follow a
    known corpus, that corpus gives the name, the terms, and what the manifest leaves empty.

    Args:
        manifest: CSV, TSV, JSON Lines or Parquet.
        options: names of columns and meanings of labels that are not the usual ones.

    Returns:
        The corpus; rows that cannot be used, a missing recording or an unknown emotion among them, become problems.

    Raises:
        CorpusError: the manifest cannot be read, a column is missing or ambiguous, a split is unknown, or no row can be
            used.
    """
    options = options or ReadOptions()
    rows = _named_rows(manifest, options)
    utterances: dict[tuple[Path, float, float | None], Utterance] = {}
    own = _own_labels(rows) if options.target is None else Counter[str]()
    foreign = {label: count for label, count in own.items() if options.emotion(label) is None}
    problems = [unknown_labels(str(manifest), foreign)] if foreign else []
    for row in rows:
        if row["emotion"] in foreign:
            continue
        try:
            utterance = _utterance(manifest, row, options)
        except BadRowError as error:
            problems.append(f"{manifest}, row {row.number}: {error}")
            continue
        key = (utterance.path, utterance.start_s, utterance.end_s)
        if key in utterances:
            problems.append(f"{manifest}, row {row.number}: {utterance.path} is listed twice; the first one is kept")
        utterances.setdefault(key, utterance)
    if not utterances:
        detail = f"; the first problem: {problems[0]}" if problems else ""
        remedies = (Remedy.LABEL,) if foreign else ()
        raise CorpusError(f"{manifest}: none of its {len(rows)} rows can be used{detail}", *remedies)
    corpus = _identify(manifest, list(utterances.values()), [*problems, *_odd_genders(manifest, rows)])
    return replace(corpus, own_labels=own)


def _own_labels(rows: Sequence[_Row]) -> Counter[str]:
    """Labels that mean no emotion, with the number of their rows."""
    return Counter(row["emotion"] for row in rows if row["emotion"] and normalise_emotion(row["emotion"]) is None)


def write_manifest(path: Path, rows: Iterable[Mapping[str, Cell]], columns: Sequence[str] = LABEL_COLUMNS) -> None:
    """Write a manifest, whole or not at all.

    Args:
        path: the file, named *.csv or *.parquet.
        rows: for each utterance its cells by column; absent ones are empty.
        columns: those to write, in this order.

    Raises:
        ConfigError: Parquet cannot hold a file name, since it is not valid UTF-8.
        OSError: the file cannot be written.
    """
    with atomic_path(path) as draft:
        if path.suffix.lower() == ".parquet":
            _write_parquet(draft, rows, columns)
        else:
            _write_csv(draft, rows, columns)


def label_cells(utterance: Utterance) -> dict[str, Cell]:
    """Return what a manifest says of an utterance apart from where it lies: emotion, speaker, split and so on."""
    return {
        "emotion": utterance.emotion,
        "speaker": utterance.speaker,
        "gender": utterance.gender,
        "language": utterance.language,
        "text": utterance.text,
        "split": utterance.split,
        "corpus": utterance.corpus,
    }


def utterance_cells(utterance: Utterance, folder: Path | None, duration_s: float | None) -> dict[str, Cell]:
    """Return the cells of an utterance in a manifest of that folder.

    Args:
        utterance: the labelled recording or part.
        folder: of the manifest; the path is relative to it where it is below it, absolute elsewhere. None leaves it.
        duration_s: None if it is unknown.
    """
    cells: dict[str, Cell] = {
        "path": str(utterance.path) if folder is None else _path_in(folder, utterance.path),
        "start": utterance.start_s or None,
        "end": utterance.end_s,
        "duration": None if duration_s is None else round(duration_s, 3),
    }
    if utterance.source is not None:
        cells |= {"source_digest": utterance.source, "copy": int(utterance.is_copy)}
    return label_cells(utterance) | cells


def _path_in(folder: Path, recording: Path) -> str:
    # absolute, not resolve: a corpus of links is to be read through the links again.
    absolute, base = recording.absolute(), folder.absolute()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def _write_csv(draft: Path, rows: Iterable[Mapping[str, Cell]], columns: Sequence[str]) -> None:
    # surrogateescape: file names need not be valid UTF-8, and are read the same way. Quotes for a lone carriage
    # return: before Python 3.13 the csv module leaves it without them.
    with draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as lines:
        plain = csv.DictWriter(lines, columns, lineterminator="\n")
        quoted = csv.DictWriter(lines, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writeheader()
        for row in rows:
            (quoted if any("\r" in str(cell) for cell in row.values()) else plain).writerow(row)


def _write_parquet(draft: Path, rows: Iterable[Mapping[str, Cell]], columns: Sequence[str]) -> None:
    import pandas as pd

    kinds = {name: "float64" if name in NUMBERS else "string" for name in columns}
    try:
        table = pd.DataFrame(list(rows), columns=list(columns))
        table.astype(kinds).to_parquet(draft, index=False)
    except UnicodeEncodeError as error:
        raise ConfigError("a file name is not valid UTF-8, which Parquet cannot hold: write a CSV instead") from error


def _named_rows(manifest: Path, options: ReadOptions) -> list[_Row]:
    """The rows with their columns by the names that manifests have here."""
    rows = read_rows(manifest)
    if not rows:
        raise CorpusError(f"{manifest}: has no rows; expected a header and one row per recording")
    found = {column: None for row in rows for column in row if column != OVERFLOW}
    names = find_columns(manifest, list(found), options)
    named = [
        _Row(
            number, {meaning: row.get(name, "") for meaning, name in names.items()} | {OVERFLOW: row.get(OVERFLOW, "")}
        )
        for number, row in enumerate(rows, start=1)
    ]
    _require_utf8(manifest, named)
    return named


def _require_utf8(manifest: Path, rows: Sequence[_Row]) -> None:
    """Refuse a text in another encoding, which would put wrong names into reports; file names may be anything."""
    for row in rows:
        for column, cell in row.cells.items():
            if column not in NAMES_OF_FILES and (byte := not_utf8(cell)):
                raise CorpusError(
                    f"{manifest}, row {row.number}: {column} holds the byte {byte}, which is not UTF-8 "
                    "but may be Latin-1 (Windows-1252): save the file in UTF-8"
                )


def _utterance(manifest: Path, row: _Row, options: ReadOptions) -> Utterance:
    if not row["path"]:
        raise BadRowError("has no path")
    if row[OVERFLOW]:
        raise BadRowError(f"{row['path']} has more cells than there are columns: {row[OVERFLOW]}")
    emotion = "" if options.target else options.emotion(row["emotion"])
    if emotion is None:
        raise BadRowError(f"{row['path']} has no emotion")
    path = _find_file(manifest.parent, row["path"])
    start_s, end_s = _span(row)
    return Utterance(
        path=path,
        emotion=emotion,
        corpus=row["corpus"],
        speaker=row["speaker"] or None,
        gender=_gender(row["gender"]),
        language=row["language"] or None,
        text=row["text"] or None,
        start_s=start_s,
        end_s=end_s,
        split=_split(manifest, row),
        source=_source(row),
        is_copy=_is_copy(row),
        value=_value(row, options.target) if options.target else None,
    )


def _value(row: _Row, target: str) -> float:
    """The number of the target; a decimal comma is one as well."""
    try:
        value = float(row["value"].replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRowError(f"{row['path']}: {target} is {row['value']!r}, expected a number")
    return value


def _find_file(folder: Path, written: str) -> Path:
    path = find_file(folder, written)
    if path.is_file():
        return path
    byte = not_utf8(written)
    reason = f", whose name holds the byte {byte}: it may be in Latin-1, expected UTF-8" if byte else ""
    raise BadRowError(f"there is no file {folder / written}{reason}")


def _source(row: _Row) -> str | None:
    if not row["source_digest"]:
        return None
    return digest_of_part(row["source_digest"], *_span(row, "source_"))


def _is_copy(row: _Row) -> bool:
    """Whether the row is an augmented copy: one with a source is, unless its number as a copy is 0."""
    return bool(row["source_digest"]) and row["copy"] not in ("0", "0.0")


def _span(row: _Row, prefix: str = "") -> tuple[float, float | None]:
    start_s = _seconds(row, f"{prefix}start") or 0.0
    end_s = _seconds(row, f"{prefix}end")
    if end_s is not None and end_s <= start_s:
        raise BadRowError(f"{row['path']} ends at {end_s} s, before or at its start at {start_s} s")
    return start_s, end_s


def _seconds(row: _Row, column: str) -> float | None:
    cell = row[column]
    if not cell:
        return None
    duration = _DURATION.fullmatch(cell)
    if duration:
        days, hours, minutes, rest = (float(part or 0) for part in duration.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    try:
        seconds = float(cell.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadRowError(f"{row['path']}: {column} is {cell!r}, expected seconds from 0 up")
    return seconds


def _gender(cell: str) -> str | None:
    return _GENDERS.get(cell.lower())


def _odd_genders(manifest: Path, rows: Sequence[_Row]) -> list[str]:
    odd = Counter(row["gender"] for row in rows if row["gender"] and _gender(row["gender"]) is None)
    return [
        f"{manifest}: gender {gender!r} of {count} rows is taken as unknown" for gender, count in sorted(odd.items())
    ]


def _split(manifest: Path, row: _Row) -> str | None:
    if not row["split"]:
        return None
    try:
        return SPLITS[row["split"].lower()]
    except KeyError:
        # An error, not a problem: a guess could put test recordings into the training.
        raise CorpusError(
            f"{manifest}, row {row.number}: split is {row['split']!r}, expected train, validation or test"
        ) from None


def _identify(manifest: Path, utterances: Sequence[Utterance], problems: Sequence[str]) -> Corpus:
    naming = filename.recognise([utterance.path for utterance in utterances])
    own_name = naming.name if naming else _name_of(manifest)
    if naming:
        utterances = [_completed(utterance, naming.read(utterance.path)) for utterance in utterances]
    named = tuple(replace(utterance, corpus=utterance.corpus or own_name) for utterance in utterances)
    names = sorted({utterance.corpus for utterance in named})
    return Corpus(
        name=names[0] if len(names) == 1 else own_name,
        utterances=named,
        problems=tuple(problems),
        licence=_terms({name: licence for name in names if (licence := licence_of(name))}),
        citation=_terms({name: citation for name in names if (citation := citation_of(name))}),
        root=manifest.parent,
    )


def _completed(utterance: Utterance, from_name: Utterance | None) -> Utterance:
    if from_name is None:
        return utterance
    return replace(
        utterance,
        speaker=utterance.speaker or from_name.speaker,
        gender=utterance.gender or from_name.gender,
        language=utterance.language or from_name.language,
        text=utterance.text or from_name.text,
    )


def _name_of(manifest: Path) -> str:
    return manifest.parent.resolve().name if manifest.name in MANIFEST_NAMES else manifest.stem


def _terms(by_corpus: Mapping[str, str]) -> str | None:
    if len(by_corpus) > 1:
        return "; ".join(f"{corpus}: {terms}" for corpus, terms in by_corpus.items())
    return next(iter(by_corpus.values()), None)
