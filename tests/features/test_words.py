"""States of tokens as features: cached, cut, and made into inputs of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.cache import Cache
from serctl.encoders import text
from serctl.features import FeatureConfig, Features, token_inputs, token_states
from serctl.features.words import MOST_TOKENS, UNITS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SENTENCE = "I am so sad today."


def window(tokens: np.ndarray | None) -> Features:
    empty = np.empty((0, 0), np.float32)
    return Features(np.zeros((3, 4), np.float16), empty, np.zeros(2, np.float32), 0, tokens)


def test_states_are_those_of_the_encoder_and_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    found = token_states(SENTENCE, cache)
    np.testing.assert_array_equal(found, text.encode_text(SENTENCE).states.astype(np.float16))

    monkeypatch.setattr(text, "encode_text", None)  # a second look-up does not encode

    np.testing.assert_array_equal(token_states(SENTENCE, cache), found)


def test_a_long_text_is_cut() -> None:
    assert token_states("word " * 1000, None).shape == (MOST_TOKENS, UNITS)


def test_inputs_are_padded_and_masked() -> None:
    states = np.ones((5, UNITS), np.float16)
    found = token_inputs([window(states), window(None)])
    assert {name: each.shape for name, each in found.items()} == {
        "tokens": (2, MOST_TOKENS, UNITS),
        "token_mask": (2, MOST_TOKENS),
    }
    assert found["token_mask"].sum(axis=1).tolist() == [5, 0]
    assert (found["tokens"].sum(axis=2) == UNITS * found["token_mask"]).all()


def test_speech_is_cached_once_with_and_without_words() -> None:
    assert FeatureConfig(text_encoder=True).digest() == FeatureConfig().digest()
    assert FeatureConfig.from_dict(FeatureConfig(text_encoder=True).to_dict()).text_encoder
