"""Where the links of a chained Ogg begin, and whether their pages are all there (RFC 3533)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serctl.audio.file import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serctl.audio.file import RecordingFile

_HEAD = 27
_CAPTURE = re.compile(rb"OggS\x00")
_FIRST, _LAST = 2, 4
_NO_END = "no end-of-stream mark: its end may be missing"


@dataclass(frozen=True)
class _Page:
    """A page: the bytes that it spans, whether it is a stream's first or last, and its place in which stream."""

    start: int
    end: int
    first: bool
    last: bool
    granule: int
    serial: bytes
    number: int


def scan(file: RecordingFile, start: int) -> Part | None:
    """Find the link that begins at `start`; None if there is no Ogg.

    Raises AudioError if its last page is cut off or pages are missing from the middle.
    """
    if not _CAPTURE.match(file.bytes_at(start, 5)):
        return None
    end, strange = start, 0
    unfinished: set[bytes] = set()
    latest: dict[bytes, _Page] = {}
    begun = False
    for page in _pages(file, start):
        if page.first and begun:
            break
        _check_sequence(file, latest.get(page.serial), page)
        begun = not page.first
        latest[page.serial] = page
        (unfinished.discard if page.last else unfinished.add)(page.serial)
        strange += page.start - end
        end = page.end
    notes = (f"{strange} bytes between its Ogg pages are no audio",) if strange else ()
    return Part(start, end, notes=(*notes, _NO_END) if unfinished else notes)


def _pages(file: RecordingFile, position: int) -> Iterator[_Page]:
    """The pages from `position` on, past bytes that belong to none."""
    while (found := file.find(_CAPTURE, position)) is not None:
        page = _page(found, file.bytes_at(found, _HEAD + 255))
        if page is None or page.end > file.size:
            raise file.error("is truncated: its last Ogg page is cut off")
        yield page
        position = page.end


def _page(start: int, head: bytes) -> _Page | None:
    segments = head[_HEAD : _HEAD + head[26]] if len(head) >= _HEAD else b""
    if len(head) < _HEAD or len(segments) < head[26]:
        return None
    return _Page(
        start=start,
        end=start + _HEAD + len(segments) + sum(segments),
        first=bool(head[5] & _FIRST),
        last=bool(head[5] & _LAST),
        granule=int.from_bytes(head[6:14], "little", signed=True),
        serial=head[14:18],
        number=int.from_bytes(head[18:22], "little"),
    )


def _check_sequence(file: RecordingFile, before: _Page | None, page: _Page) -> None:
    # A recorder that joined a broadcast numbers on from there, right behind the headers of granule 0.
    if before is not None and before.granule > 0 and page.number != before.number + 1:
        raise file.error("is damaged: Ogg pages are missing from its middle")
