"""Texts of other programs, such as lists and manifests: their encoding, and the files that they name; and counts."""

from __future__ import annotations

import codecs
import unicodedata
from typing import TYPE_CHECKING

from serctl.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

LONGEST_TEXT = 1 << 28
"""Bytes of a list or manifest: millions of lines, and less than a device or an endless pipe would give."""

# The longer marks first: that of UTF-16 is the beginning of that of UTF-32.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in 1 file and 2 files; the first word of the noun gets the plural's s."""
    first, space, rest = noun.partition(" ")
    return f"{number} {first}{'' if number == 1 else 's'}{space}{rest}"


def read_text(stream: BinaryIO) -> str:
    """Read a text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        stream: read to its end.

    Returns:
        The text. Bytes that are not UTF-8 are kept as surrogates (PEP 383), as in file names.

    Raises:
        EncodingError: it is too long, or in another encoding.
    """
    data = stream.read(LONGEST_TEXT + 1)
    if len(data) > LONGEST_TEXT:
        raise EncodingError(f"it is longer than {LONGEST_TEXT >> 20} MiB")
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    if _looks_like_utf16(data):
        raise EncodingError("it seems to be UTF-16 without a byte order mark: expected UTF-8")
    return _decoded(data, "utf-8")


def split_list(text: str) -> list[str]:
    """Split a list of names, one a line or separated by NUL (`find -print0`); empty ones are left out."""
    names = text.split("\0") if "\0" in text else [line.rstrip("\r") for line in text.split("\n")]
    return [name for name in names if name.strip()]


def find_file(folder: Path, written: str) -> Path:
    """Find the file or folder that a text names: as written, or as another system or program writes it.

    That is with Windows separators, with its accents composed in another way, or in Latin-1 (Windows-1252).

    Args:
        folder: what a relative name is relative to.
        written: the name.

    Returns:
        Its path; as written where there is no such file.
    """
    return next((folder / name for name in _forms(written) if _exists(folder / name)), folder / written)


def not_utf8(text: str) -> str | None:
    """The first byte of a text that is not UTF-8, as 0xf6; None if there is none."""
    return next((f"0x{ord(mark) - 0xDC00:02x}" for mark in text if "\udc80" <= mark <= "\udcff"), None)


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        raise EncodingError(f"its byte order mark says {encoding}, but it is not: {error.reason}") from error


def _looks_like_utf16(data: bytes) -> bool:
    """Whether NUL bytes come between the letters, and not only between names."""
    return b"\0" in data and all(len(name) < 2 for name in data[:200].strip(b"\0").split(b"\0"))


def _forms(written: str) -> Iterator[str]:
    """The ways to write a name, the likelier ones first."""
    yield written
    texts = [written]
    if not_utf8(written):
        texts.append(written.encode("utf-8", "surrogateescape").decode("cp1252", "replace"))
    composed = [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in texts]
    forms = [*texts, *composed]
    yield from dict.fromkeys([*forms, *(form.replace("\\", "/") for form in forms)])


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):  # a closed folder, a name that is too long or holds NUL
        return False
