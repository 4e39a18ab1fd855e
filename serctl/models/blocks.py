"""Building blocks shared by architectures; keras and keras.ops only, so that they run on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError
from serctl.models.lazy import keras, layers, ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.models.architecture import ModelSpec

FUNCTIONAL_PENALTY = 0.01
"""Hundreds of correlated functionals and few speakers: without it the network overfits."""

INPUT_DROPOUT, DROPOUT = 0.1, 0.5
"""Dropout rates of the experts of mixed_experts: on their input, and on their hidden layer."""


def spectrogram_inputs(spec: ModelSpec) -> tuple[Any, Any]:
    """Create the inputs log_mel (frames, n_mels) and mask (frames,), 1 for speech and 0 for padding; of any length."""
    return keras.Input((None, spec.n_mels), name="log_mel"), keras.Input((None,), name="mask")


def functionals_input(spec: ModelSpec) -> Any:
    """Create the input functionals (n_functionals,)."""
    return keras.Input((len(spec.functionals),), name="functionals")


def hand_made_and_deep(functionals: Any, spec: ModelSpec) -> tuple[Any, Any]:
    """Split the functionals into hand-made ones and the deep features of the voice encoder; each (batch, features).

    Raises:
        ConfigError: either is missing.
    """
    from serctl.encoders.voice import PREFIX

    n_hand_made = sum(not name.startswith(PREFIX) for name in spec.functionals)
    if n_hand_made in (0, len(spec.functionals)):
        raise ConfigError("expected hand-made functionals and the deep features of the voice encoder")
    return functionals[:, :n_hand_made], functionals[:, n_hand_made:]


def speech_statistics(functionals: Any, spec: ModelSpec) -> Any:
    """Return the features of the speech encoder among the functionals, (batch, features).

    Raises:
        ConfigError: there are none.
    """
    from serctl.encoders.speech import PREFIX

    found = [column for column, name in enumerate(spec.functionals) if name.startswith(PREFIX)]
    if not found:
        raise ConfigError("expected the features of the speech encoder among the functionals")
    return functionals[:, found[0] :]


def functional_view(functionals: Any, units: int = 128, *, penalty: float = FUNCTIONAL_PENALTY) -> Any:
    """Compute an embedding of the functionals, (batch, units)."""
    dense = layers.Dense(units, activation="relu", kernel_regularizer=keras.regularizers.L2(penalty))
    return layers.Dropout(0.5)(dense(functionals))


def mixed_experts(
    features: Any, spec: ModelSpec, *, hidden: int = 2, units: int = 128, further: Sequence[Any] = ()
) -> list[Any]:
    """Classify features by one linear expert and some with a hidden layer, each trained on the labels by itself.

    A linear classifier transfers best to corpora and languages that training never saw; networks with a hidden layer
    are better within known ones.

    Args:
        features: (batch, features).
        spec: of the network.
        hidden: how many experts have a hidden layer.
        units: of each hidden layer.
        further: logits of experts on other features, each (batch, n_classes).

    Returns:
        The outputs of a network: the probabilities, which nothing trains, then those of each expert, which only
        training uses. The prediction is the product of the experts' answers: the softmax of their mean logits.

    Source: Hinton 2002, doi:10.1162/089976602760128018 (product of experts).
    """
    linear = layers.Dense(spec.n_classes, kernel_initializer="zeros")(layers.Dropout(INPUT_DROPOUT)(features))
    logits = [linear, *(_hidden_expert(features, spec, units) for _ in range(hidden)), *further]
    mean = ops.stop_gradient(ops.mean(ops.stack(logits), axis=0))
    experts = [layers.Softmax(name=f"expert_{number}")(each) for number, each in enumerate(logits, start=1)]
    return [layers.Softmax(name="probabilities")(mean), *experts]


def _hidden_expert(features: Any, spec: ModelSpec, units: int) -> Any:
    hidden = layers.Dense(units, activation="relu")(layers.Dropout(INPUT_DROPOUT)(features))
    return layers.Dense(spec.n_classes)(layers.Dropout(DROPOUT)(hidden))


def head(x: Any, spec: ModelSpec) -> Any:
    """Compute the probabilities of the classes from an embedding (batch, channels)."""
    return layers.Dense(spec.n_classes, activation="softmax", name="probabilities")(x)


def batch_normalisation(**options: Any) -> layers.BatchNormalization:
    """Apply batch normalisation with moving averages for some hundred steps; the defaults of keras need thousands."""
    return layers.BatchNormalization(momentum=0.9, **options)


def conv_block(x: Any, filters: int, *, kernel: tuple[int, int] = (3, 3), strides: tuple[int, int] = (1, 1)) -> Any:
    """Apply convolution, batch normalisation and ReLU; x: (batch, time, band, channels)."""
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    x = batch_normalisation()(x)
    return layers.ReLU()(x)


def attention_weights(units: int, **options: Any) -> Any:
    """Compute a weight for each frame; see custom_layers.AttentionWeights."""
    from serctl.models.custom_layers import AttentionWeights

    return AttentionWeights(units, **options)


def weighted_statistics(frames: Any, weights: Any) -> Any:
    """Pool by weighted mean and deviation over time: (batch, time, channels), (batch, time) to (batch, 2 * channels).

    Source: Okabe et al. 2018, doi:10.21437/Interspeech.2018-993.
    """
    weights = ops.expand_dims(weights, axis=-1)
    mean = ops.sum(weights * frames, axis=1)
    variance = ops.sum(weights * ops.square(frames - ops.expand_dims(mean, axis=1)), axis=1)
    return ops.concatenate([mean, ops.sqrt(ops.maximum(variance, 1e-5))], axis=-1)


def attention_pooling(frames: Any, mask: Any, *, units: int = 64) -> Any:
    """Pool frames by learned attention weights; (batch, 2 * channels)."""
    return weighted_statistics(frames, attention_weights(units)([frames, mask]))


def reverse_gradient(x: Any, strength: float) -> Any:
    """Return the values unchanged; the gradient is multiplied by -strength (gradient reversal).

    Source: Ganin et al. 2016, arXiv:1505.07818.
    """
    return ops.stop_gradient(x * (1 + strength)) - x * strength


def as_image(log_mel: Any, mask: Any) -> Any:
    """Stack the spectrogram and its difference from its mean over time: (batch, time, band) to (batch, time, band, 2).

    That mean reflects mostly voice and microphone, which differ more between speakers than between emotions.
    Source: Atal 1974, doi:10.1121/1.1914702 (cepstral mean subtraction).
    """
    spoken = ops.expand_dims(mask, axis=-1)
    frames = ops.maximum(ops.sum(spoken, axis=1, keepdims=True), 1)
    mean = ops.sum(log_mel * spoken, axis=1, keepdims=True) / frames
    return ops.stack([log_mel, (log_mel - mean) * spoken], axis=-1)


def as_frames(x: Any) -> Any:
    """Merge bands and channels: (batch, time, band, channels) to (batch, time, band * channels)."""
    return layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)


def downsample_mask(mask: Any, factor: int) -> Any:
    """Reduce the mask as strided convolutions reduce the frames; (batch, time) to (batch, time / factor)."""
    return mask[:, ::factor]
