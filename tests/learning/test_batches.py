from __future__ import annotations

import errno
import os
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.features import Features, Normaliser
from serctl.learning.options import FitOptions
from serctl.models import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.learning.batches import Batches

pytestmark = pytest.mark.usefixtures("tensorflow")

FRAMES, MELS, FUNCTIONALS = 40, 16, 6
PLAIN = {"time_mask": 0.0, "band_mask": 0.0, "functional_noise": 0.0}


def window(seed: int, frames: int = FRAMES) -> Features:
    rng = np.random.default_rng(seed)
    log_mel = rng.uniform(1, 2, (frames, MELS)).astype(np.float16)
    return Features(log_mel, np.empty((0, 0), np.float32), rng.uniform(1, 2, FUNCTIONALS).astype(np.float32), 0)


@pytest.fixture(scope="module")
def model(tensorflow: None) -> Any:
    """A network with every input and two outputs, one of them for languages."""
    import keras

    from serctl.models import LANGUAGE_OUTPUT

    shapes = {"log_mel": (FRAMES, MELS), "mask": (FRAMES,), "functionals": (FUNCTIONALS,), "language": (2,)}
    inputs = [keras.Input(shape, name=name) for name, shape in shapes.items()]
    emotions = keras.layers.Dense(3, name="probabilities")(inputs[2])
    return keras.Model(inputs, [emotions, keras.layers.Dense(2, name=LANGUAGE_OUTPUT)(inputs[2])])


def make(
    model: Any,
    labels: list[int],
    *,
    frames: int = FRAMES,
    epoch: int = 0,
    copies: int = 0,
    languages: Sequence[str | None] = (),
    teacher_probabilities: Any = None,
    **options: Any,
) -> Batches:
    from serctl.learning.batches import Batches, Example

    examples = [
        Example(
            tuple(window(100 * number + copy, frames) for copy in range(1 + copies)),
            label,
            languages[number] if languages else None,
            None if teacher_probabilities is None else teacher_probabilities[number],
        )
        for number, label in enumerate(labels)
    ]
    identity = Normaliser(
        np.zeros(MELS, np.float32),
        np.ones(MELS, np.float32),
        np.zeros(FUNCTIONALS, np.float32),
        np.ones(FUNCTIONALS, np.float32),
    )
    batches = Batches(
        examples,
        model=model,
        spec=ModelSpec(FRAMES, MELS, tuple("abcdef"), n_classes=3, languages=("de", "pl")),
        normaliser=identity,
        options=FitOptions(**{"batch_size": 8, "seed": 5, **options}),
    )
    batches.start_at(epoch)
    return batches


def first_target(batches: Batches, index: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    _, labels, weights = batches[index]
    assert len(labels) == len(weights) == 2
    return labels[0], weights[0]


def assert_equal(first: Any, second: Any) -> None:
    for name, values in first[0].items():
        np.testing.assert_array_equal(values, second[0][name])
    for mine, theirs in zip((*first[1], *first[2]), (*second[1], *second[2]), strict=True):
        np.testing.assert_array_equal(mine, theirs)


LABELS = [0] * 12 + [1] * 8 + [2] * 4


def test_a_batch_depends_on_the_seed_and_not_on_what_was_drawn_before(model: Any) -> None:
    one, other = make(model, LABELS, mixup=0.3, copies=2), make(model, LABELS, mixup=0.3, copies=2)
    for index in (2, 0, 1, 1):
        one[index]
    assert_equal(one[1], other[1])
    assert not np.array_equal(make(model, LABELS, seed=6)[1][0]["log_mel"], other[1][0]["log_mel"])


def test_going_on_at_an_epoch_gives_the_batches_of_an_uninterrupted_run(model: Any) -> None:
    whole = make(model, LABELS, copies=1)
    first = whole[0]
    whole.on_epoch_end()
    whole.on_epoch_end()
    assert_equal(whole[0], make(model, LABELS, copies=1, epoch=2)[0])
    assert not np.array_equal(first[0]["log_mel"], whole[0][0]["log_mel"])


def test_an_epoch_shows_every_example_once(model: Any) -> None:
    batches = make(model, LABELS, **PLAIN)
    assert len(batches) == 3
    seen = np.concatenate([batches[index][0]["functionals"] for index in range(3)])
    expected = np.stack([window(100 * number).functionals for number in range(len(LABELS))])
    np.testing.assert_array_equal(np.sort(seen[:, 0]), np.sort(expected[:, 0]))


def test_fewer_examples_than_a_batch_make_one(model: Any) -> None:
    batches = make(model, [0, 1, 2])
    assert len(batches) == 1
    assert batches[0][0]["log_mel"].shape == (3, FRAMES, MELS)


def test_the_weights_balance_the_classes_and_have_mean_one(model: Any) -> None:
    batches = make(model, LABELS)
    pairs = [first_target(batches, index) for index in range(3)]
    labels, weights = (np.concatenate(values) for values in zip(*pairs, strict=True))
    assert weights.mean() == pytest.approx(1, abs=1e-6)
    per_class = weights @ labels
    np.testing.assert_allclose(per_class, 8, rtol=1e-6)


def test_every_variant_is_drawn(model: Any) -> None:
    batches = make(model, [0, 1], copies=2, **PLAIN)
    seen = set()
    for _ in range(30):
        seen |= set(batches[0][0]["functionals"][:, 0].tolist())
        batches.on_epoch_end()
    expected = {float(window(100 * number + copy).functionals[0]) for number in (0, 1) for copy in range(3)}
    assert seen == expected


@pytest.mark.parametrize("frames", [FRAMES, 25])
def test_masks_stay_within_their_bounds(model: Any, frames: int) -> None:
    batches = make(model, [0, 1] * 8, frames=frames, time_mask=0.25, band_mask=0.5, functional_noise=0.0)
    widest_time = widest_band = 0
    for _ in range(40):
        for spectrogram in batches[0][0]["log_mel"]:
            assert (spectrogram[frames:] == 0).all()
            zero = spectrogram[:frames] == 0
            rows, columns = zero.all(axis=1), zero.all(axis=0)
            np.testing.assert_array_equal(zero, rows[:, None] | columns[None, :])
            widest_time, widest_band = max(widest_time, int(rows.sum())), max(widest_band, int(columns.sum()))
        batches.on_epoch_end()
    assert int(0.25 * frames) < widest_time <= 2 * int(0.25 * frames)
    assert int(0.5 * MELS) < widest_band <= 2 * int(0.5 * MELS)


@pytest.mark.parametrize("without", [PLAIN, {"specaugment": False, "functional_noise": 0.0}], ids=["zero", "off"])
def test_without_augmentation_a_batch_is_the_data(model: Any, without: dict[str, Any]) -> None:
    inputs, _, _ = make(model, [0, 1, 2], **without)[0]
    assert (inputs["log_mel"] != 0).all()
    known = {window(100 * number).log_mel.astype(np.float32).tobytes() for number in range(3)}
    assert {each.tobytes() for each in inputs["log_mel"]} == known


def test_examples_are_cut_to_random_stretches(model: Any) -> None:
    batches = make(model, [0, 1, 2] * 8, batch_size=24, crop=30, **PLAIN)
    inputs = batches[0][0]
    assert inputs["log_mel"].shape == (24, 30, MELS)
    assert (inputs["mask"] == 1).all()
    whole = {tuple(each.functionals): each for each in (window(100 * number) for number in range(24))}
    starts = []
    for stretch, functionals in zip(inputs["log_mel"], inputs["functionals"], strict=True):
        source = whole[tuple(functionals)].log_mel.astype(np.float32)
        starts += [start for start in range(11) if np.array_equal(source[start : start + 30], stretch)]
    assert len(starts) == 24
    assert len(set(starts)) > 5
    assert make(model, [0, 1, 2], crop=1000, **PLAIN)[0][0]["log_mel"].shape == (3, FRAMES, MELS)


def test_the_opinion_of_teachers_takes_part_in_the_labels(model: Any) -> None:
    opinions = np.random.default_rng(0).dirichlet(np.ones(3), (3, 2)).astype(np.float32)
    batches = make(model, [0, 1, 2], copies=1, teacher_probabilities=opinions, teacher_share=0.6, **PLAIN)
    seen = set()
    for _ in range(8):
        inputs, targets, _ = batches[0]
        for functionals, target in zip(inputs["functionals"], targets[0], strict=True):
            (number, variant), *_ = (
                (number, variant)
                for number in range(3)
                for variant in range(2)
                if np.array_equal(window(100 * number + variant).functionals, functionals)
            )
            expected = 0.4 * np.eye(3)[number] + 0.6 * opinions[number, variant]
            np.testing.assert_allclose(target, expected, atol=1e-6)
            seen.add((number, variant))
        batches.on_epoch_end()
    assert len(seen) == 6


def test_without_teachers_their_share_is_nothing(model: Any) -> None:
    labels, _ = first_target(make(model, [0, 1, 2], teacher_share=0.6))
    np.testing.assert_array_equal(labels.sum(axis=0), [1, 1, 1])
    assert set(np.unique(labels)) == {0, 1}


def test_languages_are_what_the_adversary_learns(model: Any) -> None:
    inputs, (labels, languages), (weights, same) = make(model, [0, 1, 2], languages=["pl", None, "de"], **PLAIN)[0]
    assert labels.shape == (3, 3)
    np.testing.assert_array_equal(languages, inputs["language"])
    np.testing.assert_array_equal(same, weights)
    expected = np.array([[0, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(languages, expected[labels.argmax(axis=1)])


def test_noise_on_functionals_has_the_asked_size(model: Any) -> None:
    batches = make(model, [0, 1] * 64, batch_size=128, **{**PLAIN, "functional_noise": 0.5})
    clean = make(model, [0, 1] * 64, batch_size=128, **PLAIN)
    difference = batches[0][0]["functionals"] - clean[0][0]["functionals"]
    assert difference.std() == pytest.approx(0.5, rel=0.1)
    assert abs(difference.mean()) < 0.08


def test_mixed_labels_sum_to_one_and_the_first_example_keeps_at_least_half(model: Any) -> None:
    mixed, plain = make(model, LABELS, mixup=0.4, **PLAIN), make(model, LABELS, **PLAIN)
    labels, weights = first_target(mixed)
    pure, _ = first_target(plain)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert ((labels * pure).sum(axis=1) >= 0.5).all()
    assert ((labels > 0.01) & (labels < 0.99)).any()
    assert ((mixed[0][0]["log_mel"] >= 1) & (mixed[0][0]["log_mel"] <= 2)).all()
    _, balanced = first_target(plain)
    assert weights.min() >= balanced.min()


def test_without_mixup_labels_are_one_hot(model: Any) -> None:
    labels, _ = first_target(make(model, LABELS))
    assert set(np.unique(labels)) == {0, 1}
    assert labels.dtype == np.float32


def test_a_share_of_the_examples_is_normalised_by_its_own_corpus() -> None:
    from serctl.learning.batches import SUBSETS, Example, adapted_normalisers

    examples = [Example((window(seed),), seed % 2, corpus="a" if seed < 10 else "b") for seed in range(20)]
    normaliser = Normaliser.fit([example.variants[0] for example in examples])
    assert adapted_normalisers(examples, normaliser, FitOptions()) == {}
    found = adapted_normalisers(examples, normaliser, FitOptions(adapted_share=0.5))
    assert {corpus: len(normalisers) for corpus, normalisers in found.items()} == {"a": SUBSETS + 1, "b": SUBSETS + 1}
    assert not np.array_equal(found["a"][0].functional_mean, found["b"][0].functional_mean)


def test_without_shared_memory_one_thread_makes_the_batches(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    from serctl.backends.loky import workers_can_start

    def no_room(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", no_room)
    workers_can_start.cache_clear()
    try:
        batches = make(model, [0, 1, 2] * 8)
        assert len(list(PyDatasetAdapter(batches).get_numpy_iterator())) == len(batches) == 3
    finally:
        workers_can_start.cache_clear()


def test_an_interrupt_in_the_thread_that_makes_a_batch_is_not_waited_for(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    batches = make(model, LABELS)
    monkeypatch.setattr(batches, "_labels", interrupted)
    with ThreadPool(1) as pool, pytest.raises(RuntimeError, match="KeyboardInterrupt while batch 2"):
        pool.apply_async(batches.__getitem__, (2,)).get(timeout=10)  # as keras does, without a limit
