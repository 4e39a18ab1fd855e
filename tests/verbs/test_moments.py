from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.audio.stretches import LevelCourse
from serctl.verbs.moments import Naming, Prediction, find_segments, moments_of

LABELS = ("neutral", "happy", "angry")
NAME = Naming(LABELS, 0.4)
FRAME_S = 0.02


def window(start_s: float, *probabilities: float, frames: int = 100, length_s: float = 2.0) -> Prediction:
    return Prediction(start_s, start_s + length_s, np.array(probabilities), frames)


def level(duration_s: float, *pauses: tuple[float, float]) -> LevelCourse:
    powers = np.full(round(duration_s / FRAME_S), 0.01, np.float32)
    for start_s, end_s in pauses:
        powers[round(start_s / FRAME_S) : round(end_s / FRAME_S)] = 1e-6
    return LevelCourse(powers, FRAME_S)


HAPPY, ANGRY, NEUTRAL = (0.1, 0.8, 0.1), (0.2, 0.2, 0.6), (0.9, 0.1, 0.0)


def test_neighbours_of_one_emotion_are_one_segment() -> None:
    first, second = find_segments(
        [window(0, *HAPPY), window(1, 0.3, 0.6, 0.1, frames=300), window(2, *ANGRY)], NAME, level(4)
    )
    assert [NAME(each) for each in (first, second)] == ["happy", "angry"]
    np.testing.assert_allclose(first.probabilities, [0.25, 0.65, 0.1])
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0, 2.5, 2.5, 4)


@pytest.mark.parametrize(
    ("pauses", "boundary"),
    [
        ([(1.2, 1.4)], 1.3),
        ([(1.1, 1.2), (1.6, 1.9)], 1.75),  # the longer one
        ([(1.2, 1.26)], 1.5),  # too short to be one: half way
        ([(0.2, 0.8)], 1.5),  # not between the centres
        ([(0.5, 1.2)], 1.1),  # the part between the centres
    ],
)
def test_a_boundary_lies_in_the_longest_pause_between_the_windows(
    pauses: list[tuple[float, float]], boundary: float
) -> None:
    first, second = find_segments([window(0, *HAPPY), window(1, *ANGRY)], NAME, level(3, *pauses))
    assert first.end_s == second.start_s == pytest.approx(boundary)


def test_uncertain_and_silent_windows_are_segments_of_their_own() -> None:
    vague = (0.35, 0.33, 0.32)
    found = find_segments(
        [window(0, *HAPPY), window(2, *vague), window(4, *HAPPY, frames=0), window(6, *HAPPY)], NAME, level(8)
    )
    assert [NAME(each) for each in found] == ["happy", "uncertain", "no-speech", "happy"]


@given(st.lists(st.sampled_from([HAPPY, ANGRY, NEUTRAL, None]), min_size=1, max_size=30), st.integers(0, 999))
def test_segments_cover_the_recording_in_order_and_neighbours_differ(kinds, seed):
    windows = [window(k, *(kind or HAPPY), frames=100 if kind else 0) for k, kind in enumerate(kinds)]
    powers = np.random.default_rng(seed).choice([1e-6, 0.01], round((len(kinds) + 1) / FRAME_S)).astype(np.float32)
    found = find_segments(windows, NAME, LevelCourse(powers, FRAME_S))
    assert found[0].start_s == 0
    assert found[-1].end_s == len(kinds) + 1
    for before, after in itertools.pairwise(found):
        assert before.start_s < before.end_s == after.start_s
        assert NAME(before) != NAME(after)


def test_moments_of_a_recording() -> None:
    windows = [
        window(0, *NEUTRAL),
        window(2, *HAPPY, frames=0),
        window(4, *NEUTRAL),
        window(6, *ANGRY),
        window(8, *HAPPY),
        window(10, *HAPPY),
    ]
    found = moments_of(windows, find_segments(windows, NAME, level(12)), NAME)
    assert found == {
        "share_neutral": pytest.approx(0.4),
        "share_happy": pytest.approx(0.4),
        "share_angry": pytest.approx(0.2),
        "peak_emotion": "happy",  # never neutral, though it was the most certain
        "peak_time": 9,
        "changes": 2,
    }


def test_a_silent_recording_has_no_moments() -> None:
    windows = [window(0, *HAPPY, frames=0)]
    found = moments_of(windows, windows, NAME)
    assert found == dict.fromkeys([f"share_{label}" for label in LABELS] + ["peak_emotion", "peak_time"]) | {
        "changes": 0
    }
