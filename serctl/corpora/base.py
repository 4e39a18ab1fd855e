"""The emotion vocabulary, and what a labelled utterance and a corpus are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "neutral": ("neutrality", "neu", "normal"),
    "calm": ("calmness", "relaxed"),
    "happy": ("happiness", "joy", "joyful", "hap"),
    "sad": ("sadness",),
    "angry": ("anger", "ang", "rage"),
    "fearful": ("fear", "fea", "afraid", "scared", "anxiety", "anxious"),
    "disgust": ("disgusted", "dis"),
    "surprised": ("surprise", "sur", "ps", "pleasant surprise", "pleasantly surprised", "pleasant surprised"),
    "boredom": ("bored",),
    "contempt": ("contemptuous",),
    "excited": ("excitement", "exc"),
    "frustrated": ("frustration", "fru"),
    "amused": ("amusement",),
    "sleepy": ("sleepiness",),
    "other": ("oth", "others"),
}
"""Every emotion serctl knows, each with the other spellings that corpora use for it."""

EMOTIONS: tuple[str, ...] = tuple(_ALIASES)
"""The one emotion vocabulary: labels of every corpus are translated to these."""


def _key(label: str) -> str:
    return re.sub(r"[\s_-]+", "", label.casefold())


_BY_KEY = {_key(name): emotion for emotion, aliases in _ALIASES.items() for name in (emotion, *aliases)}


def normalise_emotion(label: str) -> str | None:
    """Return the emotion of EMOTIONS that a label means, or None if it is unknown.

    Letter case, spaces, hyphens and underscores do not matter: 'Pleasant_Surprise' is 'surprised'.
    """
    return _BY_KEY.get(_key(label))


def same_label(one: str, other: str) -> bool:
    """Whether two labels differ at most in letter case, spaces, hyphens and underscores."""
    return _key(one) == _key(other)


def unknown_labels(source: str, found: Mapping[str, int]) -> str:
    """Say which labels are left out, how often each occurs, and which emotions are known.

    Args:
        source: where the labels are from.
        found: the labels that mean no emotion, with the number of their utterances.
    """
    listed = ", ".join(f"{label!r} ({count})" for label, count in sorted(found.items()))
    return (
        f"{source}: {sum(found.values())} utterances are left out, since no known emotion is called {listed}. "
        f"Known emotions: {', '.join(EMOTIONS)}"
    )


@dataclass(frozen=True)
class ReadOptions:
    """How to read corpora whose columns or labels have names of their own.

    columns: pairs of what a manifest's column means ('path') and its name there ('recording').
    labels: pairs of a corpus's own label ('froh') and the emotion it means ('happy').
    target: column of a manifest whose numbers are read instead of emotions; None for emotions.

    Raises:
        ConfigError: a label is to mean something that is no emotion.
    """

    columns: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    target: str | None = None

    def __post_init__(self) -> None:
        for label, emotion in self.labels:
            if emotion not in EMOTIONS:
                raise ConfigError(f"{label} is to mean {emotion}: expected one of {', '.join(EMOTIONS)}")

    def emotion(self, label: str) -> str | None:
        """Return the emotion that a corpus's label means, or None if it is unknown."""
        own = {_key(name): emotion for name, emotion in self.labels}
        return own.get(_key(label)) or normalise_emotion(label)


SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""What manifests and folders call the parts of a split, in lower case."""


@dataclass(frozen=True)
class Utterance:
    """A labelled recording, or the part of one between start_s and end_s (seconds; None: to the end).

    emotion is one of EMOTIONS, speaker is the corpus's own code ('01'), gender 'female' or 'male', language an
    ISO 639-1 code, split 'train', 'validation' or 'test' where a manifest or a folder's name gives one. source is the
    digest, as `digest_of_part` gives it, of the recording that was said here: that which an augmented copy (is_copy)
    was made of, or the utterance's own, where it is known. value is the number that is read instead
    of an emotion, which is then empty.
    """

    path: Path
    emotion: str
    corpus: str
    speaker: str | None = None
    gender: str | None = None
    language: str | None = None
    text: str | None = None
    start_s: float = 0.0
    end_s: float | None = None
    split: str | None = None
    source: str | None = None
    is_copy: bool = False
    value: float | None = None

    @property
    def speaker_id(self) -> str | None:
        """The speaker's name among all corpora ('ravdess/01'), or None if the speaker is unknown."""
        return None if self.speaker is None else f"{self.corpus}/{self.speaker}"


def digest_of_part(digest: str, start_s: float, end_s: float | None) -> str:
    """Return the digest of a part of a recording, which tells the parts apart; of the whole, the recording's own.

    Args:
        digest: of the recording's bytes.
        start_s: where the part starts, in seconds.
        end_s: where it ends; None at the end of the recording.
    """
    whole = start_s == 0 and end_s is None
    return digest if whole else f"{digest}@{start_s:g}-{end_s or 0:g}"


@dataclass(frozen=True)
class Corpus:
    """Labelled utterances, sorted by path, and what was wrong with the recordings that were left out or look odd.

    own_labels: those that are outside the vocabulary, with the number of their utterances; left out unless the options
    of reading say what they mean.
    """

    name: str
    utterances: tuple[Utterance, ...]
    problems: tuple[str, ...] = ()
    own_labels: Mapping[str, int] = field(default_factory=dict)
    licence: str | None = None
    citation: str | None = None
    root: Path | None = None
