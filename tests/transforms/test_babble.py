"""Voices in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from serctl.errors import AudioError, ConfigError
from serctl.transforms.babble import Babble
from serctl.transforms.one_of import recording_conditions

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000
PITCHES = (300, 700, 1_100)


@pytest.fixture
def speech() -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 2_000 * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.fixture
def voices(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{pitch}.wav" for pitch in PITCHES)
    for path, pitch in zip(paths, PITCHES, strict=True):
        soundfile.write(path, pitch / 2_000 * np.sin(2 * np.pi * pitch * np.arange(RATE) / RATE), RATE, subtype="FLOAT")
    return paths


def test_the_ratio_is_met_and_each_voice_is_equally_loud(speech: np.ndarray, voices: tuple[Path, ...]) -> None:
    noisy, parameters = Babble(voices, 5, 5, 30, 30)(speech, RATE, np.random.default_rng(0))
    assert parameters == {"babble_voices": 30, "babble_snr_db": 5}
    added = noisy - speech
    assert 10 * np.log10(np.var(speech) / np.var(added)) == pytest.approx(5, abs=0.01)
    spectrum = np.abs(np.fft.rfft(added)) ** 2
    one_second = len(speech) // RATE
    shares = [spectrum[pitch * one_second - 2 : pitch * one_second + 3].sum() / spectrum.sum() for pitch in PITCHES]
    assert min(shares) > 0.02
    assert sum(shares) > 0.95


def test_silence_stays_silent_and_silent_voices_add_nothing(
    speech: np.ndarray, voices: tuple[Path, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    silence = np.zeros_like(speech)
    assert np.array_equal(Babble(voices)(silence, RATE, rng)[0], silence)
    quiet = tmp_path / "quiet.wav"
    soundfile.write(quiet, np.zeros(RATE), RATE)
    unchanged, parameters = Babble((quiet,))(speech, RATE, rng)
    assert np.array_equal(unchanged, speech)
    assert parameters == {"babble_voices": 0}


def test_a_recording_that_is_gone_is_named(speech: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav"):
        Babble((tmp_path / "gone.wav",))(speech, RATE, np.random.default_rng(0))


@pytest.mark.parametrize("values", [{"snr_low_db": 9, "snr_high_db": 3}, {"fewest": 0}, {"fewest": 5, "most": 4}])
def test_a_range_the_wrong_way_round_is_refused(values: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="low <= high"):
        Babble((tmp_path / "voice.wav",), **values)


def test_babble_needs_voices() -> None:
    with pytest.raises(ConfigError, match="recordings of speech"):
        Babble(())


def test_degraded_copies_have_babble_where_there_are_voices(voices: tuple[Path, ...]) -> None:
    def kinds(*files: tuple[Path, ...]) -> list[list[str]]:
        return [[each.to_dict()["transform"] for each in chain] for chain in recording_conditions(*files).chains]

    assert ["babble"] not in kinds()
    assert kinds((), voices) == [*kinds(), ["babble"], ["room", "babble"]]


def test_the_description_holds_contents_not_places(voices: tuple[Path, ...], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.wav"
    moved.write_bytes(voices[0].read_bytes())
    assert Babble((moved,)).to_dict() == Babble(voices[:1]).to_dict()
    assert Babble(voices[1:2]).to_dict() != Babble(voices[:1]).to_dict()
