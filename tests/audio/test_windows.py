"""A recording is cut into windows that cover it without a gap, whatever its length and however it was read."""

from __future__ import annotations

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.audio.segments import SegmentReader, window_bounds

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
