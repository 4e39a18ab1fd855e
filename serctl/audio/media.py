"""Decode with PyAV (FFmpeg's libraries) what libsndfile cannot read: MP4, AAC, AMR, WMA, WebM, the sound of videos."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.audio.file import LENGTH_UNKNOWN, Part, PartView, unreadable
from serctl.audio.signatures import SIGNED_BYTES, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from serctl.audio.file import RecordingFile
    from serctl.errors import AudioError

SUFFIXES = frozenset(
    {
        *(".3ga", ".3gp", ".aac", ".amr", ".asf", ".avi", ".awb", ".m4a", ".m4b", ".m4v"),
        *(".mka", ".mkv", ".mov", ".mp4", ".weba", ".webm", ".wma", ".wmv"),
    }
)
"""Suffixes of recordings and videos that PyAV is needed for."""

_UNKNOWN = "is not audio that can be read: expected WAV, FLAC, OGG (Vorbis or Opus), MP3, AIFF, CAF or AU"
# Kinds of recordings that PyAV may read where libsndfile does not know the codec.
_KINDS = frozenset({"AAC", "AMR", "CAF", "MP4", "OGG", "WMA", "WebM"})

# Demuxers that read one file alone: a playlist would open others.
_DEMUXERS = "aac,aiff,amr,amrnb,amrwb,asf,avi,caf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,ogg,wav"
_WITHOUT_LENGTH = frozenset({"aac", "amr", "amrnb", "amrwb"})
# A container may round its duration, and count what the encoder added.
_MISSING_S = 0.5
_SKIP_FRAMES = 1 << 16


class MediaDecoder:
    """The first sound track of a file, as float32 samples.

    Raises AudioError if the file cannot be read, has no sound track, or is damaged.
    """

    def __init__(self, file: RecordingFile) -> None:
        import av

        self._file = file
        _check_avi(file)
        self._view = PartView(file, Part(0, file.size))
        self._errors: Any = av.FFmpegError
        self._pending: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._resampler = av.AudioResampler(format="fltp")
        with self._decoding(_why_unreadable(file)):
            self._container = av.open(self._view, options={"format_whitelist": _DEMUXERS})
        try:
            self._begin()
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def length(self) -> int | None:
        """Frames of the track by the container, rounded; None where it does not give them."""
        return None if self._promised_s is None else round(self._promised_s * self.sample_rate)

    def read(self, block: NDArray[np.float32]) -> int:
        """Fill the block, float32 (n, channels), as far as the track goes and return the number of frames."""
        filled = 0
        while filled < len(block) and len(self._pending):
            piece = self._pending[: len(block) - filled]
            block[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._pending = self._pending[len(piece) :]
            if len(self._pending) == 0:
                self._pending = self._next()
        return filled

    def skip(self, frames: int) -> int:
        """Move on by so many frames, or to the end, and return how many those were."""
        block = np.empty((_SKIP_FRAMES, self.channels), np.float32)
        skipped = 0
        while skipped < frames and (count := self.read(block[: frames - skipped])):
            skipped += count
        return skipped

    def _begin(self) -> None:
        tracks = self._container.streams.audio
        if not tracks:
            raise self._file.error("has no sound track")
        self._frames = self._container.decode(tracks[0])
        self._decoded = 0
        self.sample_rate = self.channels = 0
        first = self._next()
        # Only a decoded frame tells them: HE-AAC doubles the rate of its header.
        self.channels = first.shape[1]
        self._pending = first
        self.subtype: str = tracks[0].codec_context.name.upper()
        self._promised_s = self._duration_s(tracks[0])
        self.notes = (LENGTH_UNKNOWN,) if self._promised_s is None else ()

    def _duration_s(self, track: Any) -> float | None:
        if self._container.format.name in _WITHOUT_LENGTH:
            return None
        if track.duration is not None:
            return float(track.duration * track.time_base)
        return None if self._container.duration is None else self._container.duration / 1e6

    def _next(self) -> NDArray[np.float32]:
        """The next samples, shape (n, channels); n is 0 at the end."""
        with self._decoding("is damaged or truncated: decoding stopped"):
            for frame in self._frames:
                if not self.sample_rate:
                    self.sample_rate = frame.sample_rate
                planes = [each.to_ndarray() for each in self._resampler.resample(frame)]
                if planes:
                    samples: NDArray[np.float32] = np.concatenate(planes, axis=1).T
                    self._check_same(frame.sample_rate, samples.shape[1])
                    self._decoded += len(samples)
                    return samples
        self._check_complete()
        return np.empty((0, self.channels), np.float32)

    def _check_same(self, rate: int, channels: int) -> None:
        if rate != self.sample_rate or channels != (self.channels or channels):
            before, after = f"{self.sample_rate} Hz x {self.channels}", f"{rate} Hz x {channels}"
            raise self._file.error(f"changes in its middle from {before} to {after} channels: cut it there")

    def _check_complete(self) -> None:
        if self._decoded == 0:
            raise self._file.error("holds no samples")
        missing_s = (self._promised_s or 0.0) - self._decoded / self.sample_rate
        if missing_s > _MISSING_S:
            promise = f"{self._decoded / self.sample_rate:.2f} of the {self._promised_s:.2f} s that its header promises"
            raise self._file.error(f"is truncated: it holds {promise}")

    @contextmanager
    def _decoding(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._errors, ValueError) as error:
            # PyAV raises ValueError where the rate or the channels change.
            self._raise_failure()
            raise self._file.error(what) from error
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._view.failure is not None:
            raise unreadable(self._file.path, self._view.failure) from self._view.failure


def open_media(file: RecordingFile) -> MediaDecoder:
    """Open a recording with PyAV.

    Raises AudioError if it cannot be read, or says what to install where that would help.
    """
    try:
        return MediaDecoder(file)
    except ImportError as error:
        raise _needs_pyav(file) from error


def _why_unreadable(file: RecordingFile) -> str:
    kind = kind_of(file.bytes_at(0, SIGNED_BYTES))
    return f"begins as {kind}, but cannot be read: it is cut off or damaged" if kind in _KINDS else _UNKNOWN


def _check_avi(file: RecordingFile) -> None:
    """FFmpeg takes the length of an AVI from the bytes that there are, not from its header."""
    head = file.bytes_at(0, 12)
    promised = 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and head[8:] == b"AVI " and promised > file.size:
        raise file.error(f"is truncated: it holds {file.size} of the {promised} bytes that its header promises")


def _needs_pyav(file: RecordingFile) -> AudioError:
    kind = kind_of(file.bytes_at(0, SIGNED_BYTES))
    known = file.path.suffix.lower() in SUFFIXES or kind in _KINDS
    if not known:
        return file.error(_UNKNOWN)
    return file.error("is media that takes PyAV to read: pip install 'serctl[media]'")
