"""The text encoder: its network against a reference in numpy, its embeddings in 4 bits, what ships, its languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.special

from serctl.encoders import text
from serctl.encoders.english import is_english

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNITS = text.UNITS


def weights() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    name = "encoder.layer.0"
    found = {}
    for part, outputs, inputs in (
        *((f"attention.self.{part}", UNITS, UNITS) for part in ("query", "key", "value")),
        ("attention.output.dense", UNITS, UNITS),
        ("intermediate.dense", 4 * UNITS, UNITS),
        ("output.dense", UNITS, 4 * UNITS),
    ):
        found[f"{name}.{part}.weight"] = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        found[f"{name}.{part}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    for part in (f"{name}.attention.output", f"{name}.output", "embeddings"):
        found[f"{part}.LayerNorm.weight"] = rng.uniform(0.5, 1.5, UNITS).astype(np.float32)
        found[f"{part}.LayerNorm.bias"] = rng.normal(0, 0.1, UNITS).astype(np.float32)
    return found


def reference(x: NDArray[np.float32], given: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """One layer of BERT in float64, head by head, written from the paper and not from our network."""
    w = {name: values.astype(np.float64) for name, values in given.items()}
    x = normalise(x.astype(np.float64), w, "embeddings")
    name = "encoder.layer.0"
    query, key, value = (linear(x, w, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
    size = UNITS // text.HEADS
    heads = []
    for first in range(0, UNITS, size):
        q, k, v = (each[:, first : first + size] for each in (query, key, value))
        heads.append(scipy.special.softmax(q @ k.T / size**0.5, axis=1) @ v)
    x = normalise(x + linear(np.hstack(heads), w, f"{name}.attention.output.dense"), w, f"{name}.attention.output")
    hidden = linear(x, w, f"{name}.intermediate.dense")
    hidden = hidden * scipy.special.ndtr(hidden)
    return normalise(x + linear(hidden, w, f"{name}.output.dense"), w, f"{name}.output")


def linear(x: NDArray[np.float64], w: dict[str, NDArray[np.float64]], name: str) -> NDArray[np.float64]:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normalise(x: NDArray[np.float64], w: dict[str, NDArray[np.float64]], name: str) -> NDArray[np.float64]:
    standard = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    return standard * w[f"{name}.LayerNorm.weight"] + w[f"{name}.LayerNorm.bias"]


def test_the_network_is_a_layer_of_bert_and_padding_changes_nothing(tensorflow: None) -> None:
    from serctl.encoders.text_network import build_encoder

    given = weights()
    tokens = np.random.default_rng(0).normal(size=(1, 5, UNITS)).astype(np.float32)
    padded = np.concatenate([tokens, np.full((1, 3, UNITS), 9, np.float32)], axis=1)
    model = build_encoder(given, layers=1)

    found = np.asarray(model([tokens, np.ones((1, 5), np.float32)]))[0]
    with_padding = np.asarray(model([padded, np.array([[1] * 5 + [0] * 3], np.float32)]))[0, :5]

    np.testing.assert_allclose(found, reference(tokens[0], given), atol=1e-4)
    np.testing.assert_allclose(with_padding, found, atol=1e-5)


def test_embeddings_keep_within_half_a_step_of_4_bits() -> None:
    table = np.random.default_rng(1).normal(size=(20, UNITS)).astype(np.float32)
    table[0] = 0
    step = abs(table.reshape(20, -1, text.GROUP)).max(axis=-1).repeat(text.GROUP, axis=1) / 7

    difference = abs(text.unpack(*text.pack(table)) - table)

    assert (difference <= step * 0.51).all()


def test_a_text_has_a_state_for_each_token() -> None:
    found = text.encode_text("What a lovely day!")

    assert found.states.shape == (7, UNITS)
    assert found.logits.shape == (len(text.LABELS),)


def test_a_long_text_is_read_up_to_the_limit() -> None:
    assert len(text.encode_text("word " * 100_000).states) == text.MOST_TOKENS


@pytest.mark.parametrize(
    ("sentence", "emotion"),
    [
        ("I am so happy for you, this is wonderful!", "happy"),
        ("How dare you, I am furious about this.", "angry"),
        ("I miss her so much, I have been crying all day.", "sad"),
        ("The meeting is on Tuesday at nine.", "neutral"),
        ("I am terrified of what may happen.", "fearful"),
        ("That is disgusting, it makes me sick.", "disgust"),
        ("Wow, I did not expect that at all!", "surprised"),
    ],
)
def test_what_ships_tells_plain_emotions(sentence: str, emotion: str) -> None:
    assert text.LABELS[text.encode_text(sentence).logits.argmax()] == emotion


@pytest.mark.parametrize(
    ("sentence", "said", "english"),
    [
        ("I want to talk to your manager about the bill.", None, True),
        ("THE CUSTOMER IS ANGRY", "en-US", True),
        ("Awful!", "en", True),
        ("I want to talk to your manager.", "de", False),
        ("Dziunia, nie jeste\u015b moim szefem.", None, False),
        ("Dziunia, nie jeste\u015b moim szefem.", "en", False),
        ("Der Lappen liegt auf dem Eisschrank.", None, False),
        ("Ich weiss nicht warum er so fr\u00fch gegangen ist.", None, False),
        ("Je ne sais pas pourquoi il est parti si vite.", None, False),
        ("Non so perch\u00e9 se ne sia andato cos\u00ec presto.", None, False),
        ("\u0645\u0631\u062d\u0628\u0627 \u0628\u0643 \u0641\u064a \u0628\u064a\u062a\u0646\u0627", None, False),
        ("\u4f60\u597d\u5417", None, False),
        ("... !? --", None, False),
        ("", None, False),
    ],
)
def test_english_is_told_from_other_languages(sentence: str, said: str | None, english: bool) -> None:
    assert is_english(sentence, said) == english
