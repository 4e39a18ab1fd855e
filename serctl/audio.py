"""Find recordings, read them in blocks as mono float32 at the asked rate, and measure their quality.

soundfile (libsndfile) decodes, soxr resamples. Whatever is wrong with a file is an AudioError that names the cause and
the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import re
import stat
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
import soundfile
import soxr

from serctl.errors import AudioError, ConfigError
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

__all__ = [
    "SUFFIXES",
    "AudioInfo",
    "Quality",
    "Recording",
    "Segment",
    "SegmentReader",
    "content_digest",
    "find_recordings",
    "read_audio",
    "read_header",
]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"})

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
# Powers relative to full scale, and numbers of frames, that Quality documents.
_SILENCE = 1e-6
_SILENCE_BELOW_LOUD = 1e-4
_AUDIBLE = 1e-10
_SNR_FRAMES = 10
_BANDWIDTH_BELOW_PEAK = 1e-6
_BANDWIDTH_FLOOR = 4 / 12 / 32768**2
# Enough of a block's frames for its long-term spectrum.
_SPECTRUM_FRAMES = 64
# Device and inode of the folder, name in it: one file, whatever the path to its folder.
_FileId = tuple[int, int, str]
# The largest code of these subtypes is clearly below 1.0.
_FULL_SCALE = {"PCM_S8": 127 / 128, "PCM_U8": 127 / 128, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}


@dataclass(frozen=True)
class Recording:
    """A file to read; `path` is as given, or as reached by walking a given folder."""

    path: Path


@dataclass(frozen=True)
class AudioInfo:
    """The facts of a recording before downmix and resampling; `duration_s` counts the samples that were read."""

    duration_s: float
    sample_rate: int
    channels: int
    subtype: str


@dataclass(frozen=True)
class Quality:
    """Quality facts of a recording, or of the stretch of it that was read; nan where undefined.

    All but clipping are measured on 20 ms frames of the downmix at the recording's own rate, each without its mean.

    clipping: share of samples (of all channels) at or beyond 0.999 of full scale.
    silence: share of frames whose RMS is below -60 dBFS, or over 40 dB below that of the loud ones (95th percentile).
    snr_db: level of the loud frames (95th percentile) over that of the noise floor (10th percentile), among the frames
        above -100 dBFS, so that digital zeros around an utterance do not count as its noise floor. nan if there are
        fewer than ten of these.
    bandwidth_hz: highest frequency at which the long-term average spectrum is within 60 dB of its peak, and 6 dB above
        the rounding noise of 16-bit samples; nan if there is none.
    """

    clipping: float
    silence: float
    snr_db: float
    bandwidth_hz: float


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, its times counted from the start of the file.

    samples: mono float32, shape (n,), at the rate that was asked for.
    """

    start_s: float
    end_s: float
    samples: NDArray[np.float32]


def find_recordings(paths: Sequence[Path]) -> list[Recording]:
    """The recordings among `paths`: files as given, folders searched recursively in natural order, each file once.

    Files given by name are taken whatever their suffix. In folders, hidden entries are skipped, links are followed, and
    each real folder is read once, so that a loop of links ends. What carries a recording's suffix but cannot be read,
    and a folder that cannot be listed, are returned too: reading them says why it failed.

    Raises AudioError if a path does not exist, or if there is no recording in all of them.
    """
    found: dict[_FileId, Path] = {}
    seen: set[tuple[int, int]] = set()
    for path in map(Path, paths):
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where the parent folder is closed to us
            for file_id, file in _walk(path, seen):
                found.setdefault(file_id, file)
        elif os.path.lexists(path):
            found.setdefault((*_folder_id(path.parent), path.name), path)
        else:
            raise AudioError(f"{_show(path)} does not exist: expected a recording or a folder of recordings")
    if not found:
        places = ", ".join(map(_show, paths)) or "an empty list of paths"
        raise AudioError(f"no recording in {places}: looked for {' '.join(sorted(SUFFIXES))}")
    return [Recording(path) for path in found.values()]


def _walk(root: Path, seen: set[tuple[int, int]]) -> list[tuple[_FileId, Path]]:
    """The recordings below root in natural order, without the folders that were `seen` before; adds its own to them."""
    found: list[tuple[_FileId, str]] = []
    folders, links = [os.fspath(root)], list[str]()
    while folders or links:
        # Links come last: a folder that can be reached without one is reported by its own path.
        folder = folders.pop() if folders else links.pop(0)
        folder_id = _folder_id(Path(folder))
        if folder_id in seen:
            continue
        seen.add(folder_id)
        try:
            entries = _visible_entries(folder)
        except OSError:
            found.append(((*folder_id, ""), folder))
            continue
        for entry in entries:
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - Path is too slow for 100,000 files
                found.append(((*folder_id, entry.name), entry.path))
    found.sort(key=lambda item: _natural_key(item[1]))
    return [(file_id, Path(path)) for file_id, path in found]


def _visible_entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where we may not look
        return False


def _folder_id(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _natural_key(path: str) -> tuple[list[str | int], str]:
    """Orders take2 before take10; the path itself settles ties of case and leading zeros."""
    parts: list[str | int] = list(re.split(r"([0-9]+)", path.casefold()))
    parts[1::2] = map(int, parts[1::2])
    return parts, path


def _show(path: Path) -> str:
    """The path in quotes, on one line whatever its name holds."""
    return repr(str(path))


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
            f"{_show(path)} is a dangling link: it points to {_show(path.readlink())}, which does not exist"
        )
    if isinstance(error, FileNotFoundError):
        return AudioError(f"{_show(path)} does not exist")
    if isinstance(error, PermissionError):
        return AudioError(f"{_show(path)} cannot be read: permission denied")
    if error.errno == errno.ELOOP:
        return AudioError(f"{_show(path)} is a link that leads back to itself")
    return AudioError(f"{_show(path)} cannot be read: {error.strerror or error}")


class _RecordingFile(io.FileIO):
    """The bytes of a recording, as libsndfile's callbacks want them.

    A WAV written to a pipe may carry 0 where the sizes belong. libsndfile would find no samples in it, so it is shown
    the size that means 'to the end of the file'.
    """

    def __init__(self, path: Path) -> None:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            # Opening a named pipe would wait for a writer.
            raise AudioError(f"{_show(path)} is not a regular file")
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


class _Source:
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

    def __enter__(self) -> _Source:
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
        frame = _frame_length(self.sample_rate)
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
        return AudioError(f"{_show(self._path)} {what}")


def _frame_length(sample_rate: int) -> int:
    """Samples in 20 ms."""
    return max(round(0.02 * sample_rate), 1)


class _QualityMeter:
    """Accumulates the facts of Quality block by block."""

    def __init__(self, sample_rate: int, subtype: str) -> None:
        self._sample_rate = sample_rate
        self._length = _frame_length(sample_rate)
        self._clip_level = np.float32(0.999 * _FULL_SCALE.get(subtype, 1.0))
        self._window = np.hanning(self._length + 2)[1:-1].astype(np.float32)
        self._clipped = self._values = 0
        self._energies: list[NDArray[np.float32]] = []
        self._spectrum = np.zeros(self._length // 2 + 1)
        self._spectrum_weight = 0.0

    def downmix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in a block, float32 (n, channels), and return the mean of its channels."""
        mono = _downmix(block)
        self._values += block.size
        self._clipped += int(np.count_nonzero(np.abs(block) >= self._clip_level))
        frames = self._frames(mono)
        if len(frames):
            self._energies.append(np.einsum("ij,ij->i", frames, frames) / np.float32(self._length))
            self._add_spectrum(frames)
        return mono

    def result(self) -> Quality:
        """The facts of all blocks so far."""
        energies = np.sort(np.concatenate(self._energies))
        loud = _percentile(energies, 95)
        silent = max(_SILENCE, loud * _SILENCE_BELOW_LOUD)
        return Quality(
            clipping=self._clipped / self._values,
            silence=float(np.searchsorted(energies, silent)) / len(energies),
            snr_db=_snr_db(energies),
            bandwidth_hz=self._bandwidth_hz(),
        )

    def _frames(self, mono: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames without their mean (DC is no sound), shape (n, length); a recording shorter than one is padded."""
        count = len(mono) // self._length
        if count:
            frames = mono[: count * self._length].reshape(count, self._length)
            centred: NDArray[np.float32] = frames - frames.mean(axis=1, keepdims=True)
            return centred
        if self._energies:
            return np.empty((0, self._length), np.float32)
        padded = np.zeros((1, self._length), np.float32)
        padded[0, : len(mono)] = mono - mono.mean()
        return padded

    def _add_spectrum(self, frames: NDArray[np.float32]) -> None:
        step = -(-len(frames) // _SPECTRUM_FRAMES)
        spectra = scipy.fft.rfft(frames[::step] * self._window)
        # Every block counts by its length.
        self._spectrum += step * np.einsum("ij,ij->j", spectra, spectra.conj()).real
        self._spectrum_weight += step * len(spectra) * float(self._window @ self._window)

    def _bandwidth_hz(self) -> float:
        floor = max(self._spectrum.max() * _BANDWIDTH_BELOW_PEAK, self._spectrum_weight * _BANDWIDTH_FLOOR)
        above = np.flatnonzero(self._spectrum > floor)
        return float(above[-1]) * self._sample_rate / self._length if len(above) else math.nan


def _percentile(ordered: NDArray[np.float32], percent: int) -> float:
    """The sample percentile of sorted values, by nearest rank; numpy.percentile takes longer than all the rest here."""
    return float(ordered[(len(ordered) - 1) * percent // 100])


def _snr_db(ordered: NDArray[np.float32]) -> float:
    audible = ordered[np.searchsorted(ordered, _AUDIBLE) :]
    if len(audible) < _SNR_FRAMES:
        return math.nan
    return 10 * math.log10(_percentile(audible, 95) / _percentile(audible, 10))


def _downmix(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels of float32 (n, channels)."""
    channels = block.shape[1]
    return block[:, 0] if channels == 1 else block @ np.full(channels, 1 / channels, np.float32)


def _resampled(blocks: Iterable[NDArray[np.float32]], from_rate: int, to_rate: int) -> Iterator[NDArray[np.float32]]:
    """The mono blocks at another rate, at least one sample in all."""
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")
    made, first = 0, np.empty(0, np.float32)
    for block in blocks:
        resampled = stream.resample_chunk(block)
        made += len(resampled)
        first = first if len(first) else block[:1]
        yield resampled
    rest = stream.resample_chunk(np.empty(0, np.float32), last=True)
    yield rest if made + len(rest) else first


def _windows(blocks: Iterable[NDArray[np.float32]], window: int) -> Iterator[NDArray[np.float32]]:
    """Regroup blocks into windows; what remains, up to half a window, joins the last one."""
    pieces: list[NDArray[np.float32]] = []
    length = 0
    for block in blocks:
        pieces.append(block)
        length += len(block)
        if length < 1.5 * window:
            continue
        pending = np.concatenate(pieces)
        while len(pending) >= 1.5 * window:
            yield pending[:window]
            pending = pending[window:]
        pieces, length = [pending], len(pending)
    yield np.concatenate(pieces)


class SegmentReader:
    """Reads a recording once, in bounded memory, as consecutive segments of mono samples.

    Segments last `window_s`; a remainder shorter than half a window joins the last one, so each lasts between 0.5 and
    1.5 windows, or the whole recording where that is shorter. Channels are averaged. `start_s` and `end_s` bound the
    part that is read, in seconds from the start of the file; `end_s` may lie beyond its end.

    info, quality: facts about the part that was read, set when the iteration ends.

    Raises ConfigError for a window or rate that is not positive, or a part of no length. Iterating raises AudioError
    for everything that is wrong with the file.
    """

    info: AudioInfo
    quality: Quality

    def __init__(
        self, path: Path, *, sample_rate: int, window_s: float, start_s: float = 0.0, end_s: float | None = None
    ) -> None:
        if not (window_s > 0 and math.isfinite(window_s)):
            raise ConfigError(f"expected a window longer than 0 s. Received: {window_s}")
        _check_request(sample_rate, start_s, end_s)
        self._path = path
        self._sample_rate = sample_rate
        self._window = max(round(window_s * sample_rate), 1)
        self._start_s = start_s
        self._end_s = end_s

    def __iter__(self) -> Iterator[Segment]:
        with _Source(self._path) as source:
            meter = _QualityMeter(source.sample_rate, source.subtype)
            mono = map(meter.downmix, source.blocks(self._start_s, self._end_s))
            start = 0
            for samples in _windows(_resampled(mono, source.sample_rate, self._sample_rate), self._window):
                yield self._segment(start, samples)
                start += len(samples)
            self.info = source.info()
            self.quality = meter.result()

    def _segment(self, start: int, samples: NDArray[np.float32]) -> Segment:
        start_s = self._start_s + start / self._sample_rate
        return Segment(start_s, start_s + len(samples) / self._sample_rate, samples)


def read_audio(
    path: Path, *, sample_rate: int, start_s: float = 0.0, end_s: float | None = None
) -> NDArray[np.float32]:
    """The whole recording, or the part of it between two times, as mono float32, shape (n,), at `sample_rate`.

    Raises ConfigError for a rate that is not positive or a part of no length, AudioError for what is wrong with the
    file.
    """
    _check_request(sample_rate, start_s, end_s)
    with _Source(path) as source:
        mono = map(_downmix, source.blocks(start_s, end_s))
        return np.concatenate(list(_resampled(mono, source.sample_rate, sample_rate)))


def read_header(path: Path) -> AudioInfo:
    """The facts of a recording without decoding it: the duration of an MP3 may be an estimate.

    Raises AudioError as reading it would, but does not see damage behind the header; and if the header gives no length.
    """
    with _Source(path) as source:
        return source.header_info()


def _check_request(sample_rate: int, start_s: float, end_s: float | None) -> None:
    if sample_rate <= 0:
        raise ConfigError(f"expected a positive sample rate in Hz. Received: {sample_rate}")
    if not 0 <= start_s < (math.inf if end_s is None else end_s):
        raise ConfigError(f"expected 0 <= start < end in seconds. Received: start {start_s}, end {end_s}")
