"""A recording is cut into windows that cover it without a gap, whatever its length and however it was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.audio.segments import SegmentReader, segments_of_samples, window_bounds
from serctl.errors import ConfigError

RATE = 1_000


@given(st.integers(1, 10_000), st.integers(1, 3_000))
def test_windows_cover_the_samples_and_last_half_to_one_and_a_half_of_their_length(length, window):
    bounds = window_bounds(length, window)
    assert [first for first, _ in bounds] == [0, *(last for _, last in bounds[:-1])]
    assert bounds[-1][1] == length
    if length >= window / 2:
        assert all(0.5 * window <= last - first < 1.5 * window or last - first == window for first, last in bounds)
    else:
        assert bounds == [(0, length)]


@settings(deadline=None)
@given(st.integers(1, 3_000), st.integers(1, 1_500), st.integers(1, 2_000))
def test_a_recording_is_cut_as_samples_in_memory_are(tmp_path_factory, length, window, start):
    samples = np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)
    path = tmp_path_factory.getbasetemp() / "windows.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    start = start % length
    reader = SegmentReader(path, sample_rate=RATE, window_s=window / RATE, start_s=start / RATE)
    segments = list(reader)
    expected = [(start + first, start + last) for first, last in window_bounds(length - start, window)]
    found = [(round(segment.start_s * RATE), round(segment.end_s * RATE)) for segment in segments]
    assert found == expected
    for segment, (first, last) in zip(segments, expected, strict=True):
        np.testing.assert_array_equal(segment.samples, samples[first:last])
    assert round(reader.info.duration_s * RATE) == length - start


@settings(deadline=None)
@given(st.integers(1, 3_000), st.integers(2, 900), st.data())
def test_overlapping_windows_start_at_every_hop_and_reach_the_end(length, window, data):
    hop = data.draw(st.integers(1, window))
    samples = np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)
    found = list(segments_of_samples(samples, sample_rate=RATE, to_rate=RATE, window_s=window / RATE, hop_s=hop / RATE))
    assert [round(each.start_s * RATE) for each in found] == [hop * index for index in range(len(found))]
    assert all(len(each.samples) == window for each in found[:-1])
    assert abs(len(found[-1].samples) - window) <= hop / 2 or len(found) == 1
    for each in found:
        first = round(each.start_s * RATE)
        np.testing.assert_array_equal(each.samples, samples[first : first + len(each.samples)])
    assert round(found[-1].end_s * RATE) == length


@pytest.mark.parametrize("hop_s", [0.0, 1.1, float("nan")])
def test_a_hop_that_leaves_gaps_is_refused(hop_s):
    with pytest.raises(ConfigError, match="expected a hop above 0 s and at most the window of 1 s"):
        SegmentReader(Path("no.wav"), sample_rate=RATE, window_s=1.0, hop_s=hop_s)
