"""Find the transcript of a recording: a file of its name in a folder, or its row in a table."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.corpora.rows import SUFFIXES as TABLES
from serctl.corpora.rows import read_rows
from serctl.corpora.transcript_formats import (
    SUFFIXES,
    Transcript,
    Word,
    read_transcript,
    seconds,
    words_of_text,
)
from serctl.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path")
_TEXT_COLUMNS = ("text", "transcript", "transcription")


@dataclass(frozen=True)
class Transcripts:
    """The transcripts that a folder or a file holds; read one by one when they are asked for.

    Attributes:
        files: paths by the name of the recording, in lower case; several where folders hold files of one name.
        rows: transcripts by the name of the recording, from a table of recordings.
    """

    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    rows: Mapping[str, Transcript] = field(default_factory=dict)

    def of(self, recording: Path, channel: int | None = None) -> Transcript | None:
        """Return the transcript of a recording.

        Args:
            recording: its file; the transcript is named as it is, or as its stem: call.json or call.wav.json.
            channel: of a recording whose channels are told apart: call.1.json.

        Returns:
            None if there is none.

        Raises:
            CorpusError: the transcript cannot be read, or it is not clear which one it is.
        """
        for name in (recording.name, recording.stem):
            key = (name if channel is None else f"{name}.{channel}").lower()
            if key in self.rows:
                return self.rows[key]
            if key in self.files:
                return read_transcript(_nearest(recording, self.files[key]))
        return None


def open_transcripts(path: Path) -> Transcripts:
    """Find the transcripts in a folder, searched recursively, or in a file.

    Args:
        path: a folder; a table with the columns path and text, as manifests are; or one transcript.

    Raises:
        ConfigError: there is no such file or folder, it holds no transcript, or it is a table that cannot be read.
    """
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
    elif path.exists():
        rows = _rows_of(path)
        if rows is not None:
            return Transcripts(rows=rows)
        found = [path]
    else:
        raise ConfigError(f"{path} does not exist: expected a folder of transcripts, or a file")
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in found:
        if file.suffix.lower() in SUFFIXES:
            by_name[file.stem.lower()].append(file)
    if not by_name:
        raise ConfigError(f"{path}: holds no transcript ({', '.join(SUFFIXES)})")
    return Transcripts(files=dict(by_name))


@lru_cache(maxsize=2)
def opened(path: Path, digest: str) -> Transcripts:  # noqa: ARG001 - the digest tells a changed folder apart
    """Return open_transcripts(path), opened once in each process."""
    return open_transcripts(path)


def digest_of_transcripts(path: Path) -> str:
    """Return a digest of the transcripts in a folder or file, which changes with any of them."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and file.suffix.lower() in {*SUFFIXES, *TABLES}:
            digest.update(f"{file.name}\0".encode("utf-8", "surrogateescape") + file.read_bytes())
    return digest.hexdigest()


def _nearest(recording: Path, files: Sequence[Path]) -> Path:
    """The file in a folder of the recording's name, or else the one folder; the best format where there are several."""
    folders = {file.parent for file in files}
    if len(folders) > 1:
        folders = {folder for folder in folders if folder.name == recording.absolute().parent.name}
    if len(folders) != 1:
        listed = ", ".join(map(str, files[:3]))
        raise CorpusError(f"several folders hold a transcript of {recording.name}: {listed}")
    chosen = [file for file in files if file.parent in folders]
    return min(chosen, key=lambda file: SUFFIXES.index(file.suffix.lower()))


def _rows_of(path: Path) -> Mapping[str, Transcript] | None:
    """The rows of a table of recordings, such as a manifest; None if the file is none."""
    if path.suffix.lower() not in TABLES:
        return None
    try:
        rows = read_rows(path)
    except CorpusError as error:
        raise ConfigError(str(error)) from error
    recording = next((name for name in _PATH_COLUMNS if rows and name in rows[0]), None)
    text = next((name for name in _TEXT_COLUMNS if rows and name in rows[0]), None)
    if recording is None or text is None:
        return None
    words: dict[str, list[Word]] = defaultdict(list)
    languages: dict[str, str | None] = {}
    for row in rows:
        name = Path(row[recording].replace("\\", "/")).name.lower()
        words[name] += words_of_text(row.get(text, ""), *(seconds(path, row.get(side)) for side in ("start", "end")))
        languages[name] = row.get("language") or None
    return {name: Transcript(tuple(found), languages[name]) for name, found in words.items()}
