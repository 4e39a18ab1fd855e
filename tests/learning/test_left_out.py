"""Calibration by corpora that are left out in turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serctl.corpora import Utterance
from serctl.features import FeatureConfig, Features, functional_names
from serctl.learning.dataset import Sample
from serctl.learning.left_out import (
    LeftOut,
    calibrated_by_others,
    fit_temperatures,
    leave_corpora_out,
    score_left_out,
)
from serctl.learning.options import FitOptions
from serctl.learning.recipe import Recipe
from serctl.metrics import temperature_scale
from serctl.verbs.train import ignore_epoch

CLASSES = ("happy", "sad", "angry")
CONFIG = FeatureConfig()


def utterance(corpus: str, number: int, emotion: str) -> Utterance:
    return Utterance(Path(f"{corpus}/{number}.wav"), emotion, corpus=corpus, speaker=f"{number % 4}")


def left_out(corpus: str, *, sharper: float, adapted_sharper: float, seed: int) -> LeftOut:
    """Answers drawn from their own probabilities, then made sharper than they should be."""
    rng = np.random.default_rng(seed)
    logs = np.log(rng.dirichlet(np.ones(3), 4000))
    truth = np.array([rng.choice(3, p=row) for row in np.exp(logs)])
    utterances = tuple(utterance(corpus, number, CLASSES[label]) for number, label in enumerate(truth))
    return LeftOut(corpus, utterances, truth, logs * sharper, logs * adapted_sharper)


def test_temperatures_undo_what_is_too_sure_without_and_with_adaptation() -> None:
    found = [left_out(name, sharper=2.0, adapted_sharper=0.5, seed=seed) for seed, name in enumerate("abc")]
    plain, adapted = fit_temperatures(found)
    assert plain == pytest.approx(2.0, rel=0.05)
    assert adapted == pytest.approx(0.5, rel=0.05)


def test_each_corpus_counts_alike_however_large() -> None:
    sure, unsure = (left_out(name, sharper=way, adapted_sharper=1, seed=1) for name, way in (("a", 4.0), ("b", 1.0)))
    few = replace(sure, utterances=sure.utterances[:400], truth=sure.truth[:400], logs=sure.logs[:400])
    few = replace(few, adapted_logs=few.adapted_logs[:400])
    alike, skewed = fit_temperatures([sure, unsure])[0], fit_temperatures([few, unsure])[0]
    assert skewed == pytest.approx(alike, rel=0.15)


def test_a_corpus_is_calibrated_by_the_others_alone() -> None:
    found = [left_out(name, sharper=way, adapted_sharper=1, seed=2) for name, way in zip("abc", (2, 2, 9), strict=True)]
    rows = calibrated_by_others(found, adapted=False)
    np.testing.assert_allclose(rows[-4000:], temperature_scale(found[2].logs, fit_temperatures(found[:2])[0]))


def test_scores_tell_what_a_threshold_leaves() -> None:
    found = [left_out(name, sharper=2.0, adapted_sharper=1, seed=seed) for seed, name in enumerate("abc")]
    values = score_left_out(found, classes=CLASSES, seed=0, adapted=False)
    assert values["ece"] < 0.03
    assert set(values["per_corpus"]) == set("abc")
    everything, sure = values["thresholds"]["0"], values["thresholds"]["0.8"]
    assert everything["coverage"] == 1
    assert everything["risk"] == pytest.approx(1 - values["wa"])
    assert sure["coverage"] < 0.6
    assert sure["risk"] < 0.2


def sample(corpus: str, number: int, emotion: str) -> Sample:
    rng = np.random.default_rng([number, CLASSES.index(emotion)])
    functionals = rng.standard_normal(len(functional_names(CONFIG))).astype(np.float32)
    functionals += 2 * CLASSES.index(emotion)
    window = Features(np.zeros((30, CONFIG.n_mels), np.float16), np.empty((0, 0), np.float32), functionals, 0)
    return Sample(utterance(corpus, number, emotion), f"{corpus}{number}", (window,), (True,))


def corpora(names: str) -> list[Sample]:
    return [
        sample(name, number, emotion)
        for name in names
        for emotion in (CLASSES[:2] if name == "c" else CLASSES)
        for number in range(4)
    ]


@pytest.mark.usefixtures("tensorflow")
def test_a_network_of_three_corpora_is_calibrated_by_trainings_without_each(tmp_path: Path) -> None:
    from serctl.learning.learn import learn

    recipe = Recipe("acoustic", fit=FitOptions(epochs=1, batch_size=4))
    samples = corpora("abc")
    learned = learn(recipe, samples, samples[::5], classes=CLASSES, folder=tmp_path, on_epoch=ignore_epoch)
    assert [each.corpus for each in learned.left_out] == ["a", "b", "c"]
    temperatures = (learned.temperature, learned.adapted_temperature)
    assert temperatures == fit_temperatures(learned.left_out)
    never_there = np.exp(learned.left_out[2].logs[:, 2])
    assert never_there.max() < 1e-6


def test_two_corpora_are_too_few_to_leave_one_out(tmp_path: Path) -> None:
    def fit(*_: object) -> None:
        raise AssertionError("no network is needed")

    samples = corpora("ab")
    assert leave_corpora_out(samples, samples[::5], classes=CLASSES, fit=fit, folder=tmp_path) == ()
