from __future__ import annotations

import numpy as np
import pytest
import scipy.special

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.mark.parametrize("with_context", [False, True])
def test_attention_weights_are_a_softmax_over_the_speech(with_context: bool) -> None:
    from serctl.models.custom_layers import AttentionWeights

    rng = np.random.default_rng(0)
    frames = rng.standard_normal((2, 7, 3)).astype(np.float32)
    context = rng.standard_normal((2, 4)).astype(np.float32)
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3], np.float32)
    layer = AttentionWeights(5)
    found = np.asarray(layer([frames, mask, context] if with_context else [frames, mask]))

    hidden = frames @ np.array(layer.hidden.kernel) + np.array(layer.hidden.bias)
    if with_context:
        hidden = hidden + (context @ np.array(layer.context.kernel))[:, None]
    scores = (np.tanh(hidden) @ np.array(layer.score.kernel))[..., 0]
    expected = scipy.special.softmax(np.where(mask > 0, scores, -np.inf), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found[1, 4:] == 0).all()
    assert found.shape == layer.compute_output_shape([(2, 7, 3), (2, 7)]) == (2, 7)


def test_without_a_context_the_weights_have_none_to_learn() -> None:
    from serctl.models.custom_layers import AttentionWeights

    plain, with_context = AttentionWeights(5), AttentionWeights(5)
    plain.build([(2, 7, 3), (2, 7)])
    with_context.build([(2, 7, 3), (2, 7), (2, 4)])
    assert with_context.count_params() - plain.count_params() == 4 * 5


def test_weighted_statistics_are_the_mean_and_sd() -> None:
    from serctl.models.blocks import weighted_statistics

    rng = np.random.default_rng(3)
    frames = rng.standard_normal((2, 7, 3)).astype(np.float32)
    weights = rng.dirichlet(np.ones(7), 2).astype(np.float32)
    found = np.asarray(weighted_statistics(frames, weights))
    for row in range(2):
        mean = np.average(frames[row], axis=0, weights=weights[row])
        variance = np.cov(frames[row].T, aweights=weights[row], ddof=0).diagonal()
        np.testing.assert_allclose(found[row], [*mean, *np.sqrt(variance)], atol=1e-5)


def test_attention_pooling_does_not_see_the_padding() -> None:
    import keras

    from serctl.models.blocks import attention_pooling

    inputs = [keras.Input((9, 4)), keras.Input((9,))]
    pool = keras.Model(inputs, attention_pooling(*inputs, units=6))
    rng = np.random.default_rng(1)
    frames = rng.standard_normal((1, 9, 4)).astype(np.float32)
    mask = np.array([[1] * 5 + [0] * 4], np.float32)
    before = np.asarray(pool([frames, mask]))
    frames[:, 5:] = 100
    np.testing.assert_allclose(np.asarray(pool([frames, mask])), before, atol=1e-6)
    assert before.shape == (1, 8)


def test_attention_weights_can_be_saved() -> None:
    import keras

    from serctl.models.custom_layers import AttentionWeights

    copy = keras.layers.deserialize(keras.layers.serialize(AttentionWeights(17, name="ear")))
    assert isinstance(copy, AttentionWeights)
    assert (copy.units, copy.name) == (17, "ear")


def test_a_reversed_gradient_keeps_the_values_and_turns_what_is_learned_from_them() -> None:
    import tensorflow as tf

    from serctl.models.blocks import reverse_gradient

    x = tf.Variable([0.5, -2.0, 3.0])
    with tf.GradientTape() as tape:
        y = reverse_gradient(x, 0.3)
        loss = tf.reduce_sum(tf.constant([1.0, 2.0, -4.0]) * y)
    np.testing.assert_allclose(y, x, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, x), [-0.3, -0.6, 1.2], atol=1e-6)


def test_a_mask_follows_the_strides() -> None:
    from serctl.models.blocks import downsample_mask

    mask = np.array([[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(downsample_mask(mask, 2), [[1, 1, 1, 0, 0]])


def test_the_image_has_the_spectrogram_and_its_distance_from_the_mean_over_speech() -> None:
    from serctl.models.blocks import as_image

    log_mel = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], np.float32)
    log_mel *= mask[:, :, None]
    image = np.asarray(as_image(log_mel, mask))
    np.testing.assert_array_equal(image[..., 0], log_mel)
    np.testing.assert_allclose(image[0, :, :, 1], log_mel[0] - log_mel[0].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(image[1, :3, :, 1], log_mel[1, :3] - log_mel[1, :3].mean(axis=0), atol=1e-6)
    assert (image[1, 3:] == 0).all()


def test_the_image_of_padding_alone_is_finite() -> None:
    from serctl.models.blocks import as_image

    image = as_image(np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32))
    assert np.isfinite(np.asarray(image)).all()
