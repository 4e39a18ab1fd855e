"""Token states and emotion logits of English text: lower layers of MiniLM-L6 and a head, both trained on GoEmotions.

The layers are run by LiteRT with weights in 8 bits; the word embeddings are kept in 4 bits and read from the
file where they are needed. The network itself is in text_network.py, which only conversion and tests import.

Source: Devlin et al. 2019, arXiv:1810.04805 (BERT); Wang et al. 2020, arXiv:2002.10957 (MiniLM); Demszky et al. 2020,
arXiv:2005.00547 (GoEmotions); the weights (Apache-2.0): see serctl/pretrained/text-encoder.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serctl.encoders.wordpiece import token_ids
from serctl.npz import read_npz
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Mapping

FloatArray = NDArray[np.float32]

FOLDER = Path(__file__).parents[1] / "pretrained" / "text-encoder"

CITATION = "Text encoder: all-MiniLM-L6-v2 (Apache-2.0), Wang et al. 2020, arXiv:2002.10957"

UNITS, HEADS, LAYERS = 384, 12, 4
"""Width and attention heads of a layer; layers that are computed, of six."""

MOST_TOKENS = 128
"""Most tokens of a text, its start and end among them; what is longer is cut off."""

PARAMETERS = 18_868_224
"""Weights of the layers that are computed and of the embeddings, without the head."""

_MOST_HEAD_BYTES = 1 << 21

GROUP = 64
"""So many units of an embedding share a scale."""

LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
"""The emotions of the logits, in the order of GoEmotions."""


class Encoded(NamedTuple):
    """What the encoder makes of a text.

    states: behind the last layer computed, float32, shape (tokens, UNITS). logits: float32, shape (len(LABELS),),
    before calibration.
    """

    states: FloatArray
    logits: FloatArray


def encode_text(text: str) -> Encoded:
    """Compute the states of the tokens of a text, and its emotion logits.

    Args:
        text: English; at most MOST_TOKENS tokens of it are read.
    """
    ids = token_ids(text, vocabulary(), most=MOST_TOKENS)
    states = _encoder().run(embeddings().of(ids))
    return Encoded(states, _head().logits(states))


@lru_cache(maxsize=1)
def vocabulary() -> Mapping[str, int]:
    """Return the word pieces, each with its number."""
    lines = (FOLDER / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    return {piece: number for number, piece in enumerate(lines) if piece}


class Embeddings:
    """The table of word embeddings, in 4 bits with a scale for each group of units, and of positions; not loaded."""

    def __init__(self) -> None:
        self._codes = np.load(FOLDER / "codes.npy", mmap_mode="r", allow_pickle=False)
        self._scales = np.load(FOLDER / "scales.npy", mmap_mode="r", allow_pickle=False)
        self._positions = np.load(FOLDER / "positions.npy", allow_pickle=False)

    def of(self, ids: list[int]) -> FloatArray:
        """Return the embedding of each token at its place.

        Args:
            ids: numbers of word pieces, at most MOST_TOKENS.

        Returns:
            float32, shape (tokens, UNITS).
        """
        words = unpack(self._codes[ids], self._scales[ids])
        return words + self._positions[: len(ids)].astype(np.float32)


def pack(table: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Round embeddings to 4 bits: -7 to 7 times a scale for each GROUP of units.

    Args:
        table: float32, shape (pieces, UNITS).

    Returns:
        Codes, two in a byte, uint8, shape (pieces, UNITS // 2); scales, float16, shape (pieces, UNITS // GROUP).
    """
    groups = table.reshape(len(table), -1, GROUP)
    scales = (abs(groups).max(axis=-1) / 7).astype(np.float16)
    divisor = np.maximum(scales.astype(np.float32), np.finfo(np.float16).tiny)[..., None]
    codes = (np.clip(np.rint(groups / divisor), -7, 7) + 8).astype(np.uint8).reshape(table.shape)
    return codes[:, ::2] << 4 | codes[:, 1::2], scales


def unpack(codes: NDArray[np.uint8], scales: NDArray[np.float16]) -> FloatArray:
    """Return the embeddings that pack rounded; float32, shape (pieces, UNITS)."""
    both = np.stack([codes >> 4, codes & 15], axis=-1).astype(np.float32) - 8
    groups = both.reshape(len(codes), -1, GROUP) * scales.astype(np.float32)[..., None]
    return groups.reshape(len(codes), -1)


@lru_cache(maxsize=1)
def embeddings() -> Embeddings:
    """Return the table of embeddings."""
    return Embeddings()


class _Encoder:
    """The network in LiteRT on one thread, for texts of any length up to MOST_TOKENS."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet_stderr():
            self._interpreter = Interpreter(model_path=str(FOLDER / "network.tflite"), num_threads=1)
            runner = self._interpreter.get_signature_runner()
        # Signatures keep the names that conversion gave; the tensors' own names change with the converter.
        self._input = runner.get_input_details()["embedded"]["index"]
        self._output = runner.get_output_details()["states"]["index"]
        self._tokens = 0

    def run(self, embedded: FloatArray) -> FloatArray:
        """Compute the states of tokens from their embeddings, both float32, shape (tokens, UNITS)."""
        if len(embedded) != self._tokens:
            self._resize(len(embedded))
        self._interpreter.set_tensor(self._input, embedded[None])
        self._interpreter.invoke()
        states: FloatArray = self._interpreter.get_tensor(self._output)[0]
        return states

    def _resize(self, tokens: int) -> None:
        self._interpreter.resize_tensor_input(self._input, (1, tokens, UNITS))
        with quiet_stderr():
            self._interpreter.allocate_tensors()
        self._tokens = tokens


def pooled(states: FloatArray) -> FloatArray:
    """Return mean, first and largest value of the states of a text; float32, shape (3 * UNITS,)."""
    return np.concatenate([states.mean(axis=0), states[0], states.max(axis=0)])


class _Head:
    """One hidden layer on the pooled states."""

    def __init__(self) -> None:
        arrays = read_npz(FOLDER / "head.npz", most_bytes=_MOST_HEAD_BYTES)
        self._weights = {name: array.astype(np.float32) for name, array in arrays.items()}

    def logits(self, states: FloatArray) -> FloatArray:
        """Compute the logits of a text, float32, shape (len(LABELS),)."""
        w = self._weights
        hidden = np.maximum(pooled(states) @ w["hidden"] + w["hidden_bias"], 0)
        logits: FloatArray = hidden @ w["output"] + w["output_bias"]
        return logits


@lru_cache(maxsize=1)
def _head() -> _Head:
    return _Head()


@lru_cache(maxsize=1)
def _encoder() -> _Encoder:
    return _Encoder()
