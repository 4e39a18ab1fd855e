"""What train and evaluate share: going on from a model, learning from teachers, judging samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.bundle.facts import TrainingEntry
from serctl.bundle.store import load_bundle, write_bundle
from serctl.cache import Cache
from serctl.corpora import Utterance
from serctl.errors import BundleError, ConfigError, CorpusError, Remedy
from serctl.export.options import ExportOptions
from serctl.features import FeatureConfig, FeatureReader, Features, functional_names
from serctl.learning.adapt import predict_with_model
from serctl.learning.calibrate import merge_windows, restrict
from serctl.learning.dataset import Dataset, Sample, load_dataset
from serctl.learning.earlier import base_uar
from serctl.learning.learn import learn
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.learning.recipe import Recipe, check_recipe, with_known_classes
from serctl.models import ModelSpec, build
from serctl.run import Run
from serctl.runtime.recogniser import Recogniser
from serctl.verbs.export import export
from serctl.verbs.train import TrainOptions, ignore_epoch, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle

pytestmark = pytest.mark.usefixtures("tensorflow")

FIT = FitOptions(epochs=1, batch_size=4)


class Handed(Exception):
    """What learn hands to fit, instead of a fit."""

    def __init__(self, spec: ModelSpec, examples: Sequence[Any], **options: Any) -> None:
        super().__init__()
        self.spec, self.examples, self.options = spec, examples, options


def copy_of(bundle: Bundle, folder: Path, entry: TrainingEntry | None = None, **facts: Any) -> Path:
    """The bundle with other facts and one more recording in its training list."""
    folder.mkdir()
    write_bundle(
        folder,
        replace(bundle.facts, **facts),
        model=bundle.model_path.read_bytes(),
        weights=bundle.weights(),
        normaliser=bundle.normaliser,
        training=[*bundle.training_list(), *([entry] if entry else [])],
        card="",
    )
    return folder


@pytest.fixture(scope="module")
def happy_and_sad(samples: Path, shared_cache: Cache) -> Dataset:
    return load_dataset(
        [samples],
        labels=LabelOptions(("happy", "sad")),
        config=FeatureConfig(voice_encoder=True),
        augmentation=Augmentation(copies=1),
        run=Run(shared_cache, jobs=1),
    )


def handed_to_fit(
    monkeypatch: pytest.MonkeyPatch, folder: Path, recipe: Recipe, training: Sequence[Sample], classes: Sequence[str]
) -> Handed:
    def hand(architecture: str, spec: ModelSpec, examples: Sequence[Any], held_out: Any, **options: Any) -> None:
        raise Handed(spec, examples, **options)

    monkeypatch.setattr("serctl.learning.fit.fit", hand)
    with pytest.raises(Handed) as caught:
        learn(recipe, training, [], classes=classes, folder=folder, on_epoch=ignore_epoch)
    return caught.value


def test_a_model_goes_on_from_another_and_keeps_what_it_came_with(
    samples: Path, mfcc_bundle: Bundle, shared_cache: Cache, tmp_path: Path
) -> None:
    heard, taught = (TrainingEntry(digest, "other", "1", "sad", "train") for digest in ("ab", "cd"))
    base = load_bundle(copy_of(mfcc_bundle, tmp_path / "base", heard, attribution=("A 2020", "B"), licence="CC-BY-4.0"))
    teacher = load_bundle(copy_of(mfcc_bundle, tmp_path / "teacher", taught, attribution=("B", "C 2021")))
    options = TrainOptions(
        architecture="mfcc",
        base=base,
        teachers=(teacher,),
        labels=LabelOptions(("happy", "sad")),
        augmentation=Augmentation(copies=0),
        fit=replace(FIT, lr=1e-9),
        validation_share=0.25,
    )
    result = train([samples], output=tmp_path / "m", options=options, run=Run(shared_cache, jobs=1))
    trained = load_bundle(result.folder)
    facts = trained.facts
    assert facts.labels == mfcc_bundle.facts.labels == ("angry", "happy", "neutral", "sad")
    assert (facts.attribution, facts.licence) == (("A 2020", "B", "C 2021"), "CC-BY-4.0")
    assert facts.training.base == base.identity
    assert facts.training.teachers == (teacher.identity,)
    assert facts.training.utterances == 8
    validation = facts.metrics["validation"]
    assert not validation.protocol.speaker_independent  # the base was trained on the held-out recordings too
    assert validation.leakage is not None
    assert validation.leakage.identical_audio == validation.n
    assert facts.training.inherited == len(mfcc_bundle.training_list()) + 2 - 8
    assert f"continued from `{base.identity}`" in (result.folder / "README.md").read_text()
    digests = [entry.digest for entry in trained.training_list()]
    assert len(digests) == len(set(digests))
    assert set(digests) == {entry.digest for entry in mfcc_bundle.training_list()} | {"ab", "cd"}
    np.testing.assert_array_equal(trained.normaliser.mel_mean, mfcc_bundle.normaliser.mel_mean)
    for mine, theirs in zip(trained.weights(), mfcc_bundle.weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_a_bundle_holds_the_weights_of_the_whole_network(languages_bundle: Bundle) -> None:
    facts = languages_bundle.facts
    names = functional_names(facts.features)
    model = build(
        "shared_private",
        ModelSpec(facts.n_frames, facts.features.n_mels, names, len(facts.labels), languages=facts.languages),
    )
    weights = languages_bundle.weights()
    assert [each.shape for each in weights] == [tuple(variable.shape) for variable in model.weights]
    assert {each.dtype for each in weights} == {np.dtype(np.float16)}
    assert all(np.isfinite(each).all() for each in weights)


def test_a_bundle_without_weights_is_nothing_to_go_on_from(mfcc_bundle: Bundle, tmp_path: Path) -> None:
    exported = load_bundle(copy_of(mfcc_bundle, tmp_path / "exported"))
    (exported.folder / "weights.npz").unlink()
    with pytest.raises(BundleError, match=r"weights\.npz: expected the weights of a model that serctl trained"):
        exported.weights()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("sad", "happy"), ("angry", "happy", "neutral", "sad")),
        (("calm", "sad"), ("calm", "sad")),
    ],
)
def test_the_classes_of_the_base_stay_if_they_suffice(
    mfcc_bundle: Bundle, found: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    recipe = Recipe(architecture="mfcc", base=mfcc_bundle)
    assert with_known_classes(Dataset((), found, (), ()), recipe).classes == expected
    assert with_known_classes(Dataset((), found, (), ()), Recipe()).classes == found


def test_an_adapter_needs_the_classes_of_its_model(languages_bundle: Bundle) -> None:
    recipe = Recipe(architecture="shared_private", base=languages_bundle, adapter_only=True)
    with pytest.raises(CorpusError, match="needs the classes of its model, happy, sad: found calm, sad") as raised:
        with_known_classes(Dataset((), ("calm", "sad"), (), ()), recipe)
    assert raised.value.remedies == (Remedy.CLASSES,)


def test_an_adapter_needs_a_model_that_has_some(mfcc_bundle: Bundle) -> None:
    for options in ({"architecture": "shared_private"}, {"architecture": "mfcc", "base": mfcc_bundle}):
        with pytest.raises(ConfigError, match="an adapter needs a model to go on from, of shared_private"):
            Recipe(adapter_only=True, **options)


def test_the_languages_of_the_base_come_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, happy_and_sad: Dataset, languages_bundle: Bundle
) -> None:
    recipe = Recipe(architecture="shared_private", base=languages_bundle, adapter_only=True)
    spoken = [
        replace(sample, utterance=replace(sample.utterance, language=code))
        for sample, code in zip(happy_and_sad.samples, ("am", "en", None, "aa"), strict=False)
    ]
    handed = handed_to_fit(monkeypatch, tmp_path, recipe, spoken, ("happy", "sad"))
    assert handed.spec.languages == (*languages_bundle.facts.languages, "aa", "am")
    assert {example.language for example in handed.examples} == {"am", "en", None, "aa"}
    assert handed.options["start"].adapter_only
    mine, theirs = handed.options["normaliser"], languages_bundle.normaliser
    np.testing.assert_array_equal(mine.functional_sd, theirs.functional_sd)


def test_other_architectures_know_no_languages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, happy_and_sad: Dataset
) -> None:
    handed = handed_to_fit(monkeypatch, tmp_path, Recipe(), happy_and_sad.samples, ("happy", "sad"))
    assert handed.spec.languages == ()
    assert handed.options["start"] is None
    assert {example.language for example in handed.examples} == {"de", "en", "pl"}
    assert {example.teacher_probabilities for example in handed.examples} == {None}


def test_teachers_give_their_mean_opinion_of_every_variant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, happy_and_sad: Dataset, mfcc_bundle: Bundle, tiny_bundle: Bundle
) -> None:
    recipe = Recipe(teachers=(mfcc_bundle, tiny_bundle))
    handed = handed_to_fit(monkeypatch, tmp_path, recipe, happy_and_sad.samples, ("sad", "happy"))
    assert len(handed.examples) == 8
    for example in handed.examples:
        opinions = []
        for teacher in (mfcc_bundle, tiny_bundle):
            found = Recogniser(teacher).probabilities(example.variants)
            pair = np.stack([found[:, 3], found[:, 1]], axis=1)  # of angry, happy, neutral, sad
            opinions.append(pair / pair.sum(axis=1, keepdims=True))
        assert example.teacher_probabilities.dtype == np.float32
        np.testing.assert_allclose(example.teacher_probabilities, np.mean(opinions, axis=0), atol=1e-6)


def test_a_teacher_may_hear_what_its_student_does_not(samples: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")  # which holds nothing but what this training extracts
    assert tiny_bundle.facts.features.voice_encoder
    options = TrainOptions(
        architecture="mfcc",
        teachers=(tiny_bundle,),
        augmentation=Augmentation(copies=1),
        fit=FIT,
        validation_share=0.25,
    )
    student = load_bundle(train([samples], output=tmp_path / "m", options=options, run=Run(cache, jobs=1)).folder)
    assert student.facts.features == FeatureConfig()
    assert len(student.normaliser.functional_mean) == len(functional_names(FeatureConfig()))
    (window,) = FeatureReader(samples / "tom-sad.flac", student.facts.features, cache=None)
    assert Recogniser(student).probabilities([window.features]).sum() == pytest.approx(1)
    exporting = ExportOptions(quantize="int8", min_agreement=0)
    exported = export(student, output=tmp_path / "e", options=exporting, run=Run(cache, jobs=1))
    assert exported.parity.windows > 0


def test_a_model_that_is_not_made_for_this_is_refused(
    happy_and_sad: Dataset, mfcc_bundle: Bundle, tmp_path: Path
) -> None:
    other = FeatureConfig(window_s=2.0)
    with pytest.raises(
        ConfigError, match=r"is of the architecture mfcc: expected the same for the new one\. Received: speech"
    ) as raised:
        Recipe(base=mfcc_bundle)
    assert raised.value.remedies == (Remedy.ARCHITECTURE,)
    with pytest.raises(ConfigError, match="was trained on other features"):
        Recipe(architecture="mfcc", features=other, base=mfcc_bundle)
    with pytest.raises(BundleError, match=r"holds no weights\.npz to start from: it was exported, or trained before"):
        Recipe(architecture="mfcc", base=replace(mfcc_bundle, folder=tmp_path))
    with pytest.raises(ConfigError, match="was trained on other features"):
        check_recipe(Recipe(architecture="mfcc", features=other, teachers=(mfcc_bundle,)), happy_and_sad)
    with pytest.raises(ConfigError, match="knows angry, happy, neutral, sad: expected all of calm, happy, sad"):
        check_recipe(Recipe(teachers=(mfcc_bundle,)), replace(happy_and_sad, classes=("calm", "happy", "sad")))


def test_samples_are_predicted_from_their_windows_of_speech() -> None:
    def sample(lengths: Sequence[int], speech: Sequence[bool], language: str | None) -> Sample:
        windows = tuple(
            Features(np.zeros((length, 2), np.float16), np.empty((0, 0), np.float32), np.zeros(1, np.float32), 0)
            for length in lengths
        )
        utterance = Utterance(Path("x.wav"), "sad", "mine", language=language)
        return Sample(utterance, "", windows, tuple(speech))

    asked: list[str | None] = []

    def probabilities_of(windows: Sequence[Features], languages: Sequence[str | None]) -> NDArray[np.float64]:
        asked.extend(languages)
        happy = np.array([0.1, 0.4, 0.9, 0.3, 0.5])
        assert len(windows) == 5
        return np.stack([happy, 1 - happy], axis=1)

    merged = merge_windows(
        probabilities_of, [sample([30, 10, 50], [True, True, False], "de"), sample([20, 20], [False, False], None)]
    )
    assert asked == ["de", "de", "de", None, None]
    np.testing.assert_allclose(merged[0, 0], (30 * 0.1 + 10 * 0.4) / 40, atol=1e-6)
    assert merged[0].sum() == pytest.approx(1)
    assert np.isnan(merged[1]).all()  # as predict has it: no speech


def test_restricted_probabilities_are_conditional() -> None:
    found = restrict(np.array([[0.1, 0.3, 0.6], [0.5, 0.25, 0.25]]), ("a", "b", "c"), ("c", "a"))
    np.testing.assert_allclose(found, [[6 / 7, 1 / 7], [1 / 3, 2 / 3]])


def test_a_base_that_knows_more_emotions_is_scored_among_those_of_the_new_model(
    happy_and_sad: Dataset, tiny_bundle: Bundle
) -> None:
    classes, labels = happy_and_sad.classes, tiny_bundle.facts.labels
    assert len(labels) > len(classes)
    truth = np.array([classes.index(sample.utterance.emotion) for sample in happy_and_sad.samples])
    answers = predict_with_model(tiny_bundle, happy_and_sad.samples, adapt=False)
    chosen = answers[:, [labels.index(emotion) for emotion in classes]].argmax(axis=1)
    recalls = [(chosen[truth == label] == label).mean() for label in range(len(classes))]
    assert base_uar(tiny_bundle, happy_and_sad.samples, truth, classes) == pytest.approx(np.mean(recalls))
