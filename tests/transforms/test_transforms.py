"""Speed, noise and spectral masks, against what the definitions demand and scipy measures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.signal
import soundfile

from serctl.errors import AudioError, ConfigError
from serctl.transforms.apply import apply_transforms, file_generator
from serctl.transforms.noise import Noise
from serctl.transforms.spectral_mask import SpectralMask
from serctl.transforms.speed import Speed

RATE = 16000
DIGEST = "00112233445566778899aabbccddeeff"


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def tone():
    return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.fixture
def hiss():
    return (0.1 * np.random.default_rng(1).standard_normal(3 * RATE)).astype(np.float32)


def db(ratio):
    return 10 * np.log10(ratio)


def spectrum_db(samples):
    frequencies, power = scipy.signal.welch(samples, RATE, nperseg=1024)
    return frequencies, db(power + 1e-20)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1, 1.237])
def test_speed_divides_the_duration_and_multiplies_the_pitch(tone, rng, factor):
    changed, parameters = Speed(factor, factor)(tone, RATE, rng)
    assert parameters == {"speed_factor": factor}
    assert abs(len(changed) - len(tone) / factor) <= 1
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed)), 1 << 20))
    peak_hz = spectrum.argmax() * RATE / (1 << 20)
    assert peak_hz == pytest.approx(1000 * factor, abs=0.1)


def test_speed_draws_its_factor_from_the_range(tone, rng):
    factors = [Speed(0.9, 1.1)(tone[:160], RATE, rng)[1]["speed_factor"] for _ in range(200)]
    assert 0.9 <= min(factors) < 0.91
    assert 1.09 < max(factors) <= 1.1


def test_speed_keeps_a_single_sample(rng):
    changed, parameters = Speed(3, 3)(np.ones(1, np.float32), RATE, rng)
    assert len(changed) == 1
    assert parameters == {"speed_factor": 1.0}


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 20.0, 40.0])
def test_gaussian_noise_meets_the_snr(tone, rng, snr_db):
    noisy, parameters = Noise(snr_db, snr_db)(tone, RATE, rng)
    measured = db(np.var(tone, dtype=np.float64) / np.var(noisy - tone.astype(np.float64)))
    assert measured == pytest.approx(snr_db, abs=1e-3)
    assert parameters == {"noise_source": "gaussian", "noise_snr_db": snr_db}


def test_gaussian_noise_is_white(tone, rng):
    noisy, _ = Noise(0, 0)(tone, RATE, rng)
    _, levels = spectrum_db(noisy - tone)
    assert np.ptp(levels[4:-4]) < 10


@pytest.mark.parametrize("noise_s", [0.3, 10])
def test_recorded_noise_meets_the_snr_and_is_repeated_where_short(tmp_path, tone, rng, noise_s):
    path = tmp_path / "hum.wav"
    hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(round(noise_s * 8000)) / 8000)
    soundfile.write(path, hum, 8000)
    noisy, parameters = Noise(12, 12, (path,))(tone, RATE, rng)
    added = noisy.astype(np.float64) - tone
    assert db(np.var(tone, dtype=np.float64) / np.var(added)) == pytest.approx(12, abs=1e-3)
    assert parameters["noise_source"] == str(path)
    frequencies, levels = spectrum_db(added)
    assert frequencies[levels.argmax()] < 100
    assert np.std(added[-1600:]) == pytest.approx(np.std(added), rel=0.05)


def test_recorded_noise_starts_at_random(tmp_path, tone, hiss):
    path = tmp_path / "hiss.wav"
    soundfile.write(path, hiss, RATE)
    first, second = (Noise(0, 0, (path,))(tone, RATE, np.random.default_rng(seed))[0] for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_noise_leaves_silence_unchanged_and_says_so(rng):
    silence = np.zeros(RATE, np.float32)
    unchanged, parameters = Noise()(silence, RATE, rng)
    assert np.array_equal(unchanged, silence)
    assert parameters == {"noise_source": "none: the recording is silent"}


def test_silent_noise_is_not_scaled_up(tmp_path, tone, rng):
    path = tmp_path / "nothing.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    unchanged, parameters = Noise(noise_files=(path,))(tone, RATE, rng)
    assert np.array_equal(unchanged, tone)
    assert parameters == {"noise_source": f"none: silent stretch of {path}"}


def test_unreadable_noise_is_an_audio_error(tmp_path, tone, rng):
    with pytest.raises(AudioError, match=r"gone\.wav' does not exist"):
        Noise(noise_files=(tmp_path / "gone.wav",))(tone, RATE, rng)


def ranges(text):
    return [tuple(map(float, part.split("-"))) for part in text.split()]


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_masked_bands_are_down_by_20_db_and_the_rest_is_kept(hiss, seed):
    masked, parameters = SpectralMask(2, 0.3, 0.0)(hiss, RATE, np.random.default_rng(seed))
    assert masked.dtype == np.float32
    assert masked.shape == hiss.shape
    frequencies, before = spectrum_db(hiss)
    _, after = spectrum_db(masked)
    bands = ranges(parameters["masked_hz"])
    assert len(bands) == 2
    inside = np.any([(frequencies > low + 100) & (frequencies < high - 100) for low, high in bands], axis=0)
    outside = np.all([(frequencies < low - 100) | (frequencies > high + 100) for low, high in bands], axis=0)
    assert inside.sum() > 20
    assert np.all(after[inside] < before[inside] - 20)
    assert np.allclose(after[outside], before[outside], atol=0.5)


@pytest.mark.parametrize("seed", [2, 3])
def test_masked_stretches_are_silent_and_the_rest_is_kept(hiss, seed):
    masked, parameters = SpectralMask(2, 0.0, 0.3)(hiss, RATE, np.random.default_rng(seed))
    times = np.arange(len(hiss)) / RATE
    stretches = ranges(parameters["masked_s"])
    inside = np.any([(times > start + 0.04) & (times < end - 0.04) for start, end in stretches], axis=0)
    outside = np.all([(times < start - 0.04) | (times > end + 0.04) for start, end in stretches], axis=0)
    assert inside.sum() > 1000
    assert np.abs(masked[inside]).max() < 1e-4
    assert np.allclose(masked[outside], hiss[outside], atol=1e-4)


def test_masks_are_no_wider_than_asked(hiss):
    rng = np.random.default_rng(0)
    drawn = [SpectralMask(3, 0.2, 0.1)(hiss[:1000], RATE, rng)[1] for _ in range(50)]
    widths = [high - low for parameters in drawn for low, high in ranges(parameters["masked_hz"])]
    assert 0.18 * 8000 < max(widths) <= 0.2 * 8000 + 0.1
    times = [high - low for parameters in drawn for low, high in ranges(parameters["masked_s"])]
    assert 0.09 * 0.0625 < max(times) <= 0.1 * 0.0625 + 0.001


@pytest.mark.parametrize("length", [1, 10, 511, 513])
def test_masks_take_recordings_shorter_than_a_window(length, rng):
    masked, _ = SpectralMask()(np.ones(length, np.float32), RATE, rng)
    assert masked.shape == (length,)
    assert np.isfinite(masked).all()


def test_transforms_combine_and_report_all_parameters(hiss, rng):
    changed, parameters = apply_transforms(hiss, RATE, transforms=[Speed(), Noise(), SpectralMask()], rng=rng)
    assert changed.dtype == np.float32
    assert len(changed) == pytest.approx(len(hiss) / parameters["speed_factor"], abs=1)
    assert set(parameters) == {"speed_factor", "noise_source", "noise_snr_db", "masked_hz", "masked_s", "gain"}
    assert json.loads(json.dumps(parameters)) == parameters


def test_a_peak_beyond_full_scale_is_scaled_down_and_the_gain_recorded(tone, rng):
    noise = Noise(0, 0)
    loud, _ = noise(tone, RATE, np.random.default_rng(9))
    limited, parameters = apply_transforms(tone, RATE, transforms=[noise], rng=np.random.default_rng(9))
    assert np.abs(loud).max() > 1
    assert np.abs(limited).max() <= 1
    assert limited == pytest.approx(loud * parameters["gain"], abs=1e-6)


def test_a_quiet_result_keeps_its_level(hiss, rng):
    same, parameters = apply_transforms(hiss, RATE, transforms=[], rng=rng)
    assert np.array_equal(same, hiss)
    assert parameters == {"gain": 1.0}


@pytest.mark.parametrize("shape", [(0,), (10, 2)])
def test_samples_that_are_not_mono_are_refused(rng, shape):
    with pytest.raises(AudioError, match="expected mono samples"):
        apply_transforms(np.zeros(shape, np.float32), RATE, transforms=[Speed()], rng=rng)


def test_the_same_transform_twice_is_refused(hiss, rng):
    with pytest.raises(ConfigError, match="each transform once"):
        apply_transforms(hiss, RATE, transforms=[Noise(), Noise(0, 5)], rng=rng)


def test_the_same_seed_digest_and_copy_give_the_same_result(hiss):
    def augmented(*key):
        chain = [Speed(), Noise(), SpectralMask()]
        return apply_transforms(hiss, RATE, transforms=chain, rng=file_generator(*key))[0]

    reference = augmented(7, DIGEST, 0)
    assert np.array_equal(augmented(7, DIGEST, 0), reference)
    for other in ((8, DIGEST, 0), (7, DIGEST[::-1], 0), (7, DIGEST, 1)):
        assert not np.array_equal(augmented(*other)[:1000], reference[:1000])


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Speed(1.1, 0.9), "1.1:0.9"),
        (lambda: Speed(0.0, 1.0), "speed factors"),
        (lambda: Speed(float("nan"), 1.0), "speed factors"),
        (lambda: Noise(20, 10), "20:10"),
        (lambda: Noise(10, float("inf")), "SNR"),
        (lambda: SpectralMask(0), "at least 1 mask"),
        (lambda: SpectralMask(1, 1.2), "mask widths"),
        (lambda: SpectralMask(1, 0.2, -0.1), "mask widths"),
    ],
)
def test_impossible_parameters_are_config_errors(build, match):
    with pytest.raises(ConfigError, match=match):
        build()


def test_descriptions_are_json_and_tell_transforms_apart(tmp_path):
    fan, other, moved = tmp_path / "fan.wav", tmp_path / "other.wav", tmp_path / "moved.wav"
    for path, content in ((fan, b"fan"), (other, b"other"), (moved, b"fan")):
        path.write_bytes(content)
    transforms = [
        Speed(),
        Speed(0.8),
        Noise(),
        Noise(noise_files=(fan,)),
        Noise(noise_files=(other,)),
        SpectralMask(),
        SpectralMask(1),
    ]
    texts = {json.dumps(transform.to_dict(), sort_keys=True) for transform in transforms}
    assert len(texts) == len(transforms)
    # What was cached with this noise is found again wherever it lies.
    assert Noise(noise_files=(moved,)).to_dict() == Noise(noise_files=(fan,)).to_dict()
    assert Speed().to_dict() == {"transform": "speed", "low": 0.9, "high": 1.1}
