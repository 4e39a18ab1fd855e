"""Where MPEG audio (MP3) frames lie in a file, how many there are, and whether the header promised as many.

libsndfile takes the length of an MP3 from its Xing header, or guesses it from the first frames, and reads no further.
A part whose header does not give the true number of frames is shown with one that does.

Source: ISO/IEC 11172-3 and 13818-3; Xing header as LAME writes it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from serctl.audio.file import LENGTH_UNKNOWN, Part

if TYPE_CHECKING:
    from serctl.audio.file import RecordingFile

_MPEG1, _LAYER1, _LAYER3, _MONO = 3, 3, 1, 3
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBPS = {
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by index, for MPEG-1 or not, and the layer as the header codes it: 3, 2, 1 for I, II, III."""
_SIDE_BYTES = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}
"""Length of the side information, by whether it is MPEG-1 and whether it is mono."""

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_MOST_CANDIDATES = 300_000
_LONGEST_TAGS = 100
_SMALLEST_XING = 64


@dataclass(frozen=True)
class _Frame:
    """A frame by its header: its bytes, its stream (version, layer, rate, mono), the bytes before a Xing tag."""

    length: int
    stream: tuple[int, int, int, bool]
    side: int


def scan(file: RecordingFile, start: int) -> Part | None:
    """Find the run of frames that begins at `start`; None if there are not two of them.

    Raises AudioError if frames are missing at its end.
    """
    first = _frame(file.bytes_at(start, 4))
    if first is None or not _follows(file, start, first):
        return None
    promised = _promised(file, start, first)
    position = start if promised is None else start + first.length
    count, end, cut = _count_frames(file, position, first)
    if promised and promised > count + 1:
        raise file.error(f"is truncated: it holds {count} of the {promised} MP3 frames that its header promises")
    if not promised and cut:
        raise file.error("is truncated: its last MP3 frame is cut off")
    notes = () if promised else (LENGTH_UNKNOWN,)
    if promised == count or first.stream[1] != _LAYER3:
        return Part(start, end, notes=notes, mpeg=True)
    return Part(position, end, prefix=_xing(file.bytes_at(start, 4), count), notes=notes, mpeg=True)


def begins_with_frames(content: bytes) -> bool:
    """Whether bytes begin with two MPEG audio frames of one stream."""
    first = _frame(content[:4])
    second = _frame(content[first.length : first.length + 4]) if first else None
    return first is not None and second is not None and first.stream == second.stream


def skip_tags(file: RecordingFile, position: int) -> int:
    """Step over ID3v2, ID3v1 and APE tags and return where they end."""
    for _ in range(_LONGEST_TAGS):
        head = file.bytes_at(position, 16)
        size = _tag_size(head)
        if size == 0:
            break
        position += size
    return position


def find_frame(file: RecordingFile, position: int) -> int:
    """Find where frames go on behind bytes that are none, else the end of the file.

    Raises AudioError if that takes too many trials: there is no end to what looks like a frame in some data.
    """
    for _ in range(_MOST_CANDIDATES):
        found = file.find(_SYNC, position)
        if found is None:
            return file.size
        frame = _frame(file.bytes_at(found, 4))
        if frame is not None and _follows(file, found, frame):
            return found
        position = found + 1
    raise file.error("is damaged: most of it is no MP3 frames")


def _tag_size(head: bytes) -> int:
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX" and len(head) == 16:
        return 32 + int.from_bytes(head[12:16], "little")
    return 128 if head[:3] == b"TAG" else 0


def _count_frames(file: RecordingFile, position: int, first: _Frame) -> tuple[int, int, bool]:
    """Count the frames of a stream: their number, where they end, and whether another one is cut off there."""
    count = 0
    while (frame := _frame(file.bytes_at(position, 4))) is not None and frame.stream == first.stream:
        if position + frame.length > file.size:
            return count, position, True
        if count and _promised(file, position, frame) is not None:
            break
        position += frame.length
        count += 1
    return count, position, False


def _follows(file: RecordingFile, position: int, frame: _Frame) -> bool:
    """Whether the next frame, or the end, comes where this frame ends."""
    following = position + frame.length
    if following == file.size:
        return True
    after = _frame(file.bytes_at(following, 4))
    return after is not None and after.stream == frame.stream


def _promised(file: RecordingFile, position: int, frame: _Frame) -> int | None:
    """The number of frames in a Xing or VBRI header, 0 where it leaves that out; None if this is a frame of audio."""
    body = file.bytes_at(position + 4, 64)
    xing = body[frame.side : frame.side + 12]
    if xing[:4] in (b"Xing", b"Info") and len(xing) == 12:
        flags, frames = struct.unpack(">II", xing[4:])
        return int(frames) if flags & 1 else 0
    if body[32:36] == b"VBRI" and len(body) >= 50:
        return int.from_bytes(body[46:50], "big")
    return None


def _xing(head: bytes, frames: int) -> bytes:
    """A frame without audio, of the stream that `head` begins, whose Xing header gives the number of frames."""
    for index in range(1, 15):
        # No checksum, no padding.
        own = bytes((head[0], head[1] | 1, index << 4 | head[2] & 0x0C, head[3]))
        frame = _frame(own)
        if frame is not None and frame.length >= _SMALLEST_XING:
            return (own + bytes(frame.side) + b"Xing" + struct.pack(">II", 1, frames)).ljust(frame.length, b"\0")
    raise ValueError(f"expected the header of a frame. Received: {head!r}")


@lru_cache(maxsize=4096)
def _frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate_index, kbps_index = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 0 or rate_index == 3 or kbps_index in (0, 15):
        return None
    rate, mpeg1, mono = _RATES[version][rate_index], version == _MPEG1, head[3] >> 6 == _MONO
    kbps = _KBPS[mpeg1, 2 if not mpeg1 and layer == 1 else layer][kbps_index - 1]
    length = _frame_bytes(layer, mpeg1=mpeg1, kbps=kbps, rate=rate, padding=head[2] >> 1 & 1)
    return _Frame(length, (version, layer, rate, mono), _SIDE_BYTES[mpeg1, mono])


def _frame_bytes(layer: int, *, mpeg1: bool, kbps: int, rate: int, padding: int) -> int:
    if layer == _LAYER1:
        return (12_000 * kbps // rate + padding) * 4
    return (72_000 if layer == _LAYER3 and not mpeg1 else 144_000) * kbps // rate + padding
