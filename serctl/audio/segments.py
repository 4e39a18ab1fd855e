"""Read a recording as mono segments at the sample rate that was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import soxr

from serctl.audio.channels import Mix, find_mix, mean_of
from serctl.audio.decode import AudioInfo, AudioSource
from serctl.audio.quality import Quality, QualityMeter
from serctl.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.audio.file import RecordingFile


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, its times counted from the start of the file.

    samples: mono float32, shape (n,), at the rate that was asked for.
    """

    start_s: float
    end_s: float
    samples: NDArray[np.float32]


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


def _windows(blocks: Iterable[NDArray[np.float32]], window: int, hop: int) -> Iterator[NDArray[np.float32]]:
    """Regroup blocks into windows, one every `hop` samples; what remains, up to half a hop, joins the last one."""
    enough = window + hop / 2
    pieces: list[NDArray[np.float32]] = []
    length = 0
    for block in blocks:
        pieces.append(block)
        length += len(block)
        if length < enough:
            continue
        pending = np.concatenate(pieces)
        while len(pending) >= enough:
            yield pending[:window]
            pending = pending[hop:]
        pieces, length = [pending], len(pending)
    yield np.concatenate(pieces)


def window_bounds(length: int, window: int) -> list[tuple[int, int]]:
    """Cut `length` samples in memory into windows as SegmentReader does; the first and last sample of each."""
    bounds = []
    first = 0
    while length - first >= 1.5 * window:
        bounds.append((first, first + window))
        first += window
    return [*bounds, (first, length)]


class SegmentReader:
    """Reads a recording once, in bounded memory, as consecutive segments of mono samples.

    Segments last `window_s`; a remainder shorter than half a window joins the last one, so each lasts between 0.5 and
    1.5 windows, or the whole recording where that is shorter. With a `hop_s` below the window they overlap: one starts
    every `hop_s`, and what remains, up to half of it, joins the last one.
    Channels are mixed as channels.find_mix chooses. `start_s` and `end_s` bound the part that is read, in seconds
    from the start of the file; `end_s` may lie beyond its end. `channel` is the one to read alone, from 1 on.

    info, quality: facts about the part that was read, set when the iteration ends.

    Raises ConfigError for a window or rate that is not positive, a hop above the window, or a part of no length.
    Iterating raises AudioError for everything that is wrong with the file.
    """

    info: AudioInfo
    quality: Quality

    def __init__(
        self,
        recording: Path | RecordingFile,
        *,
        sample_rate: int,
        window_s: float,
        start_s: float = 0.0,
        end_s: float | None = None,
        channel: int | None = None,
        hop_s: float | None = None,
    ) -> None:
        if not (window_s > 0 and math.isfinite(window_s)):
            raise ConfigError(f"expected a window longer than 0 s. Received: {window_s}")
        _check_request(sample_rate, start_s, end_s)
        self._recording = recording
        self._sample_rate = sample_rate
        self._window = max(round(window_s * sample_rate), 1)
        self._hop = _hop(hop_s, window_s, sample_rate)
        self._start_s = start_s
        self._end_s = end_s
        self._channel = channel

    def __iter__(self) -> Iterator[Segment]:
        with AudioSource(self._recording) as source:
            blocks, mix = mixed_blocks(source, self._start_s, self._end_s, self._channel)
            meter = QualityMeter(source.sample_rate, source.subtype)
            mono = _measured(blocks, mix, meter)
            start = 0
            for samples in _windows(_resampled(mono, source.sample_rate, self._sample_rate), self._window, self._hop):
                yield self._segment(start, samples)
                start += self._hop
            info = source.info()
            self.info = replace(info, notes=(*info.notes, *mix.notes))
            self.quality = meter.result()

    def _segment(self, start: int, samples: NDArray[np.float32]) -> Segment:
        start_s = self._start_s + start / self._sample_rate
        return Segment(start_s, start_s + len(samples) / self._sample_rate, samples)


def _hop(hop_s: float | None, window_s: float, sample_rate: int) -> int:
    if hop_s is not None and not 0 < hop_s <= window_s:
        raise ConfigError(f"expected a hop above 0 s and at most the window of {window_s:g} s. Received: {hop_s}")
    return max(round((window_s if hop_s is None else hop_s) * sample_rate), 1)


def mixed_blocks(
    source: AudioSource, start_s: float = 0.0, end_s: float | None = None, channel: int | None = None
) -> tuple[Iterator[NDArray[np.float32]], Mix]:
    """Return the blocks of a part of a recording and how their channels become one.

    Args:
        source: the recording.
        start_s: where the part begins, in seconds.
        end_s: where it ends; None for the end of the recording.
        channel: the one to read alone, from 1 on; None for the mix of all.
    """
    blocks = source.blocks(start_s, end_s)
    if channel is None:
        return blocks, _find_mix(source, start_s, end_s)
    return _only(blocks, source, channel), mean_of(1)


def _only(blocks: Iterable[NDArray[np.float32]], source: AudioSource, channel: int) -> Iterator[NDArray[np.float32]]:
    if channel > source.channels:
        raise source.file.error(f"has {source.channels} channel(s): there is no channel {channel}")
    for block in blocks:
        yield block[:, channel - 1 : channel]


def _measured(blocks: Iterable[NDArray[np.float32]], mix: Mix, meter: QualityMeter) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        mono = mix.apply(block)
        meter.add(block, mono)
        yield mono


def _find_mix(source: AudioSource, start_s: float, end_s: float | None) -> Mix:
    """The mix of a part of a recording; only that of several channels takes a reading of its own."""
    if source.channels == 1:
        return mean_of(1)
    with AudioSource(source.file) as survey:
        return find_mix(survey.blocks(start_s, end_s), survey.channels)


def read_audio(
    recording: Path | RecordingFile, *, sample_rate: int, start_s: float = 0.0, end_s: float | None = None
) -> NDArray[np.float32]:
    """The whole recording, or the part of it between two times, as mono float32, shape (n,), at `sample_rate`.

    Raises ConfigError for a rate that is not positive or a part of no length, AudioError for what is wrong with the
    file.
    """
    _check_request(sample_rate, start_s, end_s)
    with AudioSource(recording) as source:
        mix = _find_mix(source, start_s, end_s)
        mono = map(mix.apply, source.blocks(start_s, end_s))
        return np.concatenate(list(_resampled(mono, source.sample_rate, sample_rate)))


def segments_of_samples(
    samples: NDArray[np.generic], *, sample_rate: int, to_rate: int, window_s: float, hop_s: float | None = None
) -> Iterator[Segment]:
    """Cut samples in memory into segments as SegmentReader cuts a file.

    Args:
        samples: shape (n,) or (n, channels); float with full scale 1.0, or integers with the full scale of their type.
        sample_rate: of the samples, in Hz.
        to_rate: of the segments, in Hz.
        window_s: length of a segment in seconds.
        hop_s: from the start of one segment to that of the next; None for the window.

    Raises:
        AudioError: there are no samples, their shape is another, or one is not finite.
        ConfigError: a rate is not positive, or the hop is above the window.
    """
    _check_request(sample_rate, 0.0, None)
    hop = _hop(hop_s, window_s, to_rate)
    start = 0
    resampled = _resampled([_mono(samples)], sample_rate, to_rate)
    for each in _windows(resampled, max(round(window_s * to_rate), 1), hop):
        yield Segment(start / to_rate, (start + len(each)) / to_rate, each)
        start += hop


def _mono(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "fi":
        raise AudioError(
            f"expected numbers of shape (n,) or (n, channels). Received: {array.dtype} of shape {array.shape}"
        )
    scale = 1.0 if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max) + 1
    floats = (array / scale).astype(np.float32)
    if not np.isfinite(floats).all():
        raise AudioError("expected finite samples. Received: NaN or infinity")
    channels = floats.reshape(len(floats), -1)
    return find_mix([channels], channels.shape[1]).apply(channels)


def read_header(recording: Path | RecordingFile) -> AudioInfo:
    """The facts of a recording without decoding it, unless its header gives no length.

    Raises AudioError as reading it would, but does not see damage behind the header.
    """
    with AudioSource(recording) as source:
        return source.header_info()


def _check_request(sample_rate: int, start_s: float, end_s: float | None) -> None:
    if sample_rate <= 0:
        raise ConfigError(f"expected a positive sample rate in Hz. Received: {sample_rate}")
    if not 0 <= start_s < (math.inf if end_s is None else end_s):
        raise ConfigError(f"expected 0 <= start < end in seconds. Received: start {start_s}, end {end_s}")
