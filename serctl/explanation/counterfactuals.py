"""What if the same words had been said higher, faster, louder or brighter: the answer to changed speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.transforms.brightness import Brightness
from serctl.transforms.pitch import Pitch
from serctl.transforms.tempo import Tempo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.explanation.listener import Listener, Samples
    from serctl.transforms.parameters import Parameters, Transform


@dataclass(frozen=True)
class Gain:
    """A gain in dB, without clipping: what is asked is how the level counts, not what overload does."""

    gain_db: float

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change the level of mono float32 samples, shape (n,); parameter gain_db."""
        del sample_rate, rng
        return samples * np.float32(10 ** (self.gain_db / 20)), {"gain_db": self.gain_db}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "gain", "gain_db": self.gain_db}


def _pitch(percent: int) -> Transform:
    return Pitch(1 + percent / 100, 1 + percent / 100)


def _tempo(percent: int) -> Transform:
    return Tempo(1 + percent / 100, 1 + percent / 100)


CHANGES: tuple[tuple[str, str, Transform], ...] = (
    *(("pitch", f"{abs(p)} % {'higher' if p > 0 else 'lower'}", _pitch(p)) for p in (-20, -10, 10, 20)),
    *(("tempo", f"{abs(p)} % {'faster' if p > 0 else 'slower'}", _tempo(p)) for p in (-20, -10, 10, 20)),
    *(("level", f"{abs(db)} dB {'louder' if db > 0 else 'quieter'}", Gain(db)) for db in (-12, -6, 6, 12)),
    *(
        ("brightness", f"{abs(db)} dB per octave {'brighter' if db > 0 else 'darker'}", Brightness(db, db))
        for db in (-4, -2, 2, 4)
    ),
)
"""What is changed, by how much, and the transform that does it; the larger steps outside."""

KEEP_LENGTH = ("pitch", "level", "brightness")


@dataclass(frozen=True)
class Counterfactual:
    """The answer to changed speech.

    Attributes:
        quality: pitch, tempo, level or brightness.
        change: by how much, such as "10 % lower".
        emotion, confidence: the new answer; a number's name and value.
        probability: of the emotion that is explained; the number of a model of numbers.
    """

    quality: str
    change: str
    emotion: str
    confidence: float
    probability: float


def change_all(samples: Samples, sample_rate: int) -> list[Samples]:
    """Apply each of CHANGES to the samples, mono float32, shape (n,)."""
    rng = np.random.default_rng(0)  # nothing is drawn: every range is a single value
    return [transform(samples, sample_rate, rng)[0] for _, _, transform in CHANGES]


def counterfactuals(changed: list[Samples], listener: Listener) -> tuple[Counterfactual, ...]:
    """Ask for the answer to the changed samples of change_all."""
    labels = listener.quantity.labels
    return tuple(
        Counterfactual(quality, change, labels[int(row.argmax())], float(row.max()), float(row[listener.target]))
        for (quality, change, _), row in zip(CHANGES, listener.all_answers(changed), strict=True)
    )


def most_telling(found: tuple[Counterfactual, ...], probability: float) -> int | None:
    """Index of the change of unchanged length that moves the probability most; None if none moves it."""
    moved = [abs(each.probability - probability) if each.quality in KEEP_LENGTH else 0.0 for each in found]
    best = int(np.argmax(moved))
    return best if moved[best] > 0 else None
