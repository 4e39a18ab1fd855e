from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.features import FeatureConfig, MelStream, spectral

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIG = FeatureConfig()
ODD = FeatureConfig(sample_rate=22_050, frame_s=0.03, hop_s=0.007, n_fft=1024, f0_low_hz=80)
TOLERANCE_DB = 1e-4


def signal(count: int = 24_000) -> NDArray[np.float32]:
    """Tones and noise that swell, around a constant."""
    rng = np.random.default_rng(5)
    time = np.arange(count) / CONFIG.sample_rate
    tones = sum(np.sin(2 * np.pi * hz * time) / 6 for hz in (140, 710, 2_300))
    return ((tones * (0.05 + np.abs(np.sin(3 * time))) + 0.01 * rng.standard_normal(count)) + 0.05).astype(np.float32)


def high_passed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The recursion of the high-pass, written out."""
    steady = np.zeros(len(samples))
    before = last = 0.0
    for index, sample in enumerate(samples.astype(np.float64).tolist()):
        last = sample - before + 0.995 * last
        before = sample
        steady[index] = last
    return steady.astype(np.float32)


def in_pieces(
    samples: NDArray[np.float32], sizes: NDArray[np.intp], config: FeatureConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    stream = MelStream(config)
    found = [stream.push(piece) for piece in np.split(samples, np.cumsum(sizes))]
    return np.concatenate([log_mel for log_mel, _ in found]), np.concatenate([level for _, level in found])


@pytest.mark.parametrize("config", [CONFIG, ODD], ids=["default", "odd"])
@pytest.mark.parametrize("largest", [7, 161, 900, 9_000])
def test_the_frames_are_the_same_however_the_signal_is_cut(largest: int, config: FeatureConfig) -> None:
    samples = signal()
    sizes = np.random.default_rng(largest).integers(0, largest, 2 * len(samples) // largest)
    log_mel, level_db = MelStream(config).push(samples)
    found, found_level = in_pieces(samples, sizes, config)
    np.testing.assert_allclose(found, log_mel, atol=TOLERANCE_DB)
    np.testing.assert_allclose(found_level, level_db, atol=TOLERANCE_DB)


@pytest.mark.parametrize("config", [CONFIG, ODD], ids=["default", "odd"])
def test_the_frames_are_those_of_the_whole_signal_without_its_constant_part(config: FeatureConfig) -> None:
    samples = signal()
    log_mel, level_db = MelStream(config).push(samples)
    half = config.frame_length - config.frame_length // 2
    assert len(log_mel) == len(level_db) == 1 + (len(samples) - half) // config.hop_length
    assert log_mel.dtype == level_db.dtype == np.float32
    frames = spectral.frame_signal(high_passed(samples), config)[: len(log_mel)]
    expected = spectral.log_mel(spectral.power_spectrum(frames, config), config)
    np.testing.assert_allclose(log_mel, expected, atol=TOLERANCE_DB)
    levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1))
    assert np.ptp(levels) > 10
    np.testing.assert_allclose(level_db, levels, atol=1e-3)


def test_a_frame_is_there_as_soon_as_its_last_sample_is() -> None:
    samples = signal(2_000)
    stream = MelStream(CONFIG)
    counts = np.cumsum([len(stream.push(samples[index : index + 1])[0]) for index in range(len(samples))])
    expected = [max(0, 1 + (count - 320) // 160) for count in range(1, 2_001)]
    np.testing.assert_array_equal(counts, expected)


def test_nothing_comes_of_nothing() -> None:
    stream = MelStream(CONFIG)
    log_mel, level_db = stream.push(np.empty(0, np.float32))
    assert (log_mel.shape, level_db.shape) == ((0, CONFIG.n_mels), (0,))
    samples = signal(4_000)
    expected = MelStream(CONFIG).push(samples)[0]
    first = stream.push(samples[:3_000])[0]
    assert len(stream.push(np.empty(0, np.float32))[0]) == 0
    np.testing.assert_allclose(np.concatenate([first, stream.push(samples[3_000:])[0]]), expected, atol=TOLERANCE_DB)


def test_a_constant_part_is_removed() -> None:
    samples = signal()
    plain, level_db = MelStream(CONFIG).push(samples)
    shifted, shifted_level = MelStream(CONFIG).push(samples + np.float32(0.2))
    settled = 40  # frames; the jump at the start fades by 43 dB in a tenth of a second
    assert np.abs(shifted[0] - plain[0]).max() > 10
    np.testing.assert_allclose(shifted[settled:], plain[settled:], atol=0.05)
    np.testing.assert_allclose(shifted_level[settled:], level_db[settled:], atol=0.05)


def test_digital_silence_lies_at_the_floor() -> None:
    log_mel, level_db = MelStream(CONFIG).push(np.zeros(16_000, np.float32))
    np.testing.assert_allclose(level_db, -100, atol=TOLERANCE_DB)
    np.testing.assert_allclose(log_mel, -100, atol=TOLERANCE_DB)
