"""Recordings window by window: what comes from the cache is what was computed, and only that."""

from __future__ import annotations

import dataclasses
import os
from itertools import islice

import numpy as np
import pytest
import soundfile

from serctl.audio.file import RecordingFile, content_digest
from serctl.audio.segments import read_audio
from serctl.cache import Cache
from serctl.errors import AudioError
from serctl.features import (
    FeatureConfig,
    FeatureReader,
    changed_windows,
    compute_features,
    lld_names,
    reader,
)
from serctl.features.compute import compute_windows

RATE = 16_000
CONFIG = FeatureConfig(window_s=0.1)
"""Windows of a tenth of a second, so that a few seconds are a long recording."""


class ListedCache(Cache):
    """A cache that remembers the order in which its entries were written."""

    def __init__(self, folder):
        super().__init__(folder)
        self.keys = []

    def put(self, key, arrays):
        self.keys.append(key)
        super().put(key, arrays)


@pytest.fixture
def cache(tmp_path):
    return ListedCache(tmp_path / "cache")


def speech(seconds, seed=0):
    time = np.arange(round(seconds * RATE)) / RATE
    voice = sum(np.cos(2 * np.pi * k * (140 * time + 8 * np.sin(3 * time))) / k for k in range(1, 12))
    hiss = np.random.default_rng(seed).standard_normal(len(time))
    return (0.1 * voice * (1 + np.sin(9 * time)) + 0.01 * hiss).astype(np.float32)


def noise(level_db):
    samples = np.random.default_rng(0).standard_normal(RATE)
    return (samples * 10 ** (level_db / 20)).astype(np.float32)


STATES = FeatureConfig(speech_encoder=True, speech_states=True, window_s=0.1)


def write(path, samples, rate=RATE):
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


@pytest.fixture
def short(tmp_path):
    return write(tmp_path / "short.wav", speech(0.42))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """150 windows: three entries of the cache."""
    return write(tmp_path_factory.mktemp("reader") / "long.wav", speech(15.0))


@pytest.fixture
def no_audio(monkeypatch):
    """Switches off the reading of audio when called."""

    def refuse(*args, **kwargs):
        pytest.fail("the audio was read")

    def switch_off():
        monkeypatch.setattr(reader, "SegmentReader", refuse)
        monkeypatch.setattr(reader, "read_audio", refuse)
        monkeypatch.setattr(reader, "compute_windows", refuse)

    return switch_off


@pytest.fixture
def computed(monkeypatch):
    """Counts the windows that are computed."""
    lengths = []

    def count(windows, config):
        lengths.extend(map(len, windows))
        return compute_windows(windows, config)

    monkeypatch.setattr(reader, "compute_windows", count)
    return lengths


def assert_same_windows(windows, expected):
    assert bounds_of(windows) == bounds_of(expected)
    assert_same_features(windows, expected)


def bounds_of(windows):
    return [(window.start_s, window.end_s) for window in windows]


def assert_same_features(windows, expected):
    for ours, theirs in zip(windows, expected, strict=True):
        for field in ("log_mel", "lld", "functionals"):
            array, reference = getattr(ours.features, field), getattr(theirs.features, field)
            assert array.dtype == reference.dtype
            np.testing.assert_array_equal(array, reference)
        np.testing.assert_array_equal(ours.features.states, theirs.features.states)
        assert ours.features.first_frame == theirs.features.first_frame
        assert isinstance(ours.features.first_frame, int)


def read(path, cache, config=CONFIG, **options):
    features = FeatureReader(path, config, cache=cache, **options)
    return list(features), features


def test_windows_are_those_of_the_samples(short):
    windows, features = read(short, None)
    np.testing.assert_allclose(bounds_of(windows), [(0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.42)], atol=1e-9)
    samples = speech(0.42)
    for window in windows:
        part = samples[round(window.start_s * RATE) : round(window.end_s * RATE)]
        expected = compute_features(part, CONFIG)
        np.testing.assert_array_equal(window.features.functionals, expected.functionals)
        np.testing.assert_array_equal(window.features.log_mel, expected.log_mel)
        assert window.features.lld.shape == (0, 0)
    assert features.digest == content_digest(short)
    assert features.info.duration_s == pytest.approx(0.42)


@pytest.mark.parametrize("with_frames", [False, True])
def test_what_is_cached_is_what_was_computed(short, cache, no_audio, with_frames):
    first, computed_reader = read(short, cache, with_frames=with_frames)
    no_audio()
    second, cached_reader = read(short, cache, with_frames=with_frames)
    assert_same_windows(second, first)
    assert cached_reader.info == computed_reader.info
    np.testing.assert_array_equal(
        dataclasses.astuple(cached_reader.quality), dataclasses.astuple(computed_reader.quality)
    )
    assert type(cached_reader.info.sample_rate) is int
    assert cached_reader.digest == computed_reader.digest


def test_states_come_back_from_the_cache(short, cache, no_audio):
    first, _ = read(short, cache, STATES)
    assert all(each.features.states.dtype == np.float16 for each in first)
    no_audio()
    assert_same_windows(read(short, cache, STATES)[0], first)


@pytest.mark.parametrize("forged", [{}, {"state_counts": np.zeros(2, int)}, {"states": np.zeros((2, 3), np.float16)}])
def test_an_entry_without_its_states_is_computed_again(short, cache, computed, forged):
    expected, _ = read(short, cache, STATES)
    (key,) = cache.keys
    arrays = {name: array for name, array in cache.get(key).items() if not name.startswith("state")}
    cache.put(key, arrays | forged)
    assert_same_windows(read(short, cache, STATES)[0], expected)
    assert len(computed) == 2 * len(expected)


def test_reading_without_a_cache_gives_the_same(short, cache):
    assert_same_windows(read(short, cache)[0], read(short, None)[0])


def test_facts_of_the_original_come_back_from_the_cache(tmp_path, cache, no_audio):
    stereo = np.stack([speech(0.5), np.zeros(8_000, np.float32)], axis=1)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.repeat(stereo, 3, axis=0), 48_000, subtype="PCM_24")
    read(path, cache)
    no_audio()
    _, features = read(path, cache)
    assert (features.info.sample_rate, features.info.channels, features.info.subtype) == (48_000, 2, "PCM_24")
    assert features.info.duration_s == pytest.approx(0.5)
    assert features.quality.clipping == 0


def test_notes_come_back_from_the_cache(tmp_path, cache, no_audio):
    path = tmp_path / "opposite.wav"
    soundfile.write(path, np.stack([speech(0.5), -speech(0.5)], axis=1), RATE, subtype="FLOAT")
    _, first = read(path, cache)
    no_audio()
    _, second = read(path, cache)
    assert len(first.info.notes) == 1
    assert second.info == first.info


@pytest.mark.parametrize("when", ["after the digest", "between the windows"])
def test_a_recording_that_changes_while_it_is_read_is_an_error_and_not_cached(long, tmp_path, cache, monkeypatch, when):
    path = tmp_path / "a.wav"
    path.write_bytes(long.read_bytes())

    def rewrite():
        write(path, speech(15.0, seed=1))
        os.utime(path, (1, 1))

    if when == "after the digest":
        digest = RecordingFile.digest
        monkeypatch.setattr(RecordingFile, "digest", lambda file: (digest(file), rewrite())[0])
    windows = iter(FeatureReader(path, CONFIG, cache=cache))
    next(windows)
    if when == "between the windows":
        rewrite()
    with pytest.raises(AudioError, match=r"a\.wav' changed while it was read"):
        list(windows)
    assert not cache.keys


def test_a_recording_that_is_replaced_while_it_is_read_keeps_its_own_digest(short, tmp_path, cache):
    other = write(tmp_path / "other.wav", speech(0.42, seed=1))
    features = FeatureReader(short, CONFIG, cache=cache)
    windows = iter(features)
    first = next(windows)
    digest = content_digest(short)
    other.replace(short)
    assert_same_windows([first, *windows], read(write(tmp_path / "again.wav", speech(0.42)), None)[0])
    assert features.digest == digest


def test_frames_are_kept_when_asked_for(short, cache):
    without, _ = read(short, cache)
    with_frames, _ = read(short, cache, with_frames=True)
    for window, plain in zip(with_frames, without, strict=True):
        assert window.features.lld.shape == (len(window.features.log_mel), len(lld_names(CONFIG)))
        assert plain.features.lld.shape == (0, 0)


def test_a_renamed_recording_keeps_its_entry(short, cache, no_audio):
    first, _ = read(short, cache)
    no_audio()
    renamed = short.rename(short.with_name("other name.wav"))
    assert_same_windows(read(renamed, cache)[0], first)


def test_a_changed_recording_does_not_keep_its_entry(short, cache, computed):
    first, _ = read(short, cache)
    write(short, speech(0.42, seed=1))
    second, _ = read(short, cache)
    assert len(computed) == len(first) + len(second)
    assert not np.array_equal(first[0].features.functionals, second[0].features.functionals)
    assert_same_windows(second, read(short, None)[0])


@pytest.mark.parametrize("change", [{"n_mels": 40}, {"window_s": 0.2}, {"trim_db": 20.0}])
def test_another_config_does_not_share_the_entry(short, cache, computed, change):
    read(short, cache)
    done = len(computed)
    config = dataclasses.replace(CONFIG, **change)
    windows, _ = read(short, cache, config)
    assert len(computed) == done + len(windows)


def test_a_part_does_not_share_the_entry_of_the_whole(short, cache, computed):
    for options in ({}, {"start_s": 0.1}, {"end_s": 0.3}, {"start_s": 0.1, "end_s": 0.3}, {"with_frames": True}):
        before = len(computed)
        windows, _ = read(short, cache, **options)
        assert len(computed) == before + len(windows)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_entry_is_computed_again(short, cache, computed, damage):
    first, _ = read(short, cache)
    (entry,) = cache.folder.rglob("*.entry")
    content = bytearray(entry.read_bytes())
    content[-50] ^= 1
    entry.write_bytes({"truncate": bytes(content[:-100]), "flip": bytes(content), "empty": b""}[damage])
    second, features = read(short, cache)
    assert len(computed) == 2 * len(first)
    assert_same_windows(second, first)
    assert features.info.duration_s == pytest.approx(0.42)
    read(short, cache)
    assert len(computed) == 2 * len(first)


FORGERIES = {
    "none": lambda arrays: {name: arrays[name] for name in ()},
    "missing": lambda arrays: {name: array for name, array in arrays.items() if name != "frames"},
    "no windows": lambda arrays: {
        name: array[:0] for name, array in arrays.items() if name not in ("facts", "subtype")
    },
    "too few windows": lambda arrays: {name: array for name, array in arrays.items() if name != "facts"},
    "another shape": lambda arrays: arrays | {"log_mel": arrays["log_mel"][:, :-1].copy()},
    "another dtype": lambda arrays: arrays | {"functionals": arrays["functionals"].astype(np.float64)},
    "other frames": lambda arrays: arrays | {"frames": arrays["frames"] + 1},
    "negative frames": lambda arrays: arrays | {"frames": -arrays["frames"]},
    "no dimensions": lambda arrays: arrays | {"lld": np.float32(0)},
    "few facts": lambda arrays: arrays | {"facts": arrays["facts"][:2].copy()},
    "no text": lambda arrays: arrays | {"subtype": np.array([255], np.uint8)},
    "not finite": lambda arrays: arrays | {"facts": np.full_like(arrays["facts"], np.inf)},
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_whole_entry_with_other_arrays_is_computed_again_and_replaced(short, cache, computed, forge):
    """As another program that may write into the cache makes them."""
    expected, _ = read(short, cache)
    (key,) = cache.keys
    cache.put(key, {name: np.asarray(array) for name, array in forge(cache.get(key)).items()})
    for _ in range(2):
        windows, _ = read(short, cache)
        assert_same_windows(windows, expected)
    assert len(computed) == 2 * len(expected)


def entry_of(cache, number):
    return next(cache.folder.rglob(f"{cache.keys[number]}.entry"))


def test_a_long_recording_is_cached_in_pieces(long, cache, no_audio):
    first, features = read(long, cache)
    assert len(first) == 150
    assert len(cache.keys) == len(set(cache.keys)) == 3
    no_audio()
    second, cached = read(long, cache)
    assert_same_windows(second, first)
    assert cached.info == features.info


@pytest.mark.parametrize("windows", [63, 64, 65, 128, 129])
def test_pieces_fit_whatever_the_number_of_windows(tmp_path, cache, no_audio, windows):
    path = write(tmp_path / "exact.wav", speech(windows * 0.1))
    first, _ = read(path, cache)
    assert len(first) == windows
    assert len(cache.keys) == -(-windows // reader.CHUNK_WINDOWS)
    no_audio()
    assert_same_windows(read(path, cache)[0], first)


@pytest.mark.parametrize(("missing", "recomputed"), [(0, 150), (1, 86), (2, 22)])
def test_a_missing_piece_is_computed_again(long, cache, computed, missing, recomputed):
    first, features = read(long, cache)
    entry_of(cache, missing).unlink()
    computed.clear()
    second, again = read(long, cache)
    assert_same_windows(second, first)
    assert again.info == features.info
    assert again.quality == features.quality
    assert len(computed) == recomputed
    computed.clear()
    assert_same_windows(read(long, cache)[0], first)
    assert not computed


def test_deep_features_do_not_depend_on_what_is_cached(long, cache, computed):
    config = FeatureConfig(window_s=0.1, voice_encoder=True)
    first, _ = read(long, cache, config)
    entry_of(cache, 1).unlink()
    computed.clear()
    assert_same_windows(read(long, cache, config)[0], first)
    assert len(computed) == 86


def test_a_reading_that_stops_half_way_leaves_the_cache_consistent(long, cache, computed):
    expected, _ = read(long, None)
    computed.clear()
    assert len(list(islice(FeatureReader(long, CONFIG, cache=cache), 100))) == 100
    assert len(cache.keys) == 1
    windows, _ = read(long, cache)
    assert_same_windows(windows, expected)
    assert len(computed) == 100 + 86


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 0.25), (0.12, None), (0.1, 0.3), (0.2, 9.0)])
def test_only_the_part_between_start_and_end_is_read(short, cache, no_audio, start_s, end_s):
    windows, features = read(short, cache, start_s=start_s, end_s=end_s)
    last_s = min(0.42, end_s or 0.42)
    assert windows[0].start_s == start_s
    assert windows[-1].end_s == pytest.approx(last_s)
    assert features.info.duration_s == pytest.approx(last_s - start_s)
    for window in windows:
        samples = read_audio(short, sample_rate=RATE, start_s=window.start_s, end_s=window.end_s)
        np.testing.assert_array_equal(window.features.functionals, compute_features(samples, CONFIG).functionals)
    no_audio()
    assert_same_windows(read(short, cache, start_s=start_s, end_s=end_s)[0], windows)


def test_a_recording_is_read_at_the_rate_of_the_config(tmp_path):
    time = np.arange(44_100) / 44_100
    path = write(tmp_path / "44.wav", sum(np.cos(2 * np.pi * 150 * k * time) / k**2 for k in range(1, 20)) / 4, 44_100)
    (window,), features = read(path, None, FeatureConfig(), with_frames=True)
    f0_hz = window.features.lld[3:-3, lld_names(FeatureConfig()).index("f0_hz")]
    np.testing.assert_allclose(f0_hz, 150, rtol=0.01)
    assert features.info.sample_rate == 44_100


def test_an_unreadable_recording_is_an_audio_error_and_is_not_cached(tmp_path, cache):
    path = tmp_path / "text.wav"
    path.write_text("no audio at all")
    for _ in range(2):
        with pytest.raises(AudioError, match=r"text\.wav"):
            read(path, cache)
    assert not cache.keys


def test_a_missing_recording_is_an_audio_error(tmp_path, cache):
    with pytest.raises(AudioError, match=r"gone\.wav"):
        read(tmp_path / "gone.wav", cache)


class Halve:
    """A change to samples that remembers what it was given."""

    def __init__(self, share=1.0):
        self.share = share
        self.digests = []

    def __call__(self, samples, digest):
        self.digests.append(digest)
        return samples[: round(self.share * len(samples))] * np.float32(0.5)


def changed(path, cache, change, key, start_s=0.0, end_s=None):
    return changed_windows(path, CONFIG, cache=cache, start_s=start_s, end_s=end_s, change=change, change_key=key)


def test_changed_windows_are_those_of_the_changed_samples(short):
    change = Halve()
    windows = changed(short, None, change, "half")
    assert change.digests == [content_digest(short)]
    halved = write(short.with_name("halved.wav"), speech(0.42) * np.float32(0.5))
    expected, _ = read(halved, None, with_frames=True)
    np.testing.assert_allclose(bounds_of(windows), bounds_of(expected), atol=1e-9)
    assert_same_features(windows, expected)


def test_changed_windows_are_cut_after_the_change(short):
    windows = changed(short, None, Halve(0.5), "shorter")
    np.testing.assert_allclose(bounds_of(windows), [(0, 0.1), (0.1, 0.21)], atol=1e-9)


def test_changed_windows_take_a_part(short):
    windows = changed(short, None, Halve(), "half", start_s=0.1, end_s=0.3)
    samples = speech(0.42)[1_600:3_200] * np.float32(0.5)
    assert len(windows) == 2
    np.testing.assert_array_equal(windows[0].features.functionals, compute_features(samples, CONFIG).functionals)


def test_changed_windows_are_cached_for_their_key(short, cache, no_audio):
    change = Halve()
    first = changed(short, cache, change, "half")
    no_audio()
    assert_same_windows(changed(short, cache, change, "half"), first)
    assert len(change.digests) == 1


def test_changed_windows_of_another_key_part_or_content_are_computed(short, cache):
    change = Halve()
    changed(short, cache, change, "half")
    changed(short, cache, change, "other")
    changed(short, cache, change, "half", start_s=0.1)
    changed(short, cache, change, "half", end_s=0.3)
    write(short, speech(0.42, seed=1))
    changed(short, cache, change, "half")
    assert len(change.digests) == len(set(cache.keys)) == 5


def test_changed_windows_do_not_mix_with_those_of_the_recording(short, cache):
    plain, _ = read(short, cache, with_frames=True)
    altered = changed(short, cache, Halve(), "")
    assert_same_windows(read(short, cache, with_frames=True)[0], plain)
    assert not np.array_equal(altered[0].features.lld, plain[0].features.lld)
