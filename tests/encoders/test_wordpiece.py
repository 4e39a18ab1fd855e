"""Word pieces against the tokenizers library."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from serctl.encoders.text import vocabulary
from serctl.encoders.wordpiece import token_ids

SENTENCES = (
    "I'm SO unhappy -- don't ask.",
    "na\u00efve caf\u00e9, \u00dcber \u0130stanbul",
    "\u2019quoted\u2019 \u201cwords\u201d\u2026 $5 & #tag @you",
    "tab\tand\nline\r\x00\u200b\ufffd end",
    "\u4f60\u597d world \u0645\u0631\u062d\u0628\u0627",
    "\U0001f602 laughing",
    "x" * 101 + " word",
    "",
)


@lru_cache
def reference() -> Tokenizer:
    found = Tokenizer(WordPiece(dict(vocabulary()), unk_token="[UNK]", max_input_chars_per_word=100))
    found.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    found.pre_tokenizer = BertPreTokenizer()
    return found


def check(text: str) -> None:
    numbers = vocabulary()
    assert token_ids(text, numbers, most=1_000)[1:-1] == reference().encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_pieces_of_a_sentence_are_those_of_the_tokenizers_library(sentence: str) -> None:
    check(sentence)


# The two know Unicode in different versions, so that new and private characters may differ.
@settings(max_examples=200)
@given(st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs", "Co", "Cn"]), max_size=40))
def test_so_are_those_of_any_text(text: str) -> None:
    check(text)


def test_a_long_text_is_cut_off_and_still_ends() -> None:
    numbers = vocabulary()
    ids = token_ids("word " * 50, numbers, most=10)
    assert len(ids) == 10
    assert (ids[0], ids[-1]) == (numbers["[CLS]"], numbers["[SEP]"])
