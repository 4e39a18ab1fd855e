"""Speech is told from silence and steady noise by how it rises and falls, at any level."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.signal

from serctl.audio.segments import read_audio
from serctl.features import FeatureConfig, MelStream, SpeechGate, compute_features, is_silent, is_silent_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Signal = Callable[[], NDArray[np.float32]]

RATE = 16_000
CONFIG = FeatureConfig()
LEVELS_DB = (0, -20, -40, -60)
RECORDINGS = sorted(
    path for path in (Path(__file__).parents[2] / "sample_audio").iterdir() if path.suffix in (".wav", ".flac", ".ogg")
)


def at(samples: NDArray[np.floating], level_db: float) -> NDArray[np.float32]:
    """The samples, whose peak is moved to the level."""
    return (samples / np.abs(samples).max() * 10 ** (level_db / 20)).astype(np.float32)


def rounded(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """As 16 bits hold them, with dither."""
    dither = np.random.default_rng(9).triangular(-1, 0, 1, len(samples))
    return (np.round(samples * 32768 + dither) / 32768).astype(np.float32)


def white(seconds: float) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(round(seconds * RATE))


def hum(seconds: float) -> NDArray[np.float64]:
    time = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * 50 * time) + 0.4 * np.sin(2 * np.pi * 150 * time)


def syllables(seconds: float) -> NDArray[np.float64]:
    """A voice of 120 Hz that rises and falls four times a second."""
    time = np.arange(round(seconds * RATE)) / RATE
    return scipy.signal.sawtooth(2 * np.pi * 120 * time) * np.sin(2 * np.pi * 2 * time) ** 2


def both(samples: NDArray[np.float32]) -> bool:
    """Whether the samples are silent, by the functionals and by the samples, which must agree."""
    silent = is_silent(compute_features(samples, CONFIG).functionals, CONFIG)
    assert is_silent_window(samples, CONFIG) is silent
    return silent


@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_a_voice_is_speech_at_any_level(level_db: float, seconds: float) -> None:
    assert not both(at(syllables(seconds), level_db))
    assert not both(rounded(at(syllables(seconds), level_db)))


@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("noise", [white, hum], ids=["noise", "hum"])
def test_steady_sound_is_no_speech_at_any_level(noise: Callable[[float], NDArray[np.float64]], level_db: float) -> None:
    assert both(at(noise(3.0), level_db))
    assert both(rounded(at(noise(3.0), level_db)))


@pytest.mark.parametrize(
    "signal",
    [
        lambda: np.zeros(3 * RATE, np.float32),
        lambda: np.zeros(RATE // 10, np.float32),
        lambda: np.full(3 * RATE, 0.5, np.float32),
        lambda: rounded(np.zeros(3 * RATE)),
        lambda: rounded(np.zeros(RATE // 10)),
        lambda: rounded(np.zeros(3 * RATE)) * (np.arange(3 * RATE) // 8_000 % 2),
    ],
    ids=["zeros", "zeros for 0.1 s", "DC", "dither", "dither for 0.1 s", "dither now and then"],
)
def test_digital_silence_is_no_speech(signal: Signal) -> None:
    assert both(signal().astype(np.float32))


def test_speech_over_noise_is_speech_down_to_the_level_of_the_noise() -> None:
    speech, noise = at(syllables(3.0), -30), white(3.0)
    power = np.mean(np.square(speech))
    for snr_db in (20, 10, 5):
        assert not both((speech + noise * np.sqrt(power / 10 ** (snr_db / 10))).astype(np.float32))
    assert both((speech + noise * np.sqrt(power * 100)).astype(np.float32))


@pytest.mark.parametrize("level_db", LEVELS_DB)
def test_every_sample_recording_is_speech_at_any_level(level_db: float) -> None:
    for path in RECORDINGS:
        quiet = at(read_audio(path, sample_rate=RATE), level_db)[: 4 * RATE]
        assert not is_silent_window(quiet, CONFIG), path.name
        _, levels = MelStream(CONFIG).push(quiet)
        gate = SpeechGate(CONFIG.hop_s)
        assert any([gate.is_speech(level) for level in levels.tolist()]), path.name
