"""Speech and its words, each attending to the other: a 3D convolution of the spectrogram, states of a text encoder.

Speech alone answers as cnn3d does, and is trained on the labels by itself; what both say together is added to its
logits where there are words. So words that say nothing cost nothing, and recordings without them are answered as well
as by a network of speech. Training leaves either stream out of a share of the examples.

Source: Lu et al. 2016, arXiv:1606.00061 (co-attention).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.models.architecture import SPECTROGRAM, TOKENS, Architecture
from serctl.models.blocks import attention_pooling, spectrogram_inputs
from serctl.models.cnn3d import IN_FLOAT, UNITS, embed, segment_mask, speech_stream
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from serctl.models.architecture import ModelSpec

_DROPOUT = 0.3
_ABSENT = 1e4
_SMALLEST_WEIGHT = 1e-6


def build(spec: ModelSpec) -> keras.Model:
    """Build the network.

    Returns:
        Inputs log_mel (frames, n_mels), mask (frames,), tokens (MOST_TOKENS, units) and token_mask (MOST_TOKENS,), a
        mask of zeros where speech or words are missing. Outputs: the probabilities; then those of speech alone, which
        only training uses.
    """
    from serctl.features.words import MOST_TOKENS
    from serctl.features.words import UNITS as TOKEN_UNITS

    log_mel, mask = spectrogram_inputs(spec)
    tokens = keras.Input((MOST_TOKENS, TOKEN_UNITS), name="tokens")
    token_mask = keras.Input((MOST_TOKENS,), name="token_mask")
    speech = speech_stream(log_mel, mask)
    words = layers.Dense(UNITS, activation="relu")(layers.Dropout(_DROPOUT)(tokens))
    outputs = answer(speech, segment_mask(mask), words, token_mask, n_outputs=spec.n_classes)
    return keras.Model([log_mel, mask, tokens, token_mask], outputs)


def answer(speech: Any, speech_mask: Any, words: Any, word_mask: Any, *, n_outputs: int) -> list[Any]:
    """Answer from speech alone, and add what speech and words say together.

    Args:
        speech: (batch, segments, UNITS).
        speech_mask: (batch, segments); see coattend.
        words: (batch, tokens, UNITS).
        word_mask: (batch, tokens); see coattend.
        n_outputs: how many probabilities.

    Returns:
        The probabilities, and those of speech alone; each (batch, n_outputs). What is missing adds nothing.
    """
    alone = layers.Dense(n_outputs)(embed(speech, speech_mask)) * _presence(speech_mask)
    fused = layers.Dropout(_DROPOUT)(coattend(speech, speech_mask, words, word_mask))
    together = layers.Dense(n_outputs)(fused) * _presence(word_mask)
    return [layers.Softmax(name="probabilities")(alone + together), layers.Softmax(name="speech_alone")(alone)]


def coattend(speech: Any, speech_mask: Any, words: Any, word_mask: Any) -> Any:
    """Let each stream attend to the other, pool both, and mix them by a gate that knows which of them are there.

    Args:
        speech: (batch, segments, UNITS).
        speech_mask: (batch, segments), 1 for speech and 0 for padding; all zeros where speech is missing.
        words: (batch, tokens, UNITS).
        word_mask: (batch, tokens), likewise.

    Returns:
        (batch, UNITS).
    """
    views = [
        _view(one, one_mask, other, other_mask)
        for one, one_mask, other, other_mask in (
            (speech, speech_mask, words, word_mask),
            (words, word_mask, speech, speech_mask),
        )
    ]
    present = ops.concatenate([_presence(speech_mask), _presence(word_mask)], axis=-1)
    wanted = layers.Dense(2, name="gate")(layers.Concatenate()([*views, present]))
    # Not by _ABSENT, as in attend: the converter would add it to the bias, and int8 would round the gate to nothing.
    weights = ops.softmax(wanted, axis=-1) * present
    gate = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), _SMALLEST_WEIGHT)
    return gate[:, :1] * views[0] + gate[:, 1:] * views[1]


def _view(own: Any, own_mask: Any, other: Any, other_mask: Any) -> Any:
    """Compute the embedding of a stream that has looked at the other, (batch, UNITS)."""
    seen = attend(own, other, other_mask) * ops.expand_dims(_presence(other_mask), axis=-1)
    pooled = attention_pooling(layers.LayerNormalization()(own + seen), own_mask)
    return layers.Dense(UNITS, activation="relu")(layers.Dropout(_DROPOUT)(pooled))


def attend(queries: Any, values: Any, mask: Any) -> Any:
    """Compute scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762); (batch, queries, UNITS)."""
    query, key = layers.Dense(UNITS, use_bias=False)(queries), layers.Dense(UNITS, use_bias=False)(values)
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) * UNITS**-0.5
    weights = ops.softmax(scores + ops.expand_dims((mask - 1) * _ABSENT, axis=1), axis=-1)
    return ops.matmul(weights, layers.Dense(UNITS)(values))


def _presence(mask: Any) -> Any:
    """Whether there is anything, 1 or 0; (batch, 1)."""
    return ops.max(mask, axis=1, keepdims=True)


ARCHITECTURE = Architecture(
    name="coattention",
    build=build,
    inputs=SPECTROGRAM | TOKENS,
    text_encoder=True,
    fit={"modality_dropout": 0.3},
    left_in_float=IN_FLOAT,
)
