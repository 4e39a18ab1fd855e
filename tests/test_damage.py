"""Random damage to what is read back from the disk: found out, and never a traceback."""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.arrays import UNREADABLE, view_arrays
from serctl.cache import Cache, make_key
from serctl.reports.journal import Journal, journal_path

KEY = make_key("recording")
ARRAYS = {"log_mel": np.ones((3, 4), np.float16), "empty": np.zeros((0, 2)), "flags": np.ones(3, bool)}
TABLES = {
    "a.wav": {"path": "a.wav", "status": "ok", "lld": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "b.wav": {"path": "b.wav", "status": "error", "error": "cannot be read"},
    "c.wav": {"path": "c.wav", "status": "ok", "confidence": [0.5, 0.25]},
}

damages = st.tuples(st.sampled_from(["cut", "flip", "insert"]), st.floats(0, 1), st.binary(min_size=1, max_size=9))
dtypes = st.sampled_from(["<f8", "|u1", ">i2", "|O", "<U1", "<M8[s]", "<f3", "|V8", "O"])
shapes = st.lists(st.integers(0, 2), max_size=2) | st.lists(st.sampled_from([-1, 2**31, 2**63, 2**64]), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | dtypes | shapes,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
nearly_ours = st.lists(st.tuples(st.text(max_size=1), dtypes, shapes), min_size=1, max_size=2)


def damaged(content: bytes, damage: tuple[str, float, bytes]) -> bytes:
    """The content, cut, changed or with bytes put in, at a place from 0 (the first byte) to 1 (the end)."""
    kind, place, extra = damage
    index = round(place * (len(content) - 1))
    if kind == "cut":
        return content[:index]
    if kind == "insert":
        return content[:index] + extra + content[index:]
    return content[:index] + bytes([content[index] ^ (extra[0] or 1)]) + content[index + 1 :]


@given(damages)
def test_a_damaged_cache_entry_is_found_and_removed(damage):
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        cache.put(KEY, ARRAYS)
        (path,) = Path(folder).rglob("*.entry")
        path.write_bytes(damaged(path.read_bytes(), damage))
        assert cache.get(KEY) is None
        assert not path.exists()


@settings(max_examples=300)
@given(nearly_ours | json_values, st.binary(min_size=32, max_size=64))
def test_no_description_of_arrays_reaches_memory_that_is_not_theirs(descriptions, content):
    try:
        arrays, end = view_arrays(descriptions, content, offset=0)
    except UNREADABLE:
        return
    assert sum(array.nbytes for array in arrays.values()) == end <= len(content)
    assert all(array.dtype.kind in "biufc" for array in arrays.values())


@settings(deadline=None)
@given(damages)
def test_a_damaged_journal_gives_back_whole_tables_or_none(damage):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "report.csv"
        with Journal(output, fingerprint="one", resume=False) as journal:
            first = journal.path.stat().st_size
            for key, table in TABLES.items():
                journal.add(key, table)
        content = journal_path(output).read_bytes()
        journal_path(output).write_bytes(content[:first] + damaged(content[first:], damage))
        with Journal(output, fingerprint="one", resume=True) as journal:
            for key in (key for key in TABLES if key in journal):
                np.testing.assert_equal(journal.read(key), TABLES[key])
            journal.add("d.wav", {"path": "d.wav"})
        with Journal(output, fingerprint="one", resume=True) as journal:
            assert journal.read("d.wav") == {"path": "d.wav"}


@settings(deadline=None)
@given(json_values)
def test_a_whole_record_with_a_foreign_header_ends_what_is_trusted(header):
    text = json.dumps(header).encode()
    content = struct.pack("<I", len(text)) + text
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "report.csv"
        with Journal(output, fingerprint="one", resume=False) as journal:
            journal.add("a.wav", TABLES["a.wav"])
        with journal_path(output).open("ab") as file:
            file.write(struct.pack("<QI", len(content), zlib.crc32(content)) + content)
        with Journal(output, fingerprint="one", resume=True) as journal:
            assert "a.wav" in journal
            assert len(journal) == 1
