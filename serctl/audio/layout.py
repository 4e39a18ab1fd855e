"""Find what a recording is made of: one part, or several where recordings were put one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from serctl.audio import containers, flac, mpeg, ogg

if TYPE_CHECKING:
    from serctl.audio.file import Part, RecordingFile

_SCANNERS = (containers.scan, flac.scan, ogg.scan, mpeg.scan)
_MOST_PARTS = 10_000


def find_parts(file: RecordingFile) -> tuple[Part, ...]:
    """Find the parts that libsndfile can decode, in their order; none if the file does not begin with one.

    Only headers are read, except that FLAC is searched for a second recording behind the first.
    Raises AudioError for what is truncated or damaged.
    """
    parts: list[Part] = []
    position = mpeg.skip_tags(file, 0)
    while (part := _scan(file, position)) is not None:
        position, part = _next_part(file, part)
        parts.append(part)
        if len(parts) > _MOST_PARTS:
            raise file.error(f"is damaged: it falls into more than {_MOST_PARTS} parts")
    if parts and position < file.size:
        parts[-1] = replace(
            parts[-1], notes=(*parts[-1].notes, f"{file.size - position} bytes at its end are no audio")
        )
    return tuple(parts)


def _scan(file: RecordingFile, position: int) -> Part | None:
    return next((part for scan in _SCANNERS if (part := scan(file, position)) is not None), None)


def _next_part(file: RecordingFile, part: Part) -> tuple[int, Part]:
    """Where another part may begin, and this one with a note on the bytes up to there that are no audio."""
    position = mpeg.skip_tags(file, part.end)
    if not part.mpeg or position >= file.size or _scan(file, position) is not None:
        return position, part
    following = mpeg.find_frame(file, position)
    if following == position:
        return position, part
    note = f"{following - position} bytes that are no MP3 frames were skipped"
    return following, replace(part, notes=(*part.notes, note))
