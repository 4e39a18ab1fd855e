"""What the words of a transcript add to a prediction from speech: a calibrated text expert, and a gate."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from serctl.encoders import text as encoder
from serctl.encoders.wordpiece import words_of
from serctl.metrics import temperature_scale

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

FEWEST_COMMON_LABELS = 2
"""A model that shares fewer emotions with the text expert gets nothing from a transcript."""


_WORDS_AT_ONCE = 60
_MOST_WEIGHT = 0.4
_SURELY_EMOTIONAL = 0.5
_HALF_WEIGHT_WORDS = 3
_CLEAR_SNR_DB, _NOISY_SNR_DB = 20.0, 5.0
_SURE = 0.5
_POSITIVE = frozenset({"happy", "excited", "amused"})
_NEGATIVE = frozenset({"sad", "angry", "fearful", "disgust", "contempt", "frustrated"})


@dataclass(frozen=True)
class Opinion:
    """What the words say, in the order of the labels of the model.

    probabilities: float64, shape (labels,); 0 for an emotion that the text expert does not know. words: how many there
    are.
    """

    probabilities: NDArray[np.float64]
    words: int


def read_words(text: str, labels: Sequence[str]) -> Opinion:
    """Compute the calibrated probabilities of the emotions of a text.

    A text of more than 60 words is read in parts of about that length; the mean of their probabilities counts.

    Args:
        text: English.
        labels: those of the model, at least FEWEST_COMMON_LABELS of them known to the text expert.
    """
    parts = list(_parts(text.split()))
    logits = np.stack([encoder.encode_text(" ".join(part)).logits for part in parts])
    own = np.average(temperature_scale(logits, _temperature()), axis=0, weights=[len(part) for part in parts])
    by_label = dict(zip(encoder.LABELS, own, strict=True))
    known = np.array([by_label.get(label, 0.0) for label in labels])
    return Opinion(known / known.sum(), sum(map(len, parts)))


def can_read(labels: Sequence[str]) -> bool:
    """Whether the text expert knows enough of the emotions of a model."""
    return len(set(labels) & set(encoder.LABELS)) >= FEWEST_COMMON_LABELS


def has_words(text: str) -> bool:
    """Whether there is anything but punctuation in a text."""
    return any(any(map(str.isalnum, word)) for word in words_of(text))


def text_weight(speech: NDArray[np.float64], words: Opinion, labels: Sequence[str], snr_db: float) -> float:
    """Compute how much the words count beside the speech: the gate.

    Neutral words say nothing about the voice, so the weight grows with how likely they are not neutral, from 0.5 on;
    it grows with the number of words, and where the speech is unsure or noisy.

    Args:
        speech: calibrated probabilities from speech, float64, shape (labels,); NaN without speech.
        words: what the words say.
        labels: those of the model.
        snr_db: of the recording; NaN where it is not known.

    Returns:
        The weight of the words, 0 to 1; that of the speech is the rest.
    """
    if np.isnan(speech).any():
        return 1.0
    neutral = words.probabilities[list(labels).index("neutral")] if "neutral" in labels else 0.0
    length = words.words / (words.words + _HALF_WEIGHT_WORDS)
    emotional = max(1 - float(neutral) - _SURELY_EMOTIONAL, 0) / (1 - _SURELY_EMOTIONAL)
    text = emotional * length * float(words.probabilities.max())
    if text == 0:
        return 0.0
    return _MOST_WEIGHT * (1 - float(neutral)) * text / (text + float(speech.max()) * _clearness(snr_db))


def fuse(speech: NDArray[np.float64], words: Opinion, weight: float, labels: Sequence[str]) -> NDArray[np.float64]:
    """Mix speech and words: the mean of their probabilities, weighted.

    Of the words, the emotions other than neutral count; an emotion that they do not know keeps what speech says.

    Args:
        speech: float64, shape (labels,); NaN without speech.
        words: what the words say.
        weight: of the words, 0 to 1.
        labels: those of the model.

    Returns:
        float64, shape (labels,), of sum 1.
    """
    if np.isnan(speech).any():
        return words.probabilities
    neutral = np.array([label == "neutral" for label in labels])
    emotional = np.where(neutral, 0.0, words.probabilities)
    emotional /= max(float(emotional.sum()), 1e-9)
    known = words.probabilities > 0
    return np.where(known, (1 - weight) * speech + weight * float(speech[known].sum()) * emotional, speech)


def in_conflict(speech: NDArray[np.float64], words: NDArray[np.float64], labels: Sequence[str]) -> bool:
    """Whether voice and words contradict: one is more likely than not positive, the other negative."""

    def share(probabilities: NDArray[np.float64], of: frozenset[str]) -> float:
        return float(sum(p for p, label in zip(probabilities, labels, strict=True) if label in of))

    return any(
        share(speech, one) > _SURE and share(words, other) > _SURE
        for one, other in ((_POSITIVE, _NEGATIVE), (_NEGATIVE, _POSITIVE))
    )


def _clearness(snr_db: float) -> float:
    """From 0.5 in noise to 1 in clear speech."""
    if math.isnan(snr_db):
        return 1.0
    return float(np.interp(snr_db, (_NOISY_SNR_DB, _CLEAR_SNR_DB), (0.5, 1.0)))


def _parts(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Parts of about the same length."""
    count = math.ceil(len(words) / _WORDS_AT_ONCE)
    for part in range(count):
        yield words[part * len(words) // count : (part + 1) * len(words) // count]


@lru_cache(maxsize=1)
def _temperature() -> float:
    facts = json.loads((encoder.FOLDER / "expert.json").read_text(encoding="utf-8"))
    return float(facts["temperature"])
