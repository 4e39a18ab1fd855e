"""Recordings behind URLs are found and read as those in folders are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serctl.audio.find import search
from serctl.errors import AudioError
from serctl.reports.tables import read_report
from serctl.urls import UrlPath, as_path

if TYPE_CHECKING:
    from collections.abc import Iterator

fsspec = pytest.importorskip("fsspec")

CONTENTS = {
    "calls/take10.flac": "emma-sad.flac",
    "calls/take2.flac": "tom-sad.flac",
    "calls/b/x.wav": "emma-angry.wav",
    "calls/.hidden/y.wav": "emma-angry.wav",
    "calls/notes.txt": "README.md",
}


@pytest.fixture
def store(samples: Path, tmp_path: Path) -> Iterator[Any]:
    """The same recordings in a store in memory and in a folder."""
    store = fsspec.filesystem("memory")
    for name, sample in CONTENTS.items():
        content = (samples / sample).read_bytes()
        store.pipe_file(f"/{name}", content)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    yield store
    store.rm("/calls", recursive=True)


@pytest.mark.parametrize("text", ["s3://bucket/calls/a b.wav", "memory://a.wav", "gs://bucket/x/y.FLAC"])
def test_a_url_is_a_path_that_keeps_its_text(text: str) -> None:
    path = as_path(Path(text))
    assert isinstance(path, UrlPath)
    assert str(path) == text
    assert str(pickle.loads(pickle.dumps(path))) == text
    assert str(path.parent / "other.wav") == f"{text.rpartition('/')[0]}/other.wav".replace("memory:/o", "memory://o")
    assert (path.name, path.suffix) == (text.rpartition("/")[2], f".{text.rpartition('.')[2]}")


@pytest.mark.parametrize("text", ["a:b/c.wav", "c:/x.wav", "calls/s3:/x.wav", "/s3://x", "http-notes/x"])
def test_other_paths_are_left_alone(text: str) -> None:
    assert not isinstance(as_path(text), UrlPath)


def test_a_folder_with_the_name_of_a_scheme_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    assert not isinstance(as_path("s3://x.wav"), UrlPath)
    assert as_path("file:///data/x.wav") == Path("/data/x.wav")


def test_a_store_is_searched_as_a_folder_is(store: Any, tmp_path: Path) -> None:
    there, here = search([Path("memory://calls")]), search([tmp_path / "calls"])
    assert [each.name for each in there.recordings] == [each.name for each in here.recordings]
    assert there.others == here.others
    assert [str(each.path) for each in search([Path("memory://calls/b/x.wav")]).recordings] == [
        "memory://calls/b/x.wav"
    ]


def test_the_rows_are_those_of_the_same_files_in_a_folder(serctl: Any, store: Any, tmp_path: Path) -> None:
    common = ("extract", "-q", "-j", 1, "--no-cache", "-o")
    assert serctl(*common, tmp_path / "there.csv", "memory://calls", "memory://calls/gone.wav").code == 3
    assert serctl(*common, tmp_path / "here.csv", tmp_path / "calls", tmp_path / "calls" / "gone.wav").code == 3
    here = (tmp_path / "here.csv").read_text().replace(str(tmp_path / "calls"), "memory://calls")
    assert (tmp_path / "there.csv").read_text() == here


def test_an_object_that_was_replaced_is_read_again(serctl: Any, store: Any, samples: Path, tmp_path: Path) -> None:
    run = ("extract", "memory://calls", "-j", 1, "-o", tmp_path / "o.csv")
    assert serctl(*run).code == 0
    before = read_report(tmp_path / "o.csv")
    store.pipe_file("/calls/take2.flac", (samples / "jana-sad.flac").read_bytes())
    assert "2 of them were finished in an earlier run" in serctl(*run, "--update").stderr
    after = read_report(tmp_path / "o.csv")
    assert [row["path"] for row, old in zip(after, before, strict=True) if row != old] == ["memory://calls/take2.flac"]


def test_a_store_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(AudioError, match=r"'nosuch://x/y' cannot be read: Protocol not known: nosuch"):
        search([Path("nosuch://x/y")])


def test_a_store_without_recordings_is_named(store: Any) -> None:
    store.pipe_file("/calls/only/notes.txt", b"")
    with pytest.raises(AudioError, match="no recording in 'memory://calls/only'"):
        search([Path("memory://calls/only")])


def test_the_cache_lies_in_a_store(serctl: Any, store: Any, tmp_path: Path) -> None:
    run = ("extract", "memory://calls", "-j", 1, "-q", "--cache-dir", "memory://calls/cache", "-o", tmp_path / "o.csv")
    assert serctl(*run).code == 0
    first = (tmp_path / "o.csv").read_bytes()
    entries = sorted(store.find("/calls/cache"))
    assert len(entries) == 3
    store.pipe_file(entries[0], b"damaged")
    assert serctl(*run, "--overwrite").code == 0
    assert (tmp_path / "o.csv").read_bytes() == first
    assert "entries  3\n" in serctl("cache", "info", "--cache-dir", "memory://calls/cache").stdout
    store.pipe_file(entries[0], b"damaged")
    assert serctl("cache", "verify", "--cache-dir", "memory://calls/cache").code == 3
    assert sorted(store.find("/calls/cache")) == entries[1:]
    assert serctl("cache", "clear", "--yes", "--cache-dir", "memory://calls/cache").code == 0
    assert store.find("/calls/cache") == []
