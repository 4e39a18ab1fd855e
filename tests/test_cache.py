from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import stat
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from serctl.cache import Cache, cache_folder, default_folder, make_key, open_cache
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


def _forge(cache: Cache, header: object, body: bytes = bytes(64)) -> Path:
    """Write an entry whose digest fits, as anybody can who may write into the folder."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    rest = struct.pack("<I", len(text)) + text
    rest += bytes(-(len(rest) + 24) % 16) + body
    digest = hashlib.blake2b(rest, digest_size=16, key=KEY.encode()).digest()
    path = _entry(cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"serctl\x00\x01" + digest + rest)
    return path


def test_the_forger_of_these_tests_writes_entries_that_are_read(cache):
    _forge(cache, [["x", "<f8", [8]]])
    assert cache.get(KEY)["x"].shape == (8,)


@pytest.mark.parametrize(
    "header",
    [
        [["x", "|O", [8]]],
        [["x", "<U2", [8]]],
        [["x", "<M8[s]", [8]]],
        [["x", "<f3", [8]]],
        [["x", [["a", "|O"]], [8]]],
        [["x", "<f8", [9]]],
        [["x", "<f8", [2**40]]],
        [["x", "<f8", [2**32, 2**32, 0, 2**62]]],
        [["x", "<f8", [-8]]],
        [["x", "<f8", [8.0]]],
        [["x", "<f8", 8]],
        [["x", "<f8", [1] * 100]],
        [["x", "<f8"]],
        [["x", "<f8", [4]], ["x", "<f8", [4]]],
        [[1, "<f8", [8]]],
        {"x": 1},
        3,
        None,
        b"no JSON",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=repr,
)
def test_a_forged_header_is_healed_like_any_damage(cache, header):
    for heal in (cache.verify, lambda: cache.get(KEY)):
        path = _forge(cache, header)
        assert heal() in ([path], None)
        assert not path.exists()


def test_an_entry_too_large_to_be_ours_is_never_read(cache):
    path = _forge(cache, [["x", "<f8", [8]]])
    os.truncate(path, 2**40)  # sparse: a terabyte to read, nothing on the disk
    assert cache.get(KEY) is None
    assert not path.exists()


def test_what_is_too_large_to_be_read_is_not_stored(cache, monkeypatch):
    monkeypatch.setattr("serctl.cache.LARGEST_ENTRY", 1000)
    cache.put(KEY, {"x": np.zeros(200)})
    assert cache.info().entries == 0


def test_special_files_as_entries_are_ignored_and_never_waited_for(cache):
    path = _entry(cache)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    linked = make_key("linked")
    _entry(cache, linked).parent.mkdir(exist_ok=True)
    _entry(cache, linked).symlink_to("/dev/zero")
    assert (cache.get(KEY), cache.get(linked)) == (None, None)
    assert (cache.verify(), cache.info().entries) == ([], 0)
    assert path.exists()


def test_the_cache_is_for_its_owner_alone(cache):
    cache.put(KEY, {"x": np.zeros(3)})
    modes = [path.stat().st_mode & 0o777 for path in (cache.folder, _entry(cache).parent, _entry(cache))]
    assert modes == [0o700, 0o700, 0o600]


def test_a_default_folder_that_others_may_read_is_closed_to_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "serctl").mkdir(mode=0o755)
    assert open_cache().folder == tmp_path / "serctl"
    assert (tmp_path / "serctl").stat().st_mode & 0o777 == 0o700


def test_an_entry_under_another_key_is_damaged(cache):
    other = KEY[:2] + make_key("other")[2:]
    cache.put(other, {"x": np.zeros(3)})
    _entry(cache, other).rename(_entry(cache))
    assert cache.get(KEY) is None


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([None]), np.array(["2020"], "M8[Y]")])
def test_only_numbers_are_stored(cache, array):
    with pytest.raises(TypeError, match="only numbers"):
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


def test_a_run_without_a_usable_cache_warns_once_and_carries_on(caplog):
    assert open_cache(Path("/proc/serctl-cache")) is None
    (record,) = caplog.records
    assert record.message.startswith("the cache /proc/serctl-cache cannot be used (")


STRANGER = 54_321  # a user id without a name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({"HOME": "{private}"}, "cannot be used (Permission denied); carrying on without it"),
        ({"HOME": "{private}/below"}, "cannot be used (Permission denied); carrying on without it"),
        ({"HOME": ""}, "there is no home folder to keep the cache in; carrying on without a cache"),
        ({}, "there is no home folder to keep the cache in; carrying on without a cache"),
    ],
    ids=["closed", "below closed", "empty", "unset"],
)
def test_without_a_home_to_write_into_a_run_carries_on_without_a_cache(tmp_path, environment, warning):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    code = f"""
        import os
        import platformdirs  # while its folder can still be read
        from serctl.cache import open_cache
        os.chdir("/")
        os.setuid({STRANGER})
        print(open_cache())
    """
    given = {"PATH": os.environ["PATH"]} | {name: value.format(private=private) for name, value in environment.items()}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    assert len(done.stderr.splitlines()) == 1
    assert warning in done.stderr


def test_a_tilde_leads_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(Path("~/cache")) == tmp_path / "cache"
    with pytest.raises(ConfigError, match="no home folder for ~nobody-of-this-name"):
        cache_folder(Path("~nobody-of-this-name/cache"))


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_place_of_an_entry_is_left_alone_and_never_waited_for(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), make_key("pipe")
    cache.put(key, {"values": np.arange(3)})
    (entry,) = tmp_path.rglob("*.entry")
    entry.unlink()
    os.mkfifo(entry)
    cache.put(key, {"values": np.arange(3)})
    assert stat.S_ISFIFO(entry.lstat().st_mode)
