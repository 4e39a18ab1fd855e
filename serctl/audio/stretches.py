"""Measure the stretches of a recording one by one, without resampling it: the level over time, the quality of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.audio.decode import AudioSource
from serctl.audio.quality import Quality, QualityMeter, frame_length, frame_powers
from serctl.audio.segments import mixed_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class LevelCourse:
    """The level of a recording over time.

    Attributes:
        powers: of its consecutive frames, relative to full scale, float32, shape (frames,).
        frame_s: length of a frame in seconds, about 0.02.
    """

    powers: NDArray[np.float32]
    frame_s: float


def level_course(path: Path, *, channel: int | None = None) -> LevelCourse:
    """Measure the power of every 20 ms of a recording; a rest that is shorter is left out.

    Args:
        path: the recording.
        channel: the one to read alone, from 1 on; None for the mix of all.

    Raises:
        AudioError: the recording cannot be read.
    """
    with AudioSource(path) as source:
        blocks, mix = mixed_blocks(source, channel=channel)
        powers = [frame_powers(mix.apply(block), source.sample_rate) for block in blocks]
        return LevelCourse(np.concatenate(powers), frame_length(source.sample_rate) / source.sample_rate)


def stretch_qualities(
    path: Path, bounds: Sequence[tuple[float, float]], *, channel: int | None = None
) -> list[Quality]:
    """Measure the quality of stretches of a recording, which may overlap; it is read once, in bounded memory.

    Args:
        path: the recording.
        bounds: start and end of each stretch in seconds, both ascending, the start within the recording; widened
            to whole frames of 20 ms.
        channel: the one to read alone, from 1 on; None for the mix of all.

    Returns:
        The quality of each stretch.

    Raises:
        AudioError: the recording cannot be read.
    """
    with AudioSource(path) as source:
        meters = [QualityMeter(source.sample_rate, source.subtype) for _ in bounds]
        starts, ends = _in_samples(bounds, source.sample_rate)
        blocks, mix = mixed_blocks(source, channel=channel)
        first = 0
        for block in blocks:
            mono = mix.apply(block)
            last = first + len(block)
            for index in range(np.searchsorted(ends, first, "right"), np.searchsorted(starts, last)):
                part = slice(max(starts[index] - first, 0), ends[index] - first)
                meters[index].add(block[part], mono[part])
            first = last
    return [meter.result() for meter in meters]


def _in_samples(bounds: Sequence[tuple[float, float]], sample_rate: int) -> NDArray[np.int64]:
    """Starts and ends in samples, on frames of 20 ms, each stretch at least one frame long."""
    length = frame_length(sample_rate)
    starts, ends = np.array(bounds, np.float64).T * sample_rate / length
    # A start is below the length of the recording, and so is the whole frame before it.
    first = np.floor(starts).astype(np.int64)
    return np.stack([first, np.maximum(np.ceil(ends - 1e-6).astype(np.int64), first + 1)]) * length
