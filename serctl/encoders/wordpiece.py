"""Cut text into the word pieces of BERT, uncased.

Source: Devlin et al. 2019, arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
"""Pieces that stand for what the vocabulary cannot spell, the start of a text and its end."""

LONGEST_WORD = 100
"""A word of more characters is unknown."""

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Code points of Chinese characters, each a word of its own."""


def words_of(text: str) -> list[str]:
    """Split a text at white space and punctuation, in lower case and without accents.

    Args:
        text: any text; control characters are left out.

    Returns:
        The words; every punctuation mark is a word of its own.
    """
    spaced = "".join(_cleaned(text))
    lowered = unicodedata.normalize("NFD", spaced.lower())
    plain = (mark for mark in lowered if unicodedata.category(mark) != "Mn")
    return "".join(f" {mark} " if _is_punctuation(mark) else mark for mark in plain).split()


def pieces_of(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    """Cut a word into the longest pieces that the vocabulary holds, from its start on.

    Args:
        word: of words_of.
        vocabulary: the pieces; one that continues a word starts with ##.

    Returns:
        The pieces; UNKNOWN alone where they cannot spell the word.
    """
    pieces: list[str] = []
    start = 0
    while start < len(word):
        piece = _longest(word, start, vocabulary) if len(word) <= LONGEST_WORD else None
        if piece is None:
            return [UNKNOWN]
        pieces.append(piece)
        start += len(piece) - (2 if start else 0)
    return pieces


def token_ids(text: str, vocabulary: Mapping[str, int], *, most: int) -> list[int]:
    """Return the tokens of a text between START and END.

    Args:
        text: any text.
        vocabulary: the pieces, and the number of each.
        most: tokens at most, at least 2; what is longer is cut off.
    """
    found = [vocabulary[START]]
    for word in words_of(text):
        if len(found) >= most - 1:
            break
        found += [vocabulary[piece] for piece in pieces_of(word, vocabulary)]
    return [*found[: most - 1], vocabulary[END]]


def _longest(word: str, start: int, vocabulary: Mapping[str, int]) -> str | None:
    prefix = "##" if start else ""
    ends = range(len(word), start, -1)
    return next((piece for end in ends if (piece := prefix + word[start:end]) in vocabulary), None)


def _cleaned(text: str) -> Iterator[str]:
    """The text without control characters, with a space for each kind of white space and around ideographs."""
    for mark in text:
        if mark in "\t\n\r" or unicodedata.category(mark) == "Zs":
            yield " "
        elif any(low <= ord(mark) <= high for low, high in _IDEOGRAPHS):
            yield f" {mark} "
        elif mark not in "\0\ufffd" and unicodedata.category(mark) not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            yield mark


def _is_punctuation(mark: str) -> bool:
    ascii_symbol = mark.isascii() and not mark.isalnum() and mark.isprintable() and mark != " "
    return ascii_symbol or unicodedata.category(mark).startswith("P")
