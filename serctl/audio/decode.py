"""Find recordings, read them in blocks as mono float32 at the asked rate, and measure their quality.

soundfile (libsndfile) decodes, soxr resamples. Whatever is wrong with a file is an AudioError that names the cause and
the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from serctl.audio.quality import frame_length
from serctl.errors import AudioError
from serctl.files import show_path
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray


_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3"})
_QUIET_FORMATS = frozenset({b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS"})
_FORMATS_WITH_LENGTH = _FORMATS - {"OGG", "MP3"}
_FORMAT_HELP = "expected WAV, FLAC, OGG (Vorbis or Opus) or MP3"
_DIGEST_BLOCK = 1 << 20
_BLOCK_S = 10.0
_BLOCK_VALUES = 1 << 20
# An MP3 frame borrows bits from those before it: a decoder that starts in the middle needs some to get going.
_MP3_LEAD = 1 << 15
# What libsndfile reports as the length of a FLAC stream whose header gives none.
_UNKNOWN_FRAMES = 1 << 40
# Tools that write to a pipe put 0xFFFFFFFF, 0x80000000 or 0x7FFFF000 where the size of the data belongs.
_STREAMED_SIZE = 0x7FFF_0000
# Far beyond any audio, and small enough that its square stays finite in float32.
_LARGEST_SAMPLE = 1e6


@dataclass(frozen=True)
class AudioInfo:
    """The facts of a recording before downmix and resampling; `duration_s` counts the samples that were read."""

    duration_s: float
    sample_rate: int
    channels: int
    subtype: str


def content_digest(path: Path) -> str:
    """Hex digest (BLAKE2b, 16 bytes) of the file's bytes. Raises AudioError if they cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with _RecordingFile(path) as file:
            while block := file.read(_DIGEST_BLOCK):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> AudioError:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return AudioError(
            f"{show_path(path)} is a dangling link: it points to {show_path(path.readlink())}, which does not exist"
        )
    if isinstance(error, FileNotFoundError):
        return AudioError(f"{show_path(path)} does not exist")
    if isinstance(error, PermissionError):
        return AudioError(f"{show_path(path)} cannot be read: permission denied")
    if error.errno == errno.ELOOP:
        return AudioError(f"{show_path(path)} is a link that leads back to itself")
    return AudioError(f"{show_path(path)} cannot be read: {error.strerror or error}")


class _RecordingFile(io.FileIO):
    """The bytes of a recording, as libsndfile's callbacks want them.

    A WAV written to a pipe may carry 0 where the sizes belong. libsndfile would find no samples in it, so it is shown
    the size that means 'to the end of the file'.
    """

    def __init__(self, path: Path) -> None:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            # Opening a named pipe would wait for a writer.
            raise AudioError(f"{show_path(path)} is not a regular file")
        super().__init__(path, "rb")
        # soundfile would take a suffix such as .raw for the format.
        self.name = ""
        self.size = os.fstat(self.fileno()).st_size
        self.failure: OSError | None = None
        self._size_fields: tuple[int, ...] = ()

    def let_data_run_to_the_end(self, size_fields: tuple[int, ...]) -> None:
        """Show 0xFFFFFFFF in the four bytes at each of these offsets."""
        self._size_fields = size_fields

    def readinto(self, buffer: Any) -> int:
        """Read as FileIO does, but keep an OSError for later: a callback of libsndfile could only print it."""
        start = self.tell()
        try:
            count = super().readinto(buffer) or 0
        except OSError as error:
            self.failure = error
            return 0
        for field in self._size_fields:
            first, last = max(field, start), min(field + 4, start + count)
            if first < last:
                memoryview(buffer).cast("B")[first - start : last - start] = b"\xff" * (last - first)
        return count


@dataclass(frozen=True)
class _WavData:
    """Where a RIFF WAV keeps its samples: the offset and value of the size field, and the bytes that follow it."""

    size_field: int
    promised: int
    present: int
    riff_size: int


def _find_wav_data(file: _RecordingFile) -> _WavData | None:
    """The data chunk of a RIFF WAV; None for other formats and where there is none. Leaves the position at 0."""
    file.seek(0)
    head = file.read(12)
    position = 12
    found = None
    while found is None and head[:4] == b"RIFF" and head[8:] == b"WAVE":
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        size = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            riff_size = int.from_bytes(head[4:8], "little")
            found = _WavData(position + 4, size, max(file.size - position - 8, 0), riff_size)
        position += 8 + size + size % 2
    file.seek(0)
    return found


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """A SoundFile that only moves when told to."""

    def seekable(self) -> bool:
        """No, lest soundfile seek to where it is after every read: that breaks MP3, and FLAC of unknown length."""
        return False


class AudioSource:
    """An open recording: its facts, and its samples in blocks. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames_read = 0
        with ExitStack() as opened:
            try:
                self._file = opened.enter_context(_RecordingFile(path))
                self._check_header()
            except OSError as error:
                raise _unreadable(path, error) from error
            self._decoder = opened.enter_context(self._open())
            self._check_format()
            self._opened = opened.pop_all()
        self.sample_rate: int = self._decoder.samplerate
        self.channels: int = self._decoder.channels
        self.subtype: str = self._decoder.subtype

    def __enter__(self) -> AudioSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def info(self) -> AudioInfo:
        """The facts so far: complete once the blocks have been read."""
        return self._info(self._frames_read)

    def header_info(self) -> AudioInfo:
        """The facts as the header gives them; AudioError if it gives no length."""
        if self._decoder.frames > _UNKNOWN_FRAMES:
            raise self._error("does not give its length in its header, as if written to a pipe")
        return self._info(self._decoder.frames)

    def _info(self, frames: int) -> AudioInfo:
        return AudioInfo(frames / self.sample_rate, self.sample_rate, self.channels, self.subtype)

    def blocks(self, start_s: float, end_s: float | None) -> Iterator[NDArray[np.float32]]:
        """Blocks of a whole number of 20 ms frames (the last one excepted), float32, shape (n, channels)."""
        first = round(start_s * self.sample_rate)
        wanted = sys.maxsize if end_s is None else round(end_s * self.sample_rate) - first
        self._seek(first, start_s)
        block_frames = self._block_frames()
        while wanted > 0:
            block = self._read(min(block_frames, wanted))
            if len(block) == 0:
                break
            self._check_samples(block)
            self._frames_read += len(block)
            wanted -= len(block)
            yield block
        if wanted > 0:
            self._check_complete(first)
        if self._frames_read == 0:
            raise self._error("holds no samples")

    def _check_header(self) -> None:
        if self._file.size == 0:
            raise self._error("is empty (0 bytes)")
        self._check_wav_header()
        # Any other file may end up with libmpg123, which prints what it makes of it.
        self._may_print = self._file.read(4) not in _QUIET_FORMATS
        self._file.seek(0)

    def _check_wav_header(self) -> None:
        data = _find_wav_data(self._file)
        if data is None:
            return
        if data.promised == 0 and data.present > 0 and data.riff_size + 8 != self._file.size:
            self._file.let_data_run_to_the_end((4, data.size_field))
        elif data.present < data.promised < _STREAMED_SIZE:
            promise = f"{data.present} of the {data.promised} bytes of samples that its header promises"
            raise self._error(f"is truncated: it holds {promise}")

    def _open(self) -> _Decoder:
        try:
            with self._silence():
                return _Decoder(self._file)
        except soundfile.LibsndfileError as error:
            raise self._error(f"is not audio that can be read: {_FORMAT_HELP}") from error

    def _check_format(self) -> None:
        if self._decoder.format not in _FORMATS:
            raise self._error(f"is {self._decoder.format} audio: {_FORMAT_HELP}")

    def _seek(self, first: int, start_s: float) -> None:
        if first == 0:
            return
        if first >= self._decoder.frames:
            duration = self.header_info().duration_s
            raise self._error(f"lasts {duration:.3f} s: there is nothing to read from {start_s:.3f} s on")
        lead = min(first, _MP3_LEAD) if self._decoder.format == "MP3" else 0
        with self._decoding():
            self._decoder.seek(first - lead)
            self._decoder.read(out=np.empty((lead, self.channels), np.float32))

    def _block_frames(self) -> int:
        frame = frame_length(self.sample_rate)
        longest = min(int(_BLOCK_S * self.sample_rate), _BLOCK_VALUES // self.channels)
        return max(longest // frame, 1) * frame

    def _read(self, frames: int) -> NDArray[np.float32]:
        # With out=, soundfile asks the decoder itself: the length an MP3 header gives is an estimate.
        block = np.empty((frames, self.channels), np.float32)
        with self._decoding():
            return block[: len(self._decoder.read(out=block))]

    def _silence(self) -> AbstractContextManager[None]:
        return quiet_stderr() if self._may_print else nullcontext()

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            with self._silence():
                yield
        except soundfile.LibsndfileError as error:
            where = f"in the block after {self._frames_read} of {self._decoder.frames} samples"
            raise self._error(f"is damaged or truncated: decoding stopped {where}") from error
        if self._file.failure is not None:
            raise _unreadable(self._path, self._file.failure) from self._file.failure

    def _check_samples(self, block: NDArray[np.float32]) -> None:
        peak = np.abs(block).max()
        if peak < _LARGEST_SAMPLE:
            return
        where = f"in the 10 s from {self._frames_read / self.sample_rate:.1f} s on"
        if np.isnan(peak):
            raise self._error(f"holds samples that are not numbers (NaN) {where}")
        if np.isinf(peak):
            raise self._error(f"holds infinite samples (Inf) {where}")
        raise self._error(f"holds samples {peak:.3g} times full scale {where}")

    def _check_complete(self, first: int) -> None:
        end, promised = first + self._frames_read, self._decoder.frames
        if end < promised < _UNKNOWN_FRAMES and self._decoder.format in _FORMATS_WITH_LENGTH:
            raise self._error(f"is truncated: it holds {end} of the {promised} samples that its header promises")

    def _error(self, what: str) -> AudioError:
        return AudioError(f"{show_path(self._path)} {what}")
