"""What predict and extract can be asked for; kept apart from the verbs, which load numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serctl.errors import ConfigError, Remedy
from serctl.options import check_options, option

Per = Literal["file", "window"]
PredictPer = Literal["file", "window", "segment"]
Level = Literal["functionals", "frames"]

LONGEST_WINDOW_S = 3_600.0

ADAPT_MODES = ("none", "recordings", "auto")
"""What features may be normalised by, besides a profile."""


@dataclass(frozen=True)
class PredictOptions:
    """What a row of a prediction stands for and when an emotion is named.

    Args:
        per: file merges the windows of a recording, window keeps them apart, segment merges neighbours of the same
            emotion.
        window_s: length of a window in seconds; None for the model's own.
        hop_s: from the start of a window to that of the next, in seconds; None for half a window per segment, and for
            the whole window otherwise, so that windows do not overlap.
        moments: per file, add each emotion's share of the time, the peak, and the number of changes.
        min_confidence: below it the emotion is `uncertain`; 0 to 1.
        channels: mix, each (every channel by itself), left, right, or the number of one channel, from 1 on.
        language: code of the language spoken, for a model that tells languages apart; None, or one that it does not
            know, for the language-independent path.
        adapt: what the features are normalised by. none: the training data. recordings: the recordings at hand, two or
            more, whose mix of emotions is about even. auto: the same for ten or more, with each emotion of a first
            prediction counted alike. Anything else is the path of a profile that adapt.save_profile wrote.
        dimensions: add arousal and valence, derived from the probabilities.
        novelty: also tell how unlike the training recordings each recording is.
        transcripts: a folder of transcripts named as the recordings are, or a file; None for speech alone.
        explain_modalities: also say what speech alone and words alone predict.

    Raises:
        ConfigError: a value is out of range.
    """

    per: PredictPer = option(
        "file",
        "One row for each recording, each of its windows, or each segment: neighbouring windows of the same emotion.",
        choices=("file", "window", "segment"),
    )
    window_s: float | None = option(
        None, "Seconds of a window, 0.5 to 3600. Default: the model's own.", kind=float, low=0.5, high=LONGEST_WINDOW_S
    )
    hop_s: float | None = option(
        None,
        "Seconds from one window to the next, from 0.1 up to the window. Default: half a window for segments, "
        "else the whole.",
        kind=float,
        low=0.1,
    )
    moments: bool = option(
        False, "Add each emotion's share of the time, the peak and the number of changes to the row of a recording."
    )
    min_confidence: float = option(0.0, "Below this confidence (0 to 1) the emotion is 'uncertain'.", low=0, high=1)
    channels: str = option(
        "mix",
        "Channels of a recording: mix, each by itself (agent and customer of a call), left, right, or a number from 1.",
        metavar="mix|each|left|right|N",
    )
    language: str | None = option(
        None,
        "Code of the language spoken (de, am), for a model that tells languages apart.",
        kind=str,
        metavar="CODE",
    )
    adapt: str = option(
        "none",
        "Normalise features by the recordings at hand: recordings (even mix of emotions), auto (any mix), or a PROFILE "
        "of `serctl adapt`.",
        metavar="none|recordings|auto|PROFILE",
    )
    dimensions: bool = option(
        False,
        "Add the columns arousal and valence, -1 to 1, derived from the probabilities.",
    )
    novelty: bool = option(
        False,
        "Add the column novelty, 0 to 1: the share of recordings held out of training that are more like the training "
        "recordings than this one.",
    )
    transcripts: str | None = option(
        None,
        "Also read the words: transcripts named as the recordings are (JSON of whisper, SRT, VTT, CSV, TSV, TXT), or a "
        "table with the columns path and text. English only.",
        kind=str,
        metavar="DIR|FILE",
    )
    explain_modalities: bool = option(
        False, "Add the probabilities from speech alone and from words alone, and the weight of the words."
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.moments and self.per != "file":
            raise ConfigError(f"moments describe whole recordings: expected per file. Received: {self.per}")
        if self.explain_modalities and self.transcripts is None:
            raise ConfigError("there are no words to explain without transcripts", Remedy.TRANSCRIPTS)
        if self.channels not in ("mix", "each") and self.channel is None:
            raise ConfigError(f"expected channels mix, each, left, right or a number from 1. Received: {self.channels}")

    @property
    def channel(self) -> int | None:
        """The number of the one channel that was asked for, from 1 on; None for mix and each."""
        named = {"left": 1, "right": 2}
        number = int(self.channels) if self.channels.isdecimal() else named.get(self.channels, 0)
        return number if number > 0 else None


@dataclass(frozen=True)
class ExtractOptions:
    """What to extract: one row of functionals per file or per window, or one row per frame.

    Args:
        level: functionals, or frames for the descriptors of every frame.
        per: functionals of the whole recording, or of each window.
        window_s: length of a window in seconds; None for 3 s.
        deep: add the deep features of the voice encoder and the speech encoder.

    Raises:
        ConfigError: a value is out of range, or deep is asked for with frames.
    """

    level: Level = option(
        "functionals",
        "Statistics of each recording, or its descriptors every 10 ms (Parquet only).",
        choices=("functionals", "frames"),
    )
    per: Per = option("file", "Functionals of each recording, or of each of its windows.", choices=("file", "window"))
    window_s: float | None = option(None, "Seconds of a window, 0.1 to 60. Default: 3.", kind=float, low=0.1, high=60)
    deep: bool = option(False, "Add the 3,072 deep features of the voice encoder and the speech encoder.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.deep and self.level == "frames":
            raise ConfigError("the deep features are statistics of whole windows: expected the level functionals")
