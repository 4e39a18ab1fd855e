"""Lists and names as other systems write them."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import pytest

from serctl import texts
from serctl.errors import EncodingError
from serctl.texts import find_file, read_text, split_list


def test_one_is_singular() -> None:
    assert texts.counted(1, "recording that failed") == "1 recording that failed"
    assert [texts.counted(number, "file") for number in (0, 2)] == ["0 files", "2 files"]


NAMES = ["a.wav", "b c.wav", "für.wav"]
NFC, NFD = (unicodedata.normalize(form, "é.wav") for form in ("NFC", "NFD"))


def names_of(data: bytes) -> list[str]:
    return split_list(read_text(io.BytesIO(data)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0", "\n\n"])
def test_a_list_is_read_in_any_encoding_and_with_any_separator(encoding: str, separator: str) -> None:
    assert names_of(separator.join([*NAMES, ""]).encode(encoding)) == NAMES


def test_names_between_nul_keep_their_line_breaks() -> None:
    assert names_of(b"a\n.wav\0b.wav\r\0") == ["a\n.wav", "b.wav\r"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("ab.wav\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("ab.wav\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        (b"\xff\xfea", "its byte order mark says utf-16-le, but it is not"),
    ],
)
def test_what_cannot_be_decoded_names_the_encoding(data: bytes, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        read_text(io.BytesIO(data))


def test_a_list_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LONGEST_TEXT", 1 << 20)
    with Path("/dev/zero").open("rb") as endless, pytest.raises(EncodingError, match="longer than 1"):
        read_text(endless)


@pytest.mark.parametrize(
    ("on_disk", "written"),
    [
        ("a/b.wav", "a/b.wav"),
        ("a/b.wav", "a\\b.wav"),
        ("a\\b.wav", "a\\b.wav"),
        (NFC, NFD),
        (NFD, NFC),
        (f"a/{NFC}", f"a\\{NFD}"),
        ("Jörg.wav", os.fsdecode(b"J\xf6rg.wav")),
        (os.fsdecode(b"J\xf6rg.wav"), os.fsdecode(b"J\xf6rg.wav")),
        (unicodedata.normalize("NFD", "Jörg.wav"), os.fsdecode(b"J\xf6rg.wav")),
    ],
)
def test_a_name_is_found_however_it_is_written(tmp_path: Path, on_disk: str, written: str) -> None:
    (tmp_path / on_disk).parent.mkdir(exist_ok=True)
    (tmp_path / on_disk).touch()
    assert find_file(tmp_path, written) == tmp_path / on_disk


@pytest.mark.parametrize("written", ["none.wav", "a\0.wav", "x" * 300, os.fsdecode(b"\xf6.wav")])
def test_a_name_of_nothing_stays_as_written(tmp_path: Path, written: str) -> None:
    assert find_file(tmp_path, written) == tmp_path / written
