"""Corpora of any make: a manifest that lists the recordings, or one folder per emotion."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from serctl.corpora import filename
from serctl.corpora.base import SPLITS, Corpus, Utterance, digest_of_part, normalise_emotion, unknown_labels
from serctl.corpora.terms import citation_of, licence_of
from serctl.errors import BadRowError, CorpusError
from serctl.extras import require_extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


_SUFFIXES = (".csv", ".parquet")
MANIFEST_NAMES = ("manifest.csv", "manifest.parquet")

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
    """The manifest in the root of a folder, or None."""
    return next((folder / name for name in MANIFEST_NAMES if (folder / name).is_file()), None)


def load_manifest(manifest: Path) -> Corpus:
    """The recordings that a manifest (CSV in UTF-8, or Parquet) lists.

    Columns: path (relative to the manifest's folder, or absolute) and emotion; optional speaker, gender, language,
    text, start and end (seconds), split (train, validation, test), corpus and, as `serctl augment` writes them,
    source_digest, source_start and source_end; others are ignored. Where the file names follow a known corpus, that
    corpus gives the name, the terms, and what the manifest leaves empty.
    Lines that cannot be used, a missing recording among them, become problems.
    Raises CorpusError if the manifest cannot be read, lacks a column, or holds an unknown emotion or split.
    """
    rows = _read_rows(manifest)
    _require_known_emotions(manifest, rows)
    utterances: dict[tuple[Path, float, float | None], Utterance] = {}
    problems = []
    for row in rows:
        try:
            utterance = _utterance(manifest, row)
        except BadRowError as error:
            problems.append(f"{manifest}, row {row.number}: {error}")
            continue
        key = (utterance.path, utterance.start_s, utterance.end_s)
        if key in utterances:
            problems.append(f"{manifest}, row {row.number}: {utterance.path} is listed twice; the first one is kept")
        utterances.setdefault(key, utterance)
    if not utterances:
        detail = f"; the first problem: {problems[0]}" if problems else ""
        raise CorpusError(f"{manifest}: none of its {len(rows)} rows can be used{detail}")
    return _identify(manifest, list(utterances.values()), [*problems, *_odd_genders(manifest, rows)])


def _read_rows(manifest: Path) -> list[_Row]:
    if manifest.suffix.lower() not in _SUFFIXES:
        raise CorpusError(f"{manifest}: expected a folder or a manifest ({', '.join(_SUFFIXES)})")
    rows = [_Row(number, cells) for number, cells in enumerate(_manifest_cells(manifest), start=1)]
    if not rows:
        raise CorpusError(f"{manifest}: has no rows; expected a header and one row per recording")
    columns = {column for row in rows for column in row.cells}
    missing = [column for column in ("path", "emotion") if column not in columns]
    if missing:
        found = ", ".join(sorted(columns)) or "none"
        raise CorpusError(f"{manifest}: expected the columns path and emotion; lacks {', '.join(missing)}, has {found}")
    return rows


def _manifest_cells(manifest: Path) -> Iterator[dict[str, str]]:
    """The rows as text, column names in lower case; an empty cell is an empty text."""
    import pandas as pd

    if manifest.suffix.lower() == ".parquet":
        require_extra("parquet", "a Parquet file", "pyarrow")
    try:
        if manifest.suffix.lower() == ".parquet":
            table = pd.read_parquet(manifest)
        else:
            # surrogateescape: file names need not be valid UTF-8. A text such as NA is a text.
            table = pd.read_csv(
                manifest,
                dtype=object,  # pandas keeps its own strings in UTF-8
                keep_default_na=False,
                encoding="utf-8-sig",
                encoding_errors="surrogateescape",
                engine="python",
                index_col=False,
            )
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise CorpusError(f"{manifest}: cannot be read as a manifest: {error}") from error
    table = table.rename(columns=lambda name: str(name).strip().lower())
    for row in table.to_dict("records"):
        yield {name: "" if cell is None or cell != cell else str(cell) for name, cell in row.items()}


def _require_known_emotions(manifest: Path, rows: Sequence[_Row]) -> None:
    found = Counter(row["emotion"] for row in rows if row["emotion"])
    if any(normalise_emotion(label) is None for label in found):
        raise unknown_labels(str(manifest), found)


def _utterance(manifest: Path, row: _Row) -> Utterance:
    if not row["path"]:
        raise BadRowError("has no path")
    emotion = normalise_emotion(row["emotion"])
    if emotion is None:
        raise BadRowError(f"{row['path']} has no emotion")
    path = manifest.parent / row["path"]
    if not path.is_file():
        raise BadRowError(f"there is no file {path}")
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
    )


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
    if not row[column]:
        return None
    try:
        seconds = float(row[column])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadRowError(f"{row['path']}: {column} is {row[column]!r}, expected seconds from 0 up")
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
