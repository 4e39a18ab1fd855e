"""Where FLAC recordings begin in a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from serctl.audio.file import LENGTH_UNKNOWN, Part

if TYPE_CHECKING:
    from serctl.audio.file import RecordingFile

# The marker and the head of the first metadata block, which is always the stream's own of 34 bytes.
_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")


def scan(file: RecordingFile, start: int) -> Part | None:
    """Find the part that begins at `start` and ends before the next FLAC recording; None if there is none."""
    head = file.bytes_at(start, 26)
    if not _BEGINNING.match(head):
        return None
    end = file.find(_BEGINNING, start + 8)
    # https://xiph.org/flac/format.html: 36 bits of STREAMINFO count the samples, 0 stands for unknown.
    samples = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    return Part(start, end or file.size, notes=() if samples else (LENGTH_UNKNOWN,))
