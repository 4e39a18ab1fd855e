from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from serctl.cache import Cache, default_folder, make_key
from serctl.errors import ConfigError

KEY = make_key("recording", 1)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return {
        "frames": np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.int16),
        "strided": np.arange(24).reshape(4, 6)[:, ::2],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": np.array([True, False]),
        "big_endian": np.array([1, 2], ">i4"),
    }


def _entry(cache: Cache, key: str = KEY) -> Path:
    return cache.folder / key[:2] / f"{key}.entry"


def _set_age(path: Path, hours: float) -> float:
    when = time.time() - 3600 * hours
    os.utime(path, (when, when))
    return when


def _fill(cache: Cache, count: int) -> list[str]:
    keys = [make_key("entry", number) for number in range(count)]
    for number, key in enumerate(keys):
        cache.put(key, {"x": np.full(1000, number, np.float32)})
        _set_age(_entry(cache, key), hours=100 - number)
    return keys


def test_what_was_put_comes_back(cache, arrays):
    cache.put(KEY, arrays)
    found = cache.get(KEY)
    assert found is not None
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].flags.aligned
        assert found[name].flags.writeable


def test_an_unknown_key_gives_nothing_and_makes_no_folder(cache):
    assert cache.get(KEY) is None
    assert not cache.folder.exists()


def test_putting_again_replaces(cache):
    cache.put(KEY, {"x": np.zeros(3)})
    cache.put(KEY, {"y": np.ones(2)})
    assert list(cache.get(KEY)) == ["y"]
    assert cache.info().entries == 1


@pytest.mark.parametrize("position", [0, 7, 12, 26, 40, -1])
def test_a_flipped_bit_anywhere_is_found_and_the_entry_removed(cache, arrays, position):
    cache.put(KEY, arrays)
    content = bytearray(_entry(cache).read_bytes())
    content[position] ^= 4
    _entry(cache).write_bytes(content)
    assert cache.get(KEY) is None
    assert not _entry(cache).exists()


@pytest.mark.parametrize("size", [0, 5, 20, 30, 200])
def test_a_torn_entry_is_found_and_removed(cache, arrays, size):
    cache.put(KEY, arrays)
    os.truncate(_entry(cache), size)
    assert cache.get(KEY) is None
    assert not _entry(cache).exists()


def test_an_entry_under_another_key_is_damaged(cache):
    other = KEY[:2] + make_key("other")[2:]
    cache.put(other, {"x": np.zeros(3)})
    _entry(cache, other).rename(_entry(cache))
    assert cache.get(KEY) is None


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([None]), np.array(["2020"], "M8[Y]")])
def test_only_numbers_are_stored(cache, array):
    with pytest.raises(TypeError, match="numbers only"):
        cache.put(KEY, {"x": array})


@pytest.mark.parametrize("key", ["", "../../../etc/passwd", "ABCDEF0123", "abc"])
def test_a_key_that_is_no_digest_is_refused(cache, key):
    with pytest.raises(ValueError, match="hexadecimal"):
        cache.get(key)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="is a file"):
            Cache(folder)


def test_a_full_disk_is_reported_once_and_leaves_nothing_behind(cache, monkeypatch, caplog):
    cache.put(make_key("before"), {"x": np.zeros(3)})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with caplog.at_level(logging.WARNING):
        cache.put(KEY, {"x": np.zeros(3)})
        cache.put(make_key("next"), {"x": np.zeros(3)})
    assert [record.message for record in caplog.records] == [
        f"the cache {cache.folder} cannot be written (No space left on device); carrying on without it"
    ]
    assert [path.name for path in cache.folder.rglob("*.*")] == [f"{make_key('before')}.entry"]


def test_a_cache_that_cannot_be_made_is_no_obstacle(caplog):
    cache = Cache(Path("/proc/serctl-cache"))
    cache.put(KEY, {"x": np.zeros(3)})
    assert cache.get(KEY) is None
    assert "cannot be written" in caplog.text


def test_keys_tell_parts_types_and_order_apart():
    variants = [
        ("ab",),
        ("a", "b"),
        ("b", "a"),
        (1,),
        (1.0,),
        ("1",),
        (1, ""),
        ("",),
        (),
        (-1,),
        (0.1,),
        (0.1 + 1e-16,),
    ]
    keys = {make_key(*parts) for parts in variants}
    assert len(keys) == len(variants)
    assert make_key("a", 1, 0.5) == make_key("a", np.int64(1).item(), np.float64(0.5))


def test_info_counts_entries_and_bytes(cache):
    assert cache.info().entries == 0
    _fill(cache, 3)
    info = cache.info()
    assert (info.entries, info.folder) == (3, cache.folder)
    assert info.bytes == sum(path.stat().st_size for path in cache.folder.rglob("*.entry"))
    assert (info.newest - info.oldest).total_seconds() == pytest.approx(2 * 3600, abs=5)


def test_verify_removes_the_damaged_and_names_them(cache):
    keys = _fill(cache, 4)
    os.truncate(_entry(cache, keys[1]), 50)
    assert cache.verify() == [_entry(cache, keys[1])]
    assert cache.verify() == []
    assert [cache.get(key) is None for key in keys] == [False, True, False, False]


def test_prune_removes_the_least_recently_used(cache):
    keys = _fill(cache, 5)
    size = cache.info().bytes // 5
    assert cache.get(keys[0]) is not None  # used just now
    assert cache.prune(3 * size) == 2
    assert [cache.get(key) is None for key in keys] == [False, True, True, False, False]
    assert cache.prune(3 * size) == 0


def test_a_read_is_noted_only_now_and_then(cache):
    cache.put(KEY, {"x": np.zeros(3)})
    recent = _set_age(_entry(cache), hours=0.5)
    cache.get(KEY)
    assert _entry(cache).stat().st_mtime == pytest.approx(recent, abs=1e-3)
    _set_age(_entry(cache), hours=2)
    cache.get(KEY)
    assert _entry(cache).stat().st_mtime == pytest.approx(time.time(), abs=60)


def test_prune_sweeps_abandoned_temporary_files_but_not_fresh_ones(cache):
    cache.put(KEY, {"x": np.zeros(3)})
    abandoned, fresh = (_entry(cache).with_name(f"{KEY}.entry.{name}.tmp") for name in ("old", "new"))
    abandoned.touch()
    fresh.touch()
    _set_age(abandoned, hours=2)
    cache.prune(10**9)
    assert not abandoned.exists()
    assert fresh.exists()
    assert cache.get(KEY) is not None


def test_clear_removes_entries_and_nothing_else(cache):
    _fill(cache, 3)
    foreign = [cache.folder / "letter.txt", next(cache.folder.glob("??")) / "letter.txt"]
    for path in foreign:
        path.touch()
    assert cache.clear() == 3
    assert sorted(path for path in cache.folder.rglob("*") if path.is_file()) == sorted(foreign)


def test_default_folder_is_named_after_the_program():
    assert default_folder().name == "serctl"


def _write_and_read(cache: Cache, seed: int) -> int:
    damaged = 0
    for _ in range(150):
        cache.put(KEY, {"x": np.full(20_000, seed, np.int32)})
        found = cache.get(KEY)
        damaged += found is None or len(set(found["x"][[0, 9_999, -1]].tolist())) != 1
    return damaged


def test_many_processes_share_it_safely(cache):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        damaged = pool.starmap(_write_and_read, [(cache, seed) for seed in range(3)], chunksize=1)
    assert damaged == [0, 0, 0]
    assert [path.suffix for path in _entry(cache).parent.iterdir()] == [".entry"]


def test_it_can_be_sent_to_workers(cache):
    cache.put(KEY, {"x": np.arange(3)})
    assert pickle.loads(pickle.dumps(cache)).get(KEY)["x"].tolist() == [0, 1, 2]
