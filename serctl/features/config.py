"""The parameters of the features: a frozen description with a digest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from serctl.encoders.speech import SAMPLE_RATE, STATE_S
from serctl.errors import ConfigError

FEATURE_VERSION = 1
"""Version of the feature code. Raise it whenever the code computes other values, so that no cache entry is stale."""

ENCODER_SWITCHES = ("voice_encoder", "speech_encoder", "text_encoder", "speech_states")
"""The parameters that say which encoders are used, and what of them.

Written down only where they are on, so that what was cached or trained before they existed is still found.
"""

LONGEST_FOR_SPEECH_ENCODER_S = 6.0
"""Longest window_s for the speech encoder, which takes 10 s; see LONGEST_WINDOW."""

LONGEST_WINDOW = 1.5
"""Longest window of a recording, in window_s: what is left at the end joins the last one."""

VOICE_ENCODER_RATES = (16_000, 0.01)
"""Sample rate in Hz and step from frame to frame in seconds that the voice encoder was trained on."""


@dataclass(frozen=True)
class FeatureConfig:
    """Parameters of the feature set; frequencies in Hz, times in seconds.

    A recording is cut into windows of window_s. The frames of a window before the first and after the last one within
    trim_db of the loudest are left out, so that silence around the speech does not change its statistics.

    Attributes:
        voice_encoder, speech_encoder: whether the deep features of these encoders follow the acoustic functionals.
        text_encoder: whether a window has the states of its words, where it has words.
        speech_states: whether a window has the states of the speech encoder beside their statistics.

    Raises:
        ConfigError: a value is not a number or out of range.
    """

    sample_rate: int = 16_000
    window_s: float = 3.0
    frame_s: float = 0.04
    hop_s: float = 0.01
    n_fft: int = 1024
    n_mels: int = 64
    mel_low_hz: float = 50.0
    mel_high_hz: float = 7_600.0
    n_mfcc: int = 20
    f0_low_hz: float = 60.0
    f0_high_hz: float = 500.0
    trim_db: float = 30.0
    voice_encoder: bool = False
    speech_encoder: bool = False
    text_encoder: bool = False
    speech_states: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool):
                _require(isinstance(value, bool), f"{field.name} to be true or false", value)
            else:
                _require_number(field.name, value, whole=isinstance(field.default, int))
        _require(10_000 <= self.sample_rate <= 768_000, "sample_rate between 10000 and 768000 Hz", self.sample_rate)
        _require(0.1 <= self.window_s <= 60, "window_s between 0.1 and 60", self.window_s)
        _require(
            1 <= self.hop_length <= self.frame_length,
            "hop_s of at least one sample and at most frame_s",
            (self.hop_s, self.frame_s),
        )
        _require(
            self.frame_length <= self.n_fft <= 65_536,
            "n_fft of at least one frame and at most 65536",
            (self.n_fft, self.frame_length),
        )
        _require(
            0 <= self.mel_low_hz < self.mel_high_hz <= self.sample_rate / 2,
            "0 <= mel_low_hz < mel_high_hz <= sample_rate / 2",
            (self.mel_low_hz, self.mel_high_hz),
        )
        _require(4 <= self.n_mfcc < self.n_mels <= 512, "4 <= n_mfcc < n_mels <= 512", (self.n_mfcc, self.n_mels))
        _require(
            2 / self.frame_s <= self.f0_low_hz < self.f0_high_hz <= 1_000,
            "two periods of f0_low_hz in a frame, and f0_low_hz < f0_high_hz <= 1000",
            (self.f0_low_hz, self.f0_high_hz),
        )
        _require(0 < self.trim_db <= 200, "trim_db above 0 and at most 200", self.trim_db)
        _require(
            not self.voice_encoder or (self.sample_rate, self.hop_s) == VOICE_ENCODER_RATES,
            "sample_rate and hop_s of {} and {} for the voice encoder".format(*VOICE_ENCODER_RATES),
            (self.sample_rate, self.hop_s),
        )
        _require(
            not self.speech_encoder or self.sample_rate == SAMPLE_RATE,
            f"sample_rate of {SAMPLE_RATE} for the speech encoder",
            self.sample_rate,
        )
        _require(
            not self.speech_encoder or self.window_s <= LONGEST_FOR_SPEECH_ENCODER_S,
            f"window_s of at most {LONGEST_FOR_SPEECH_ENCODER_S} for the speech encoder",
            self.window_s,
        )
        _require(
            self.speech_encoder or not self.speech_states, "the speech encoder for its states", self.speech_encoder
        )

    @property
    def frame_length(self) -> int:
        """Number of samples in a frame."""
        return round(self.frame_s * self.sample_rate)

    @property
    def hop_length(self) -> int:
        """Number of samples from one frame to the next."""
        return round(self.hop_s * self.sample_rate)

    @property
    def n_states(self) -> int:
        """Most states of the speech encoder in a window, which may be half as long again; 0 where there are none."""
        return math.ceil(LONGEST_WINDOW * self.window_s / STATE_S) if self.speech_states else 0

    def digest(self) -> str:
        """Return a hexadecimal digest of the version of the feature code and the parameters of what speech gives."""
        text = json.dumps(replace(self, text_encoder=False).to_dict(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the version of the feature code and the parameters, as JSON values.

        ENCODER_SWITCHES are left out where they are off, so that older cache entries and models are still found.
        """
        values = {"version": FEATURE_VERSION, **asdict(self)}
        return {name: value for name, value in values.items() if value or name not in ENCODER_SWITCHES}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureConfig:
        """Make a config from the result of to_dict.

        Args:
            values: the version and the parameters.

        Returns:
            The config.

        Raises:
            ConfigError: the version is another one, or a parameter is unknown, missing or out of range.
        """
        expected = {"version", *(field.name for field in fields(cls))}
        if set(values) | set(ENCODER_SWITCHES) != expected:
            raise ConfigError(f"feature config: expected the parameters {sorted(expected)}. Received: {sorted(values)}")
        if values["version"] != FEATURE_VERSION:
            raise ConfigError(f"feature config: expected version {FEATURE_VERSION}. Received: {values['version']}")
        return cls(**{name: value for name, value in values.items() if name != "version"})


def _require(condition: bool, expected: str, received: object) -> None:
    if not condition:
        raise ConfigError(f"feature config: expected {expected}. Received: {received}")


def _require_number(name: str, value: object, *, whole: bool) -> None:
    accepted = int if whole else (int, float)
    numeric = isinstance(value, accepted) and not isinstance(value, bool) and math.isfinite(value)
    _require(numeric, f"{name} to be a {'whole ' if whole else ''}number", repr(value))
