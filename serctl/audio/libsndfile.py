"""Decode the parts of a recording with libsndfile, one after the other, as one stream of samples."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from serctl.audio.file import PartView, unreadable
from serctl.errors import UnsupportedFormatError
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from serctl.audio.file import Part, RecordingFile

_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU"})
# An MP3 frame borrows bits from those before it: a decoder that starts in the middle needs some to get going.
_MP3_LEAD = 1 << 15
# What libsndfile reports as the length of a FLAC stream whose header gives none.
_UNKNOWN_FRAMES = 1 << 40
_SKIP_FRAMES = 1 << 16


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """A SoundFile that only moves when told to."""

    def seekable(self) -> bool:
        """No, lest soundfile seek to where it is after every read: that breaks MP3, and FLAC of unknown length."""
        return False


class PartsDecoder:
    """The samples of consecutive parts, at one rate and of one number of channels.

    Raises UnsupportedFormatError if libsndfile cannot read the first part, AudioError for everything else.
    """

    def __init__(self, file: RecordingFile, parts: Sequence[Part]) -> None:
        self._file = file
        self._parts = parts
        self._index = 0
        self._read_frames = 0
        self._open()
        self.sample_rate: int = self._decoder.samplerate
        self.channels: int = self._decoder.channels
        self.subtype: str = self._decoder.subtype
        self.notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))

    def close(self) -> None:
        """Close the current part."""
        self._decoder.close()

    def length(self) -> int | None:
        """Frames of all parts by their headers; None where one does not give it."""
        counts = [self._frames()] if len(self._parts) == 1 else [self._length_of(part) for part in self._parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def read(self, block: NDArray[np.float32]) -> int:
        """Fill the block, float32 (n, channels), as far as the parts go and return the number of frames."""
        filled = 0
        while filled < len(block):
            count = self._read(block[filled:])
            filled += count
            if filled < len(block) and not self._next_part():
                break
        return filled

    def skip(self, frames: int) -> int:
        """Move on by so many frames, or to the end, and return how many those were."""
        skipped = 0
        while skipped < frames:
            length = self._frames()
            wanted = frames - skipped
            if length is None:
                skipped += self._discard(wanted)
            elif length > wanted:
                self._seek(wanted)
                return frames
            else:
                skipped += length
                self._read_frames = length
            if skipped < frames and not self._next_part():
                break
        return skipped

    def _open(self) -> None:
        part = self._parts[self._index]
        self._view = PartView(self._file, part)
        try:
            with self._silence():
                self._decoder = _Decoder(self._view)
        except soundfile.LibsndfileError as error:
            self._raise_failure()
            raise UnsupportedFormatError("unknown to libsndfile") from error
        if self._decoder.format not in _FORMATS:
            self._decoder.close()
            raise UnsupportedFormatError("unknown to libsndfile")
        self._read_frames = 0

    def _next_part(self) -> bool:
        """Open the next part, once this one is complete; whether there is one."""
        self._check_complete()
        if self._index + 1 == len(self._parts):
            return False
        self._decoder.close()
        self._index += 1
        try:
            self._open()
        except UnsupportedFormatError as error:
            raise self._file.error(f"is damaged: its part {self._index + 1} cannot be decoded") from error
        self._check_same()
        return True

    def _check_same(self) -> None:
        rate, channels = self._decoder.samplerate, self._decoder.channels
        if (rate, channels) != (self.sample_rate, self.channels):
            before, after = f"{self.sample_rate} Hz x {self.channels}", f"{rate} Hz x {channels}"
            raise self._file.error(f"changes in its middle from {before} to {after} channels: cut it there")

    def _check_complete(self) -> None:
        promised = self._frames()
        if promised is not None and self._read_frames < promised:
            promise = f"{self._read_frames} of the {promised} samples that its header promises"
            raise self._file.error(f"is truncated: it holds {promise}")

    def _frames(self) -> int | None:
        frames: int = self._decoder.frames
        return frames if frames < _UNKNOWN_FRAMES else None

    def _length_of(self, part: Part) -> int | None:
        decoder = PartsDecoder(self._file, [part])
        try:
            return decoder.length()
        finally:
            decoder.close()

    def _read(self, block: NDArray[np.float32]) -> int:
        with self._decoding():
            # With out=, soundfile asks the decoder itself.
            count = len(self._decoder.read(out=block))
        self._read_frames += count
        return count

    def _seek(self, frame: int) -> None:
        lead = min(frame, _MP3_LEAD) if self._parts[self._index].mpeg else 0
        with self._decoding():
            self._decoder.seek(frame - lead)
            self._decoder.read(out=np.empty((lead, self.channels), np.float32))
        self._read_frames = frame

    def _discard(self, frames: int) -> int:
        block = np.empty((_SKIP_FRAMES, self.channels), np.float32)
        discarded = 0
        while discarded < frames and (count := self._read(block[: frames - discarded])):
            discarded += count
        return discarded

    def _silence(self) -> AbstractContextManager[None]:
        return quiet_stderr() if self._parts[self._index].mpeg else nullcontext()

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            with self._silence():
                yield
        except soundfile.LibsndfileError as error:
            promised = self._frames()
            of_all = "" if promised is None else f" of {promised}"
            where = f"in the block after {self._read_frames}{of_all} samples"
            raise self._file.error(f"is damaged or truncated: decoding stopped {where}") from error
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._view.failure is not None:
            raise unreadable(self._file.path, self._view.failure) from self._view.failure
