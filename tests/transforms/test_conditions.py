"""Transforms that imitate how recordings reach a user: telephone, room, codec, level, another voice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.transforms.codec import Codec
from serctl.transforms.envelope import warp_envelope
from serctl.transforms.level import Level
from serctl.transforms.one_of import OneOf, recording_conditions
from serctl.transforms.room import Room, impulse_response
from serctl.transforms.telephone import Telephone
from serctl.transforms.vocal_tract import VocalTract

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 16_000
ALL = [Telephone(), Room(), Codec(), Level(), VocalTract(), recording_conditions()]


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def power_in(samples: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(hz >= low_hz) & (hz < high_hz)].sum())


@pytest.mark.parametrize("transform", ALL, ids=lambda each: type(each).__name__)
def test_a_seed_gives_the_same_finite_samples(transform: Telephone, speech: NDArray[np.float32]) -> None:
    first, drawn = transform(speech, RATE, generator())
    second, again = transform(speech, RATE, generator())
    np.testing.assert_array_equal(first, second)
    assert drawn == again
    assert drawn
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert not np.array_equal(first, speech)


@pytest.mark.parametrize("transform", ALL, ids=lambda each: type(each).__name__)
def test_silence_stays_finite(transform: Telephone) -> None:
    changed, _ = transform(np.zeros(RATE, np.float32), RATE, generator())
    assert np.isfinite(changed).all()


@pytest.mark.parametrize("transform", [Telephone(), Room(), Codec(), Level()], ids=lambda each: type(each).__name__)
def test_the_length_is_kept(transform: Telephone, speech: NDArray[np.float32]) -> None:
    assert len(transform(speech, RATE, generator())[0]) == len(speech)


@pytest.mark.parametrize("coding", ["mulaw", "gsm"])
def test_a_telephone_passes_300_to_3400_hz(coding: str) -> None:
    noise = generator().normal(0, 0.1, 4 * RATE).astype(np.float32)
    heard, _ = Telephone((coding,))(noise, RATE, generator())
    inside = power_in(heard, 500, 3_000) / 2_500
    assert power_in(heard, 4_000, 8_000) / 4_000 < 1e-3 * inside
    assert power_in(heard, 0, 150) / 150 < 0.1 * inside


def test_a_room_decays_by_60_db_in_its_reverberation_time() -> None:
    response = impulse_response(0.6, 2.0, RATE, generator())
    energy = np.cumsum(np.square(response)[::-1])[::-1]
    level_db = 10 * np.log10(energy / energy[0])
    late = slice(round(0.1 * RATE), round(0.4 * RATE))
    slope = np.polyfit(np.arange(len(response))[late] / RATE, level_db[late], 1)[0]
    assert -60 / slope == pytest.approx(0.6, rel=0.25)


def test_a_level_of_minus_30_db_is_that(speech: NDArray[np.float32]) -> None:
    quiet, drawn = Level(-30.0, -30.0)(speech, RATE, generator())
    assert drawn["level_db"] == -30.0
    assert 20 * np.log10(np.std(quiet) / np.std(speech)) == pytest.approx(-30, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 96_000])
@pytest.mark.parametrize("codec", ["mp3", "opus", "vorbis"])
def test_a_codec_takes_every_sample_rate(codec: str, rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) / 4
    coded, _ = Codec((codec,), 32.0, 48.0)(tone, rate, generator())
    assert coded.shape == tone.shape
    spectrum = np.abs(np.fft.rfft(coded))
    assert spectrum.argmax() == 440


def test_a_codec_keeps_speech_recognisable(speech: NDArray[np.float32]) -> None:
    coded, drawn = Codec(("mp3",), 32.0, 32.0)(speech, RATE, generator())
    assert drawn["codec_kbps"] == pytest.approx(32, abs=1)
    assert np.corrcoef(np.abs(np.fft.rfft(coded)), np.abs(np.fft.rfft(speech)))[0, 1] > 0.9


def test_a_warped_envelope_moves_the_formants_and_leaves_the_pitch() -> None:
    time = np.arange(2 * RATE) / RATE
    harmonics = np.arange(1, 40)
    formant = np.exp(-(((harmonics * 120 - 1_000) / 300) ** 2)) + 1e-3
    voice = (formant[:, None] * np.sin(2 * np.pi * 120 * harmonics[:, None] * time)).sum(axis=0)
    warped = warp_envelope(voice / np.abs(voice).max(), 1.2, RATE).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(warped))
    hz = np.fft.rfftfreq(len(warped), 1 / RATE)
    loudest = hz[spectrum.argmax()]
    assert loudest % 120 == pytest.approx(0, abs=2) or loudest % 120 == pytest.approx(120, abs=2)
    assert 1_080 <= loudest <= 1_320


@pytest.mark.parametrize(
    "make",
    [
        lambda: Telephone(()),
        lambda: Telephone(("pager",)),
        lambda: Room(rt60_low_s=0.9, rt60_high_s=0.2),
        lambda: Codec(("wma",)),
        lambda: Codec(low_kbps=64, high_kbps=32),
        lambda: Level(10, -10),
        lambda: VocalTract(formant_low=0.1),
        lambda: OneOf((), ()),
        lambda: OneOf(((Level(),),), (0.0,)),
    ],
)
def test_a_value_out_of_range_is_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()  # type: ignore[operator]


def test_equal_transforms_have_equal_descriptions() -> None:
    assert recording_conditions().to_dict() == recording_conditions().to_dict()
    assert Codec().to_dict() != Codec(("opus",)).to_dict()
