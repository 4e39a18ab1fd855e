"""Follow speech while it goes on: samples in, a judgement at every step out, nothing computed twice."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.audio.segments import SegmentReader
from serctl.features import MelStream
from serctl.live.options import StreamOptions
from serctl.reports.schema import NO_SPEECH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.runtime.step import StepRecogniser


SPEECH_DB = 10.0
"""A frame this far above the noise floor counts as speech."""

LOWEST_FLOOR_DB = -65.0
"""Re full scale; the noise floor is taken to be no lower, so that nothing counts as speech in digital silence."""

FLOOR_RISE_DB_PER_S = 5.0
"""How fast the noise floor follows a level that stays up; downwards it follows at once."""

FORGET_S = 0.5
"""After so long without speech the network starts anew with what comes next, as it did with every training example."""


@dataclass(frozen=True)
class Judgement:
    """What is made of a stream up to one time, in seconds of it.

    probabilities: float64, shape (labels,), NaN without speech. latency_s: from the arrival of the last sample.
    """

    time_s: float
    emotion: str
    probabilities: NDArray[np.float64]
    voiced: bool
    latency_s: float

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """As a line of JSON: time, emotion, p_<label>, voiced, latency_ms; null where there is no speech."""
        shown = [None if np.isnan(share) else round(float(share), 4) for share in self.probabilities]
        return {
            "time": round(self.time_s, 3),
            "emotion": self.emotion,
            **{f"p_{label}": share for label, share in zip(labels, shown, strict=True)},
            "voiced": self.voiced,
            "latency_ms": round(1000 * self.latency_s, 2),
        }


def samples_of_file(path: Path, *, rate: int, piece_s: float) -> Iterator[NDArray[np.float32]]:
    """A recording in consecutive pieces, float32, mono at the rate. Raises AudioError if it cannot be read."""
    for segment in SegmentReader(path, sample_rate=rate, window_s=max(piece_s, 1.0)):
        step = round(piece_s * rate)
        for first in range(0, len(segment.samples), step):
            yield segment.samples[first : first + step]


class SpeechGate:
    """Tells speech from what goes on all the time, by the level of each frame over a floor that adapts."""

    def __init__(self, frame_s: float) -> None:
        self._rise_db = FLOOR_RISE_DB_PER_S * frame_s
        self._floor_db = LOWEST_FLOOR_DB

    def hears(self, level_db: float) -> bool:
        """Whether the next frame, of this level, is speech."""
        self._floor_db = max(min(level_db, self._floor_db + self._rise_db), LOWEST_FLOOR_DB)
        return level_db > self._floor_db + SPEECH_DB


class SpeechStream:
    """One stream: its features, the network's state and the latest answers. The network itself may be shared."""

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
        # A frame needs half of its length after its centre: with so many fewer frames a step's samples are used up.
        self._lag = -(-(config.frame_length - config.frame_length // 2) // config.hop_length) - 1
        self._n_frames = 0
        self._heard_frames = 0
        self._silent_frames = 0
        self._state = recogniser.start()
        self._recent = np.zeros((recogniser.context, config.n_mels), np.float32)
        self._emotion = NO_SPEECH

    def push(self, samples: NDArray[np.float32]) -> list[Judgement]:
        """Take the next samples, float32, mono at the model's rate, and give the judgements that fall due."""
        arrived = time.perf_counter()
        log_mel, level_db = self._mel.push(samples)
        due = []
        frames = self._recogniser.bundle.normaliser.standardise_frames(log_mel)
        for frame, level in zip(frames, level_db.tolist(), strict=True):
            self._take(frame, self._gate.hears(level))
            if (self._n_frames + self._lag) % self._hop == 0:
                due.append(self._judge(arrived))
        return due

    def _take(self, frame: NDArray[np.float32], speech: bool) -> None:
        self._n_frames += 1
        self._speech.append(speech)
        self._silent_frames = 0 if speech else self._silent_frames + 1
        if self._silent_frames * self._frame_s > FORGET_S:
            self._forget()
        if self._heard_frames == 0 and not speech:
            return
        self._recent[:-1] = self._recent[1:]
        self._recent[-1] = frame
        if self._heard_frames % self._recogniser.frames == 0:
            answer, self._state = self._recogniser.step(self._recent, self._state)
            self._answers.append(answer)
        self._heard_frames += 1

    def _forget(self) -> None:
        """Start anew with the next speech, as with the first frame of a recording."""
        self._recent[:] = 0
        self._state = self._recogniser.start()
        self._answers.clear()
        self._heard_frames = 0

    def _judge(self, arrived: float) -> Judgement:
        labels = self._recogniser.bundle.facts.labels
        voiced = any(self._speech) and len(self._answers) > 0
        probabilities = np.mean(self._answers, axis=0) if voiced else np.full(len(labels), np.nan)
        self._emotion = self._name(probabilities, labels) if voiced else NO_SPEECH
        time_s = (self._n_frames + self._lag) * self._frame_s
        return Judgement(time_s, self._emotion, probabilities, voiced, time.perf_counter() - arrived)

    def _name(self, probabilities: NDArray[np.float64], labels: tuple[str, ...]) -> str:
        likeliest = labels[int(probabilities.argmax())]
        if self._emotion not in labels:
            return likeliest
        lead = probabilities.max() - probabilities[labels.index(self._emotion)]
        return likeliest if lead > self._options.hysteresis else self._emotion
