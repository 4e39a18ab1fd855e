"""Transforms that change one thing about a voice and leave the others: tempo, pitch, brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.signal

from serctl.errors import ConfigError
from serctl.features import FeatureConfig, compute_features, functional_names
from serctl.transforms.brightness import Brightness
from serctl.transforms.pitch import Pitch
from serctl.transforms.stft import istft, stft
from serctl.transforms.tempo import Tempo

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 16_000
NAMES = functional_names(FeatureConfig())


def measure(samples: NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(NAMES, compute_features(samples, FeatureConfig()).functionals.tolist(), strict=True))


def changed(transform: Pitch | Tempo | Brightness, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    made, _ = transform(samples, RATE, np.random.default_rng(0))
    assert made.dtype == np.float32
    return made


def test_the_short_time_transform_is_that_of_scipy_and_comes_back(speech: NDArray[np.float32]) -> None:
    _, _, expected = scipy.signal.stft(speech, nperseg=512, noverlap=384)
    found = stft(speech, 512)
    frames = min(len(found), expected.shape[1])
    np.testing.assert_allclose(found[:frames] / 256, expected.T[:frames], atol=1e-6)
    np.testing.assert_allclose(istft(found, 512, len(speech)), speech, atol=1e-6)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_tempo_changes_the_duration_and_not_the_pitch(speech: NDArray[np.float32], factor: float) -> None:
    made = changed(Tempo(factor, factor), speech)
    assert len(made) == pytest.approx(len(speech) / factor, abs=2)
    before, after = measure(speech), measure(made)
    assert after["f0_hz_p50"] == pytest.approx(before["f0_hz_p50"], rel=0.04)
    assert after["centroid_hz_mean"] == pytest.approx(before["centroid_hz_mean"], rel=0.1)
    assert after["active_s"] == pytest.approx(before["active_s"] / factor, rel=0.05)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_pitch_changes_neither_duration_nor_timbre(speech: NDArray[np.float32], factor: float) -> None:
    made = changed(Pitch(factor, factor), speech)
    assert len(made) == len(speech)
    before, after = measure(speech), measure(made)
    assert after["f0_hz_p50"] == pytest.approx(factor * before["f0_hz_p50"], rel=0.05)
    assert after["f2_hz_p50"] == pytest.approx(before["f2_hz_p50"], rel=0.1)
    assert after["active_s"] == pytest.approx(before["active_s"], rel=0.05)


@pytest.mark.parametrize("tilt_db", [-3.0, 3.0])
def test_brightness_tilts_the_spectrum_by_so_much(tilt_db: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    made = changed(Brightness(tilt_db, tilt_db), noise)
    hz, before = scipy.signal.welch(noise, RATE, nperseg=1024)
    after = scipy.signal.welch(made, RATE, nperseg=1024)[1]
    gain_db = 10 * np.log10(after / before)
    octave = np.interp(4_000, hz, gain_db) - np.interp(2_000, hz, gain_db)
    assert octave == pytest.approx(tilt_db, abs=0.1)
    assert np.std(made) == pytest.approx(np.std(noise), rel=1e-4)


@pytest.mark.parametrize("transform", [Pitch(0.9, 0.9), Tempo(0.9, 0.9), Brightness(3, 3)])
@pytest.mark.parametrize("length", [1, 100, 1_600])
def test_any_length_will_do(transform: Pitch | Tempo | Brightness, length: int) -> None:
    made = changed(transform, np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32))
    assert np.isfinite(made).all()
    assert len(made) >= length


@pytest.mark.parametrize("transform", [Pitch, Tempo, Brightness])
@pytest.mark.parametrize("bounds", [(2.0, 1.0), (-13.0, 1.0), (0.9, 13.0)])
def test_ranges_are_checked(transform: type, bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        transform(*bounds)
