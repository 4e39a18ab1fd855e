"""The features of a recording, window by window, from the cache where it has them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.audio.decode import AudioInfo
from serctl.audio.file import RecordingFile
from serctl.audio.quality import Quality
from serctl.audio.segments import Segment, SegmentReader, read_audio, segments_of_samples, window_bounds
from serctl.cache import Cache, make_key
from serctl.encoders.speech import UNITS
from serctl.encoders.voice import TOGETHER
from serctl.errors import ConfigError
from serctl.features.compute import Features, compute_windows
from serctl.features.functionals import functional_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray

CHUNK_WINDOWS = 64
"""Windows in one cache entry: a long recording is cached, and read back, in pieces of bounded size."""

READING_VERSION = 2
"""Part of every key: the samples of some recordings changed when channels in opposite phase were no longer summed."""

NOT_OURS = (KeyError, ValueError, TypeError, IndexError, OverflowError)
"""What unpacking a cache entry raises that another program made, or another version: it is computed again."""


@dataclass(frozen=True)
class Window:
    """A stretch of a recording, in seconds from its start, and what was computed from it.

    features.lld is empty, shape (0, 0), unless frame-level descriptors were asked for.
    """

    start_s: float
    end_s: float
    features: Features


class FeatureReader:
    """Iterates the windows of a recording; the whole file is read once, in bounded memory, or not at all when cached.

    channel: the one to read alone, from 1 on; None for the mix of all.
    hop_s: seconds from the start of a window to that of the next; None for the window, so that they do not overlap.
    info, quality: facts about the part that was read, set once the iteration has ended.
    digest: the content digest of the file, set when the iteration starts.
    Raises AudioError for everything that is wrong with the file.
    """

    info: AudioInfo
    quality: Quality
    digest: str

    def __init__(
        self,
        path: Path,
        config: FeatureConfig,
        *,
        cache: Cache | None,
        start_s: float = 0.0,
        end_s: float | None = None,
        with_frames: bool = False,
        channel: int | None = None,
        hop_s: float | None = None,
    ) -> None:
        self._path = path
        self._config = config
        self._cache = cache
        self._start_s = start_s
        self._end_s = end_s
        self._with_frames = with_frames
        self._channel = channel
        self._hop_s = None if hop_s == config.window_s else hop_s

    def __iter__(self) -> Iterator[Window]:
        with RecordingFile(self._path) as file:
            self.digest = file.digest()
            yield from self._windows(file)

    def _windows(self, file: RecordingFile) -> Iterator[Window]:
        given = 0
        while (chunk := self._cached(given // CHUNK_WINDOWS)) is not None:
            windows, facts = chunk
            given += len(windows)
            yield from windows
            if facts:
                self._set_facts(*facts)
                return
        yield from self._computed(file, skip=given)

    def _computed(self, file: RecordingFile, *, skip: int) -> Iterator[Window]:
        reader = SegmentReader(
            file,
            sample_rate=self._config.sample_rate,
            window_s=self._config.window_s,
            start_s=self._start_s,
            end_s=self._end_s,
            channel=self._channel,
            hop_s=self._hop_s,
        )
        chunk: list[Window] = []
        index = skip - 1
        for index, (segment, features) in enumerate(_featured(islice(reader, skip, None), self._config), start=skip):
            if len(chunk) == CHUNK_WINDOWS:
                self._store(file, index // CHUNK_WINDOWS - 1, _pack(chunk))
                chunk = []
            chunk.append(Window(segment.start_s, segment.end_s, self._keep(features)))
            yield chunk[-1]
        self._set_facts(reader.info, reader.quality)
        self._store(file, index // CHUNK_WINDOWS, {**_pack(chunk), **_pack_facts(reader.info, reader.quality)})

    def _keep(self, features: Features) -> Features:
        if self._with_frames:
            return features
        return replace(features, lld=np.empty((0, 0), np.float32))

    def _set_facts(self, info: AudioInfo, quality: Quality) -> None:
        self.info, self.quality = info, quality

    def _key(self, chunk: int) -> str:
        key = _chunk_key(self.digest, self._config, self._start_s, self._end_s, self._with_frames, chunk)
        if self._hop_s is not None:
            key = make_key(key, "hop", float(self._hop_s))
        return key if self._channel is None else make_key(key, self._channel)

    def _cached(self, chunk: int) -> tuple[list[Window], tuple[AudioInfo, Quality] | None] | None:
        """Windows of the cache, with the facts if they are the last ones; None for a chunk to compute (again)."""
        entry = self._cache.get(self._key(chunk)) if self._cache else None
        if entry is None:
            return None
        try:
            windows = _unpack(entry, self._config)
            facts = _unpack_facts(entry) if "facts" in entry else None
        except NOT_OURS:
            return None
        return (windows, facts) if facts or len(windows) == CHUNK_WINDOWS else None

    def _store(self, file: RecordingFile, chunk: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        if self._cache:
            # The digest in the key was that of the bytes that these features were computed from.
            file.check_unchanged()
            self._cache.put(self._key(chunk), arrays)


def _featured(segments: Iterator[Segment], config: FeatureConfig) -> Iterator[tuple[Segment, Features]]:
    # TOGETHER divides CHUNK_WINDOWS: windows meet the same others whatever is cached.
    together = TOGETHER if config.voice_encoder else 1
    while group := list(islice(segments, together)):
        yield from zip(group, compute_windows([each.samples for each in group], config), strict=True)


def windows_of_samples(
    samples: NDArray[Any], config: FeatureConfig, *, sample_rate: int, hop_s: float | None = None
) -> Iterator[Window]:
    """Compute the features of samples in memory, window by window, as FeatureReader does for a file.

    Args:
        samples: shape (n,) or (n, channels); see segments_of_samples.
        config: what to compute.
        sample_rate: of the samples, in Hz.
        hop_s: seconds from the start of a window to that of the next; None for the window.

    Raises:
        AudioError: the samples cannot be used.
        ConfigError: the rate is not positive.
    """
    segments = segments_of_samples(
        samples, sample_rate=sample_rate, to_rate=config.sample_rate, window_s=config.window_s, hop_s=hop_s
    )
    for segment, features in _featured(segments, config):
        yield Window(segment.start_s, segment.end_s, features)


def open_windows(
    audio: str | Path | NDArray[Any], config: FeatureConfig, *, sample_rate: int | None, hop_s: float | None
) -> Iterable[Window]:
    """Return the windows of a recording, or of samples in memory; nothing is read before they are iterated.

    Args:
        audio: a path, or samples; see windows_of_samples.
        config: what to compute.
        sample_rate: of the samples, in Hz; None for a recording, which states its own.
        hop_s: seconds from one window to the next; None where they do not overlap.

    Raises:
        ConfigError: samples are given without their rate, or a recording with one.
    """
    if isinstance(audio, str | Path):
        if sample_rate is not None:
            raise ConfigError("a recording states its own sample rate: expected none with a path")
        return FeatureReader(Path(audio), config, cache=None, hop_s=hop_s)
    if sample_rate is None:
        raise ConfigError("expected sample_rate, in Hz, with samples")
    return windows_of_samples(audio, config, sample_rate=sample_rate, hop_s=hop_s)


def cached_windows(
    digest: str, config: FeatureConfig, *, cache: Cache, start_s: float = 0.0, end_s: float | None = None
) -> list[Window]:
    """The first CHUNK_WINDOWS windows of a recording known by its content digest alone; none if they are not cached."""
    with suppress(*NOT_OURS):
        entry = cache.get(_chunk_key(digest, config, start_s, end_s, False, 0))
        return [] if entry is None else _unpack(entry, config)
    return []


def changed_windows(
    path: Path,
    config: FeatureConfig,
    *,
    cache: Cache | None,
    start_s: float,
    end_s: float | None,
    change: Callable[[FloatArray, str], FloatArray],
    change_key: str,
) -> list[Window]:
    """The windows of a recording after a change to its samples (an augmentation), from the cache where it has them.

    change: takes the samples, float32, shape (n,), and the recording's content digest, and returns samples at the same
    rate. change_key: tells changes apart; equal keys must mean equal changes.
    Raises AudioError for everything that is wrong with the file.
    """
    with RecordingFile(path) as file:
        digest = file.digest()
        end_key = -1.0 if end_s is None else float(end_s)
        key = make_key("changed", READING_VERSION, digest, config.digest(), float(start_s), end_key, change_key)
        if cache and (entry := cache.get(key)):
            with suppress(*NOT_OURS):
                return _unpack(entry, config)
        samples = read_audio(file, sample_rate=config.sample_rate, start_s=start_s, end_s=end_s)
    samples = change(samples, digest)
    bounds = window_bounds(len(samples), round(config.window_s * config.sample_rate))
    features = compute_windows([samples[first:last] for first, last in bounds], config)
    windows = [
        Window(first / config.sample_rate, last / config.sample_rate, each)
        for (first, last), each in zip(bounds, features, strict=True)
    ]
    if cache:
        cache.put(key, _pack(windows))
    return windows


def _chunk_key(
    digest: str, config: FeatureConfig, start_s: float, end_s: float | None, with_frames: bool, chunk: int
) -> str:
    end_key = -1.0 if end_s is None else float(end_s)
    return make_key("windows", READING_VERSION, digest, config.digest(), float(start_s), end_key, with_frames, chunk)


def _pack(windows: list[Window]) -> dict[str, NDArray[Any]]:
    features = [window.features for window in windows]
    states = [each.states for each in features if each.states is not None]
    return {
        "bounds": np.array([[window.start_s, window.end_s] for window in windows]),
        "frames": np.array([[len(each.log_mel), each.first_frame] for each in features]),
        "log_mel": np.concatenate([each.log_mel for each in features]),
        "functionals": np.stack([each.functionals for each in features]),
        "lld": np.concatenate([each.lld for each in features]),
        **({"states": np.concatenate(states), "state_counts": np.array([*map(len, states)])} if states else {}),
    }


def _unpack(entry: Mapping[str, NDArray[Any]], config: FeatureConfig) -> list[Window]:
    """The windows of a cache entry. Raises one of NOT_OURS if its arrays are not those of _pack."""
    bounds, frames, log_mel = entry["bounds"], entry["frames"], entry["log_mel"]
    functionals, lld = entry["functionals"], entry["lld"]
    _check_shape(bounds, (len(functionals), 2), np.float64)
    _check_shape(frames, (len(functionals), 2), np.int64)
    _check_shape(functionals, (len(functionals), len(functional_names(config))), np.float32)
    _check_shape(log_mel, (sum(frames[:, 0].tolist()), config.n_mels), np.float16)
    _check_shape(lld, (len(lld) and len(log_mel), lld.shape[-1]), np.float32)
    if (frames[:, 0] < 1).any():
        raise ValueError("a window without frames")
    ends = np.cumsum(frames[:, 0])
    log_mels = np.split(log_mel, ends[:-1])
    llds = np.split(lld, ends[:-1])
    states = _unpack_states(entry, len(functionals)) if config.speech_states else [None] * len(functionals)
    return [
        Window(float(start_s), float(end_s), Features(window_log_mel, window_lld, row, int(first_frame), states=found))
        for (start_s, end_s), (_, first_frame), window_log_mel, window_lld, row, found in zip(
            bounds, frames, log_mels, llds, functionals, states, strict=True
        )
    ]


def _unpack_states(entry: Mapping[str, NDArray[Any]], windows: int) -> list[NDArray[np.float16]]:
    states, counts = entry["states"], entry["state_counts"]
    _check_shape(counts, (windows,), np.int64)
    _check_shape(states, (sum(counts.tolist()), UNITS), np.float16)
    if (counts < 1).any():
        raise ValueError("a window without states")
    return np.split(states, np.cumsum(counts)[:-1])


def _check_shape(array: NDArray[Any], shape: tuple[int, ...], kind: type[np.generic]) -> None:
    if array.shape != shape or array.dtype != kind:
        raise ValueError(f"expected {kind.__name__} of shape {shape}. Received: {array.dtype} of {array.shape}")


def _pack_facts(info: AudioInfo, quality: Quality) -> dict[str, NDArray[Any]]:
    return {
        "facts": np.array([info.duration_s, info.sample_rate, info.channels, *astuple(quality)]),
        "subtype": np.frombuffer(info.subtype.encode(), dtype=np.uint8),
        "notes": np.frombuffer("\n".join(info.notes).encode(), dtype=np.uint8),
    }


def _unpack_facts(entry: Mapping[str, NDArray[Any]]) -> tuple[AudioInfo, Quality]:
    duration_s, sample_rate, channels, *quality = map(float, entry["facts"])
    subtype = entry["subtype"].tobytes().decode()
    notes = tuple(entry["notes"].tobytes().decode().splitlines())
    return AudioInfo(duration_s, int(sample_rate), int(channels), subtype, notes), Quality(*quality)
