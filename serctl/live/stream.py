"""Predict emotions in live speech: samples in, a prediction at every step out, nothing computed twice."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.audio.segments import SegmentReader
from serctl.features import MelStream, SpeechGate
from serctl.live.options import StreamOptions
from serctl.reports.schema import NO_SPEECH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.runtime.step import StepRecogniser


FORGET_S = 0.5
"""After this long without speech the network's state is reset, as before every training example."""


@dataclass(frozen=True)
class StepPrediction:
    """The prediction of a stream at one time.

    Attributes:
        time_s: seconds since the start of the stream.
        emotion: one of the model's labels, or no-speech.
        probabilities: float64, shape (labels,), NaN without speech.
        voiced: whether the latest step contains speech.
        latency_s: from the arrival of the last sample to the prediction.
    """

    time_s: float
    emotion: str
    probabilities: NDArray[np.float64]
    voiced: bool
    latency_s: float

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return the fields of a line of JSON: time, emotion, p_<label>, voiced, latency_ms; null without speech."""
        shown = [None if np.isnan(share) else round(float(share), 4) for share in self.probabilities]
        return {
            "time": round(self.time_s, 3),
            "emotion": self.emotion,
            **{f"p_{label}": share for label, share in zip(labels, shown, strict=True)},
            "voiced": self.voiced,
            "latency_ms": round(1000 * self.latency_s, 2),
        }


def samples_of_file(path: Path, *, rate: int, piece_s: float) -> Iterator[NDArray[np.float32]]:
    """Yield a recording in consecutive pieces, float32, mono at the rate. Raises AudioError if it cannot be read."""
    for segment in SegmentReader(path, sample_rate=rate, window_s=max(piece_s, 1.0)):
        step = round(piece_s * rate)
        for first in range(0, len(segment.samples), step):
            yield segment.samples[first : first + step]


class SpeechStream:
    """One stream: its features, the network's state and its latest outputs. The network itself may be shared."""

    def __init__(self, recogniser: StepRecogniser, options: StreamOptions | None = None) -> None:
        options = options or StreamOptions()
        config = recogniser.bundle.facts.features
        self._recogniser = recogniser
        self._options = options
        self._frame_s = config.hop_length / config.sample_rate
        self._hop = max(round(options.hop_s / self._frame_s), 1)
        self._mel = MelStream(config)
        self._gate = SpeechGate(self._frame_s)
        self._speech: deque[bool] = deque(maxlen=self._hop)
        self._answers: deque[NDArray[np.float64]] = deque(
            maxlen=max(round(options.window_s / (recogniser.frames * self._frame_s)), 1)
        )
        # A frame needs half of its length after its centre, so a step ends this many frames before its samples do.
        self._lag = -(-(config.frame_length - config.frame_length // 2) // config.hop_length) - 1
        self._n_frames = 0
        self._fed_frames = 0
        self._silent_frames = 0
        self._state = recogniser.start()
        self._recent = np.zeros((recogniser.context, config.n_mels), np.float32)
        self._emotion = NO_SPEECH

    def push(self, samples: NDArray[np.float32]) -> list[StepPrediction]:
        """Process the next samples and return the predictions that are due.

        Args:
            samples: float32, shape (n,), mono at the model's rate.
        """
        arrived = time.perf_counter()
        log_mel, level_db = self._mel.push(samples)
        due = []
        frames = self._recogniser.bundle.normaliser.standardise_frames(log_mel)
        for frame, level in zip(frames, level_db.tolist(), strict=True):
            self._take(frame, self._gate.is_speech(level))
            if (self._n_frames + self._lag) % self._hop == 0:
                due.append(self._predict(arrived))
        return due

    def _take(self, frame: NDArray[np.float32], speech: bool) -> None:
        self._n_frames += 1
        self._speech.append(speech)
        self._silent_frames = 0 if speech else self._silent_frames + 1
        if self._silent_frames * self._frame_s > FORGET_S:
            self._forget()
        if self._fed_frames == 0 and not speech:
            return
        self._recent[:-1] = self._recent[1:]
        self._recent[-1] = frame
        if self._fed_frames % self._recogniser.frames == 0:
            answer, self._state = self._recogniser.step(self._recent, self._state)
            self._answers.append(answer)
        self._fed_frames += 1

    def _forget(self) -> None:
        """Reset the state, as before the first frame of a recording."""
        self._recent[:] = 0
        self._state = self._recogniser.start()
        self._answers.clear()
        self._fed_frames = 0

    def _predict(self, arrived: float) -> StepPrediction:
        labels = self._recogniser.bundle.facts.labels
        voiced = any(self._speech) and len(self._answers) > 0
        probabilities = np.mean(self._answers, axis=0) if voiced else np.full(len(labels), np.nan)
        self._emotion = self._name(probabilities, labels) if voiced else NO_SPEECH
        time_s = (self._n_frames + self._lag) * self._frame_s
        return StepPrediction(time_s, self._emotion, probabilities, voiced, time.perf_counter() - arrived)

    def _name(self, probabilities: NDArray[np.float64], labels: tuple[str, ...]) -> str:
        likeliest = labels[int(probabilities.argmax())]
        if self._emotion not in labels:
            return likeliest
        lead = probabilities.max() - probabilities[labels.index(self._emotion)]
        return likeliest if lead > self._options.hysteresis else self._emotion
