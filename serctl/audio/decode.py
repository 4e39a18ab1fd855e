"""Read a recording in blocks of float32 samples, all of it or an error.

libsndfile decodes what it reads right and fast, PyAV the rest. Whatever is wrong with a file is an AudioError that
names the cause and the file.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.audio.file import RecordingFile
from serctl.audio.layout import find_parts
from serctl.audio.libsndfile import PartsDecoder
from serctl.audio.media import open_media
from serctl.audio.quality import frame_length
from serctl.errors import UnsupportedFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from serctl.audio.media import MediaDecoder

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
MOST_CHANNELS = 256

_BLOCK_S = 10.0
_BLOCK_VALUES = 1 << 20
# Far beyond any audio, and small enough that its square stays finite in float32.
_LARGEST_SAMPLE = 1e6
# FLAC codes silence at 8 kHz in 11 bytes for each 0.6 s; nothing real needs less.
_LONGEST_S_PER_BYTE = 0.1
_LONGEST_S_ANYWAY = 60.0


@dataclass(frozen=True)
class AudioInfo:
    """The facts of a recording before downmix and resampling.

    duration_s: counts the samples that were read. notes: what its listener should know of how it was read.
    """

    duration_s: float
    sample_rate: int
    channels: int
    subtype: str
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """All notes in one line; None if there is none."""
        return "; ".join(self.notes) or None


class AudioSource:
    """An open recording: its facts, and its samples in blocks. Use as a context manager.

    file: its bytes, which another source may read as well.

    Raises AudioError if it is not audio that can be read, or its header gives a rate or channels beyond all use.
    """

    def __init__(self, recording: Path | RecordingFile) -> None:
        with ExitStack() as opened:
            if isinstance(recording, Path):
                recording = opened.enter_context(RecordingFile(recording))
            self.file = recording
            self._decoder = _open(recording)
            opened.callback(self._decoder.close)
            self.sample_rate: int = self._decoder.sample_rate
            self.channels: int = self._decoder.channels
            self.subtype: str = self._decoder.subtype
            self._check_header()
            self._opened = opened.pop_all()
        self._frames_read = 0

    def __enter__(self) -> AudioSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def info(self) -> AudioInfo:
        """The facts so far: complete once the blocks have been read."""
        return self._info(self._frames_read)

    def header_info(self) -> AudioInfo:
        """The facts by the header; a recording whose header gives no length is decoded to count its samples."""
        length = self._decoder.length()
        if length is None:
            for _ in self.blocks(0.0, None):
                pass
        return self._info(self._frames_read if length is None else length)

    def blocks(self, start_s: float, end_s: float | None) -> Iterator[NDArray[np.float32]]:
        """Blocks of a whole number of 20 ms frames (the last one excepted), float32, shape (n, channels)."""
        first = round(start_s * self.sample_rate)
        wanted = sys.maxsize if end_s is None else round(end_s * self.sample_rate) - first
        self._skip(first, start_s)
        block_frames = self._block_frames()
        while wanted > 0:
            block = np.empty((min(block_frames, wanted), self.channels), np.float32)
            block = block[: self._decoder.read(block)]
            if len(block) == 0:
                break
            self._check_samples(block)
            self._frames_read += len(block)
            self._check_work(first)
            wanted -= len(block)
            yield block
        if self._frames_read == 0:
            raise self.file.error("holds no samples")
        self.file.check_unchanged()

    def _info(self, frames: int) -> AudioInfo:
        duration_s = frames / self.sample_rate
        return AudioInfo(duration_s, self.sample_rate, self.channels, self.subtype, self._decoder.notes)

    def _check_header(self) -> None:
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            expected = f"expected {LOWEST_RATE} to {HIGHEST_RATE} Hz"
            raise self.file.error(f"claims a sample rate of {self.sample_rate} Hz: {expected}")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise self.file.error(f"claims {self.channels} channels: expected 1 to {MOST_CHANNELS}")

    def _skip(self, first: int, start_s: float) -> None:
        skipped = self._decoder.skip(first) if first else 0
        if skipped < first:
            duration = f"lasts {skipped / self.sample_rate:.3f} s"
            raise self.file.error(f"{duration}: there is nothing to read from {start_s:.3f} s on")

    def _block_frames(self) -> int:
        frame = frame_length(self.sample_rate)
        longest = min(int(_BLOCK_S * self.sample_rate), _BLOCK_VALUES // self.channels)
        return max(longest // frame, 1) * frame

    def _check_samples(self, block: NDArray[np.float32]) -> None:
        peak = np.abs(block).max()
        if peak < _LARGEST_SAMPLE:
            return
        where = f"in the 10 s from {self._frames_read / self.sample_rate:.1f} s on"
        if np.isnan(peak):
            raise self.file.error(f"holds samples that are not numbers (NaN) {where}")
        if np.isinf(peak):
            raise self.file.error(f"holds infinite samples (Inf) {where}")
        raise self.file.error(f"holds samples {peak:.3g} times full scale {where}")

    def _check_work(self, first: int) -> None:
        duration_s = (first + self._frames_read) / self.sample_rate
        if duration_s > _LONGEST_S_ANYWAY + _LONGEST_S_PER_BYTE * self.file.size:
            raise self.file.error(f"claims more than {duration_s:.0f} s of audio in {self.file.size} bytes")


def _open(file: RecordingFile) -> PartsDecoder | MediaDecoder:
    if file.size == 0:
        raise file.error("is empty (0 bytes)")
    parts = find_parts(file)
    if parts:
        try:
            return PartsDecoder(file, parts)
        except UnsupportedFormatError:
            pass
    return open_media(file)
