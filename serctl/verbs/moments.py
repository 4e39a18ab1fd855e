"""From windows to moments: predictions of windows, merged into segments, and what a recording is like as a whole."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serctl.reports.schema import NO_SPEECH, UNCERTAIN, Column
from serctl.runtime.recogniser import merge_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from serctl.audio.stretches import LevelCourse

PAUSE_BELOW_LOUD = 10**-2.5
"""A frame of less than this share of the power of the loud ones (95th percentile) is part of a pause: 25 dB below."""

SHORTEST_PAUSE_S = 0.1

NEUTRAL = "neutral"


@dataclass(frozen=True)
class Prediction:
    """The prediction for a stretch of a recording.

    probabilities: calibrated, float64, shape (labels,). speech_frames: its weight in a merge; 0 if it is silent.
    novelty: 0 to 1; NaN where it was not asked for.
    """

    start_s: float
    end_s: float
    probabilities: NDArray[np.float64]
    speech_frames: int
    novelty: float = math.nan

    @property
    def centre_s(self) -> float:
        """The middle of the stretch."""
        return (self.start_s + self.end_s) / 2


class Mixed(NamedTuple):
    """Predictions, what the words of a transcript add to the columns, and a note on the transcript."""

    predictions: Sequence[Prediction]
    columns: Mapping[str, Any] = {}
    note: str = ""


def merge(predictions: Sequence[Prediction]) -> Prediction:
    """One prediction for consecutive ones: the mean of their probabilities, weighted by their frames of speech."""
    weights = np.array([prediction.speech_frames for prediction in predictions], dtype=np.float64)
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    novelty = np.array([[prediction.novelty] for prediction in predictions])
    return Prediction(
        predictions[0].start_s,
        predictions[-1].end_s,
        merge_probabilities(probabilities, weights),
        int(weights.sum()),
        float(merge_probabilities(novelty, weights)[0]),
    )


def shown_probabilities(prediction: Prediction) -> NDArray[np.float64]:
    """The probabilities, or NaN where there is no speech."""
    return prediction.probabilities if prediction.speech_frames else np.full_like(prediction.probabilities, np.nan)


def emotion_of(probabilities: NDArray[np.float64], labels: Sequence[str], min_confidence: float) -> str:
    """Return the likeliest emotion, or what a row says instead: uncertain, no-speech."""
    if np.isnan(probabilities).any():
        return NO_SPEECH
    best = int(probabilities.argmax())
    return labels[best] if probabilities[best] >= min_confidence else UNCERTAIN


@dataclass(frozen=True)
class Naming:
    """What a prediction is called: by the labels of the model, unless its confidence is below the least."""

    labels: Sequence[str]
    min_confidence: float

    def __call__(self, prediction: Prediction) -> str:
        """Return the emotion, uncertain or no-speech."""
        return emotion_of(shown_probabilities(prediction), self.labels, self.min_confidence)


def find_segments(windows: Sequence[Prediction], name: Naming, level: LevelCourse) -> list[Prediction]:
    """Merge neighbouring windows of the same emotion into segments, which cover the recording without a gap.

    Where the emotion changes, the segments meet in the middle of the longest pause between the centres of the two
    windows, or half way between them if there is no pause of 0.1 s.

    Args:
        windows: in order of time; they may overlap.
        name: what a window is called.
        level: of the same recording.

    Returns:
        The segments: the mean of the probabilities of their windows, weighted by speech frames.
    """
    groups = [list(group) for _, group in itertools.groupby(windows, key=name)]
    inner = [_boundary(before[-1], after[0], level) for before, after in itertools.pairwise(groups)]
    edges = [windows[0].start_s, *inner, windows[-1].end_s]
    return [
        replace(merge(group), start_s=start_s, end_s=end_s)
        for group, (start_s, end_s) in zip(groups, itertools.pairwise(edges), strict=True)
    ]


def _boundary(before: Prediction, after: Prediction, level: LevelCourse) -> float:
    start, end = (round(each.centre_s / level.frame_s) for each in (before, after))
    ordered = np.sort(level.powers)
    quiet = level.powers[start:end] < PAUSE_BELOW_LOUD * ordered[(len(ordered) - 1) * 95 // 100]
    longest = max(_runs(quiet), key=lambda run: run[1] - run[0], default=(0, 0))
    if (longest[1] - longest[0]) * level.frame_s < SHORTEST_PAUSE_S:
        return (before.centre_s + after.centre_s) / 2
    return (start + sum(longest) / 2) * level.frame_s


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """The first and the following index of every run of true values."""
    changes = np.flatnonzero(np.diff(np.r_[False, flags, False]))
    return zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)


def moment_columns(labels: Sequence[str]) -> list[Column]:
    """The columns that `moments_of` fills."""
    return [
        *(Column(f"share_{label}", decimals=4) for label in labels),
        Column("peak_emotion", "text"),
        Column("peak_time", decimals=3),
        Column("changes", "int"),
    ]


def moments_of(windows: Sequence[Prediction], segments: Sequence[Prediction], name: Naming) -> dict[str, Any]:
    """Describe a recording by its moments.

    Args:
        windows: the predictions of its windows.
        segments: what they were merged into.
        name: what a window is called.

    Returns:
        share_<label>: share of the time with speech. peak_emotion, peak_time: of the window in which an emotion other
        than neutral has the highest probability, and its middle in seconds. changes: how often one emotion follows
        another, silence between them or not. Without speech the shares and the peak are missing.
    """
    spoken = [(name(each), each.end_s - each.start_s) for each in segments if each.speech_frames]
    total = sum(length for _, length in spoken)
    shares: dict[str, Any] = {
        f"share_{label}": sum(length for emotion, length in spoken if emotion == label) / total if spoken else None
        for label in name.labels
    }
    changes = sum(before != after for (before, _), (after, _) in itertools.pairwise(spoken))
    return {**shares, **_peak(windows, name.labels), "changes": changes}


def _peak(windows: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
    shown = [index for index, label in enumerate(labels) if label != NEUTRAL]
    spoken = [each for each in windows if each.speech_frames]
    if not spoken:
        return {"peak_emotion": None, "peak_time": None}
    peak = max(spoken, key=lambda each: each.probabilities[shown].max())
    return {
        "peak_emotion": labels[shown[int(peak.probabilities[shown].argmax())]],
        "peak_time": peak.centre_s,
    }
