"""The facts of a stretch are those of the same samples in a file of their own."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from serctl.audio.segments import SegmentReader
from serctl.audio.stretches import level_course, stretch_qualities

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.audio.quality import Quality

RATE = 22_050


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """25 s in two channels: quiet noise, silence from 8 s to 12 s, then loud clipped noise on the right alone."""
    noise = np.random.default_rng(0).normal(0, 0.1, (25 * RATE, 2))
    noise[8 * RATE : 12 * RATE] = 0
    noise[12 * RATE :] *= (0, 30)
    soundfile.write(tmp_path / "long.wav", noise.clip(-1, 1), RATE, subtype="PCM_16")
    return tmp_path / "long.wav"


def quality_of_file(path: Path, channel: int | None = None) -> Quality:
    reader = SegmentReader(path, sample_rate=16_000, window_s=3, channel=channel)
    assert list(reader)
    return reader.quality


@pytest.mark.parametrize("channel", [1, 2])
def test_a_stretch_has_the_quality_of_its_own_samples(recording: Path, tmp_path: Path, channel: int) -> None:
    samples, _ = soundfile.read(recording)
    bounds = [(0.0, 3.0), (2.0, 5.0), (9.0, 11.0), (8.0, 24.0), (24.0, 25.0)]
    found = stretch_qualities(recording, sorted(bounds), channel=channel)
    for (start, end), quality in zip(sorted(bounds), found, strict=True):
        own = tmp_path / "stretch.wav"
        soundfile.write(own, samples[int(start * RATE) : int(end * RATE)], RATE, subtype="PCM_16")
        np.testing.assert_allclose(astuple(quality), astuple(quality_of_file(own, channel)), rtol=0.02, atol=0.01)


def test_stretches_differ_where_the_sound_does(recording: Path) -> None:
    quiet, silent, loud = stretch_qualities(recording, [(0, 8), (8, 12), (12, 25)])
    assert (quiet.clipping, silent.clipping) == (0, 0)
    assert loud.clipping > 0.3
    assert (quiet.silence, silent.silence, loud.silence) == (0, 1, 0)


def test_the_level_over_time_follows_the_mix(recording: Path) -> None:
    level = level_course(recording, channel=2)
    times = np.arange(len(level.powers)) * level.frame_s
    assert times[-1] == pytest.approx(25, abs=0.05)
    assert level.powers[(times > 8.1) & (times < 11.9)].max() == 0
    assert 10 * np.log10(level.powers[times < 7.9].mean()) == pytest.approx(-20, abs=0.2)


def test_a_stretch_shorter_than_a_frame_at_the_very_end_is_measured(recording: Path) -> None:
    (quality,) = stretch_qualities(recording, [(24.99, 25.0)])
    assert quality.clipping > 0
