from __future__ import annotations

import numpy as np
import pytest
import scipy.special

pytestmark = pytest.mark.usefixtures("tensorflow")


def test_attention_pooling_is_a_weighted_mean_and_sd_over_the_speech() -> None:
    from serctl.models.blocks import AttentionPooling

    rng = np.random.default_rng(0)
    frames = rng.standard_normal((2, 7, 3)).astype(np.float32)
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3], np.float32)
    layer = AttentionPooling(5)
    pooled = np.asarray(layer([frames, mask]))

    hidden, hidden_bias, score, score_bias = (np.array(weight) for weight in layer.get_weights())
    scores = (np.tanh(frames @ hidden + hidden_bias) @ score + score_bias)[..., 0]
    weights = scipy.special.softmax(np.where(mask > 0, scores, -np.inf), axis=1)[..., None]
    mean = (weights * frames).sum(axis=1)
    sd = np.sqrt(np.maximum((weights * (frames - mean[:, None]) ** 2).sum(axis=1), 1e-5))
    np.testing.assert_allclose(pooled, np.hstack([mean, sd]), atol=1e-5)


def test_attention_pooling_does_not_see_the_padding() -> None:
    from serctl.models.blocks import AttentionPooling

    rng = np.random.default_rng(1)
    frames = rng.standard_normal((1, 9, 4)).astype(np.float32)
    mask = np.array([[1] * 5 + [0] * 4], np.float32)
    layer = AttentionPooling(6)
    before = np.asarray(layer([frames, mask]))
    frames[:, 5:] = 100
    np.testing.assert_allclose(np.asarray(layer([frames, mask])), before, atol=1e-6)
    assert before.shape == layer.compute_output_shape([(1, 9, 4), (1, 9)]) == (1, 8)


def test_attention_pooling_can_be_saved() -> None:
    import keras

    from serctl.models.blocks import AttentionPooling

    copy = keras.layers.deserialize(keras.layers.serialize(AttentionPooling(17)))
    assert isinstance(copy, AttentionPooling)
    assert copy.units == 17


def test_a_mask_follows_the_strides() -> None:
    from serctl.models.blocks import downsample_mask

    mask = np.array([[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(downsample_mask(mask, 2), [[1, 1, 1, 0, 0]])
