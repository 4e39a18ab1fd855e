"""Where WAV (RIFF, RIFX, RF64, W64), AIFF, CAF and AU keep their samples, and whether all of them are there."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serctl.audio.file import LENGTH_UNKNOWN, Part

if TYPE_CHECKING:
    from serctl.audio.file import RecordingFile

_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_WAVE = bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
_MOST_CHUNKS = 10_000
# Tools that write to a pipe put 0xFFFFFFFF, 0x80000000, 0x7FFFF000 or 0x7F000000 where the size of the data belongs.
_STREAMED_SIZE = 0x7F00_0000
# Some writers count their header, of 2 to 44 bytes, as samples.
_HEADER_COUNTED = 44


@dataclass(frozen=True)
class _Format:
    """How a format lays out its chunks.

    first: offset of the first chunk. head: a chunk's identifier and size. data: the identifier of the samples' chunk.
    own: whether a size counts the chunk's head. align: a chunk begins at a multiple of so many bytes.
    outer: offset and form of the size of all chunks, and what to add to it for the size of the recording.
    streamed: sizes from this on stand for an unknown one.
    """

    first: int
    head: struct.Struct
    data: bytes
    own: bool = False
    align: int = 2
    outer: tuple[int, struct.Struct, int] | None = None
    streamed: int = _STREAMED_SIZE


_LITTLE, _BIG = struct.Struct("<I"), struct.Struct(">I")
_RIFF = _Format(12, struct.Struct("<4sI"), b"data", outer=(4, _LITTLE, 8))
_RIFX = _Format(12, struct.Struct(">4sI"), b"data", outer=(4, _BIG, 8))
_RF64 = _Format(12, struct.Struct("<4sI"), b"data", streamed=1 << 62)
_AIFF = _Format(12, struct.Struct(">4sI"), b"SSND", outer=(4, _BIG, 8))
_CAF = _Format(8, struct.Struct(">4sQ"), b"data", align=1, streamed=1 << 62)
_W64 = _Format(
    40, struct.Struct("<16sQ"), b"data", own=True, align=8, outer=(16, struct.Struct("<Q"), 0), streamed=1 << 62
)


@dataclass(frozen=True)
class _Data:
    """The samples of a recording: the offsets of their size and of themselves, and how many bytes the size promises."""

    size_field: int
    start: int
    promised: int


def scan(file: RecordingFile, start: int) -> Part | None:
    """Find the part that begins at `start`; None if it is of another format.

    Raises AudioError if samples are missing or the header leads to none.
    """
    head = file.bytes_at(start, 40)
    if head[:4] in (b".snd", b"dns."):
        return _scan_au(file, start, head)
    form = _format(head)
    if form is None:
        return None
    data = _find_data(file, start, form)
    if data is None:
        raise file.error("is damaged: its header leads to no samples")
    return _part(file, start, form, data)


def _format(head: bytes) -> _Format | None:
    if head[8:12] == b"WAVE":
        return {b"RIFF": _RIFF, b"RIFX": _RIFX, b"RF64": _RF64, b"BW64": _RF64}.get(head[:4])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head[:4] == b"caff":
        return _CAF
    return _W64 if head[:16] == _W64_RIFF and head[24:40] == _W64_WAVE else None


def _find_data(file: RecordingFile, start: int, form: _Format) -> _Data | None:
    position = start + form.first
    long_size = None
    for _ in range(_MOST_CHUNKS):
        head = file.bytes_at(position, form.head.size)
        if len(head) < form.head.size:
            return None
        name, size = form.head.unpack(head)
        if not name.strip(b"\0"):
            return None
        size -= form.head.size if form.own else 0
        body = position + form.head.size
        if name[:4] == b"ds64":
            long_size = int.from_bytes(file.bytes_at(body + 8, 8), "little")
        if name[:4] == form.data:
            size_field = position + form.head.size - (len(head) - len(name))
            promised = long_size if long_size is not None and size == 0xFFFF_FFFF else size
            return _Data(size_field, body, promised)
        position = body + max(size, 0)
        position += -(position - start) % form.align
    return None


def _part(file: RecordingFile, start: int, form: _Format, data: _Data) -> Part:
    present = file.size - data.start
    outer = _outer_end(file, start, form)
    empty = data.promised == 0 and present > 0 and outer != file.size and form in (_RIFF, _RIFX)
    if empty:
        patches = tuple((field, b"\xff" * 4) for field in (start + 4, data.size_field))
        return Part(start, file.size, patches=patches, notes=(LENGTH_UNKNOWN,))
    if data.promised >= form.streamed:
        return Part(start, file.size, notes=(LENGTH_UNKNOWN,))
    missing = data.promised - present
    if missing > _HEADER_COUNTED:
        raise _truncated(file, present, data.promised)
    if missing > 0:
        complete = outer is not None and outer <= file.size
        return Part(start, file.size, notes=() if complete else (_too_large(missing),))
    return Part(start, min(max(data.start + data.promised, outer or file.size), file.size))


def _outer_end(file: RecordingFile, start: int, form: _Format) -> int | None:
    """Where the recording ends by its own size; None where it gives none."""
    if form.outer is None:
        return None
    offset, number, rest = form.outer
    (size,) = number.unpack(file.bytes_at(start + offset, number.size))
    end: int = start + size + rest
    return end + size % 2


def _scan_au(file: RecordingFile, start: int, head: bytes) -> Part | None:
    if len(head) < 24:
        return None
    order = ">" if head[:4] == b".snd" else "<"
    offset, promised = struct.unpack(f"{order}II", head[4:12])
    if promised >= _STREAMED_SIZE:
        return Part(start, file.size, notes=(LENGTH_UNKNOWN,))
    present = file.size - start - offset
    if promised > present:
        raise _truncated(file, present, promised)
    return Part(start, start + offset + promised)


def _truncated(file: RecordingFile, present: int, promised: int) -> Exception:
    promise = f"{max(present, 0)} of the {promised} bytes of samples that its header promises"
    return file.error(f"is truncated: it holds {promise}")


def _too_large(missing: int) -> str:
    return f"the header promises {missing} bytes more than there are: its end may be missing"
