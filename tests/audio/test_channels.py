"""Channels become one without losing the speech: a dead one is left out, one in opposite phase is inverted."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

import serctl.audio.decode
from serctl.audio.segments import SegmentReader, read_audio

RATE = 16_000


@pytest.fixture
def voice():
    time = np.arange(2 * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * 150 * time) * (1 + np.sin(9 * time)) / 2).astype(np.float32)


def other(voice):
    """Noise that no channel shares."""
    return 0.1 * np.random.default_rng(1).standard_normal(len(voice)).astype(np.float32)


def read(path, channels):
    soundfile.write(path, np.stack(channels, axis=1), RATE, subtype="FLOAT")
    reader = SegmentReader(path, sample_rate=RATE, window_s=10.0)
    (segment,) = reader
    np.testing.assert_array_equal(read_audio(path, sample_rate=RATE), segment.samples)
    return segment.samples, reader


@pytest.mark.parametrize("gain", [-1.0, -0.95, -0.5])
def test_opposite_phase_is_inverted(tmp_path, voice, gain):
    samples, reader = read(tmp_path / "a.wav", [voice, gain * voice])
    assert samples == pytest.approx((1 - gain) / 2 * voice, abs=1e-6)
    assert reader.info.notes == ("channel 2 is in opposite phase to channel 1: inverted in the mix",)
    assert reader.quality.silence < 0.1


@pytest.mark.parametrize("level", [0.0, 0.001])
def test_a_dead_channel_is_left_out(tmp_path, voice, level):
    samples, reader = read(tmp_path / "a.wav", [level * other(voice), voice])
    assert np.array_equal(samples, voice)
    assert reader.info.notes == ("channel 1 is silent: left out of the mix",)


def test_a_faint_channel_is_said(tmp_path, voice):
    samples, reader = read(tmp_path / "a.wav", [0.05 * other(voice), voice])
    assert samples == pytest.approx(voice / 2, abs=0.02)
    assert reader.info.notes == ("channel 1 is over 20 dB below channel 2: it hardly counts in the mix",)


def test_a_constant_channel_is_dead(tmp_path, voice):
    samples, _ = read(tmp_path / "a.wav", [voice, np.full_like(voice, 0.7)])
    assert np.array_equal(samples, voice)


def test_every_channel_is_looked_at(tmp_path, voice):
    silence = np.zeros_like(voice)
    samples, reader = read(tmp_path / "a.wav", [silence, 0.5 * voice, silence, -voice, 0.5 * voice])
    assert samples == pytest.approx(-2 / 3 * voice, abs=1e-6)
    assert reader.info.notes == (
        "channels 1, 3 are silent: left out of the mix",
        "channels 2, 5 are in opposite phase to channel 4: inverted in the mix",
    )


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_other_channels_are_averaged(tmp_path, voice, share):
    channels = [voice, share * voice - 0.3 * other(voice)]
    samples, reader = read(tmp_path / "a.wav", channels)
    assert samples == pytest.approx(np.mean(channels, axis=0), abs=1e-6)
    assert reader.info.notes == ()


def test_silence_stays_silence(tmp_path, voice):
    samples, reader = read(tmp_path / "a.wav", [np.zeros_like(voice)] * 2)
    assert not samples.any()
    assert reader.info.notes == ()


def test_the_whole_recording_decides(tmp_path, voice, monkeypatch):
    """A channel that speaks late is not dead, however small the blocks."""
    monkeypatch.setattr(serctl.audio.decode, "_BLOCK_VALUES", 1_600)
    early, late = np.pad(voice, (0, len(voice))), np.pad(voice, (len(voice), 0))
    samples, reader = read(tmp_path / "a.wav", [early, late])
    assert samples == pytest.approx((early + late) / 2, abs=1e-6)
    assert reader.info.notes == ()
