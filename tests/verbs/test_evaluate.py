from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from serctl.bundle.store import load_bundle
from serctl.errors import ConfigError, CorpusError, Remedy
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.metrics.evaluation import EvaluationFacts, read_evaluation
from serctl.metrics.facts import Leakage
from serctl.reports.markdown import stamp
from serctl.reports.tables import read_report
from serctl.run import Run
from serctl.transforms.speed import Speed
from serctl.verbs.augment import AugmentOptions, augment
from serctl.verbs.evaluate import CrossValidation, cross_validate, evaluate_model
from serctl.verbs.results import title_of
from serctl.verbs.train import TrainOptions, train

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.corpora import Fold
    from serctl.verbs.evaluate import Evaluation

KEYS = {
    *("architecture", "parameters", "protocol", "corpus", "classes", "uar", "wa", "macro_f1", "ece", "intervals"),
    *("per_speaker", "per_gender", "per_language", "per_corpus", "per_class", "leakage", "seed"),
    *("package_version", "commit", "created"),
}
FILES = {
    "metrics.json",
    "predictions.parquet",
    "confusion.csv",
    "confusion.png",
    "reliability.png",
    "report.md",
    "report.html",
}
LABELS = ["angry", "happy", "neutral", "sad"]
AT_RANDOM = "random utterances, since the test part has no speakers of its own"


@pytest.fixture(scope="module")
def of_model(
    samples: Path, tiny_bundle: Bundle, shared_cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    output = tmp_path_factory.mktemp("model") / "evaluation"
    return evaluate_model(
        [samples], model=tiny_bundle, output=output, labels=LabelOptions(), run=Run(shared_cache, jobs=1)
    )


def cross_validation(protocol: str = "speaker-kfold:2", **options: Any) -> CrossValidation:
    fit = FitOptions(epochs=1, batch_size=4)
    labels, augmentation = LabelOptions(("happy", "sad")), Augmentation(copies=0)
    given = {"architecture": "mfcc", "labels": labels, "augmentation": augmentation, "fit": fit}
    return CrossValidation(protocol=protocol, validation_share=0.5, **{**given, **options})


@pytest.fixture(scope="module")
def crossed(
    samples: Path, shared_cache: Cache, tmp_path_factory: pytest.TempPathFactory, tensorflow: None
) -> tuple[Evaluation, list[Fold]]:
    folds: list[Fold] = []
    evaluation = cross_validate(
        [samples],
        output=tmp_path_factory.mktemp("crossed") / "evaluation",
        options=cross_validation(),
        run=Run(shared_cache, jobs=1),
        on_fold=lambda fold, *_: folds.append(fold),
    )
    return evaluation, folds


def without_time(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "created"}


def test_the_folder_of_an_evaluation_is_complete(of_model: Evaluation) -> None:
    assert {path.name for path in of_model.folder.iterdir()} >= FILES
    metrics = json.loads((of_model.folder / "metrics.json").read_text())
    assert KEYS < set(metrics) == EvaluationFacts.__dataclass_fields__.keys()
    assert read_evaluation(of_model.folder).uar == metrics["uar"]
    assert metrics == json.loads(json.dumps(of_model.metrics))


def test_reports_and_plots_name_the_model_or_the_architecture(
    of_model: Evaluation, tiny_bundle: Bundle, crossed: tuple[Evaluation, list[Fold]]
) -> None:
    model = f"{tiny_bundle.identity} ({tiny_bundle.facts.architecture})"
    for evaluation, named, plots in (
        (of_model, f"{model} on samples", f"{model}, samples"),
        (crossed[0], "mfcc on samples", "mfcc, speaker-kfold:2, samples"),
    ):
        assert (evaluation.folder / "report.md").read_text().startswith(f"# {named}\n")
        page = (evaluation.folder / "report.html").read_text()
        assert f"<title>{named}</title>" in page
        assert f"<h1>{named}</h1>" in page
        assert title_of(evaluation.facts) == plots


def test_the_scores_are_those_of_the_predictions(of_model: Evaluation) -> None:
    rows = read_report(of_model.folder / "predictions.parquet")
    truth, predicted = ([row[name] for row in rows] for name in ("emotion", "predicted"))
    metrics = of_model.metrics
    assert metrics["uar"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(truth, predicted))
    assert metrics["wa"] == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    assert metrics["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(truth, predicted, average="macro", zero_division=0)
    )
    with (of_model.folder / "confusion.csv").open() as lines:
        matrix = [list(map(int, row[1:])) for row in list(csv.reader(lines))[1:]]
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(truth, predicted, labels=LABELS))
    assert {row["path"].rsplit("/", 1)[-1].split("-")[1].split(".")[0] for row in rows} == set(truth)
    assert set(metrics["per_language"]) == {"en", "de", "pl"}
    assert {name: group["n"] for name, group in metrics["per_gender"].items()} == {"female": 8, "male": 8}
    assert metrics["intervals"]["uar"]["unit"] == "speaker"


def test_what_was_trained_on_is_stamped_as_leaky(of_model: Evaluation) -> None:
    leakage = of_model.metrics["leakage"]
    assert (leakage["identical_audio"], leakage["speakers_shared"], leakage["test_utterances"]) == (16, 4, 16)
    assert stamp(of_model.facts).startswith("Leaky: 16 test recordings")
    assert "Leaky: 16" in (of_model.folder / "report.md").read_text()


def changed_copy(samples: Path, folder: Path, manifest: str) -> Path:
    """Other bytes of the same speech: sample recordings stored once more, under other names."""
    import soundfile

    folder.mkdir(parents=True)
    rows = ["path,emotion,speaker"]
    for number, path in enumerate(sorted(samples.glob("*-[hs]a*.flac"))):
        values, rate = soundfile.read(path)
        soundfile.write(folder / f"{number}.wav", values, rate)
        speaker, emotion = path.stem.split("-")
        rows.append(f"{number}.wav,{emotion},{manifest.format(speaker)}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


@pytest.mark.parametrize(
    ("speaker", "expected"),
    [
        ("{}", "Speaker-dependent: 4 speakers were also trained on"),
        ("new-{}", "Speaker-independent"),
        ("", "Speakers are not known"),
    ],
)
def test_shared_speakers_are_stamped(
    samples: Path, tiny_bundle: Bundle, shared_cache: Cache, tmp_path: Path, speaker: str, expected: str
) -> None:
    corpus = changed_copy(samples, tmp_path / "in" / samples.name, speaker)
    evaluation = evaluate_model(
        [corpus], model=tiny_bundle, output=tmp_path / "e", labels=LabelOptions(), run=Run(shared_cache, jobs=1)
    )
    assert evaluation.metrics["leakage"]["identical_audio"] == 0
    assert evaluation.metrics["classes"] == ["happy", "sad"]
    assert stamp(evaluation.facts).startswith(expected)


def test_a_model_that_does_not_know_its_speakers_is_not_called_speaker_independent(of_model: Evaluation) -> None:
    facts = replace(of_model.facts, leakage=Leakage(training_without_speaker=3))
    assert stamp(facts).startswith("Speakers are not known")


def test_a_corpus_of_other_emotions_is_refused(samples: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    rows = ["path,emotion", f"{samples}/emma-sad.flac,disgust", f"{samples}/tom-sad.flac,sad"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    with pytest.raises(CorpusError, match="at least two of the model's labels"):
        evaluate_model([tmp_path / "m.csv"], model=tiny_bundle, output=tmp_path / "e", labels=LabelOptions())
    with pytest.raises(ConfigError, match="knows no boredom: expected angry, happy, neutral, sad"):
        evaluate_model([samples], model=tiny_bundle, output=tmp_path / "e", labels=LabelOptions(("sad", "boredom")))


def test_an_existing_evaluation_is_replaced_only_when_asked_to(
    samples: Path, tiny_bundle: Bundle, shared_cache: Cache, of_model: Evaluation, tmp_path: Path
) -> None:
    output = shutil.copytree(of_model.folder, tmp_path / "e")

    def again(output: Path, *, overwrite: bool) -> Evaluation:
        labels = LabelOptions(("happy", "sad"))
        return evaluate_model(
            [samples],
            model=tiny_bundle,
            output=output,
            labels=labels,
            run=Run(shared_cache, jobs=1, overwrite=overwrite),
        )

    with pytest.raises(ConfigError, match="already exists") as raised:
        again(output, overwrite=False)
    assert raised.value.remedies == (Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    assert again(output, overwrite=True).metrics["n"] == 8
    assert json.loads((output / "metrics.json").read_text())["n"] == 8
    with pytest.raises(ConfigError, match="already exists"):
        again(tmp_path, overwrite=True)


def test_every_utterance_is_tested_once_by_a_fold_that_did_not_train_on_it(
    crossed: tuple[Evaluation, list[Fold]],
) -> None:
    evaluation, folds = crossed
    assert len(folds) == 2
    assert sorted(index for fold in folds for index in fold.test) == list(range(8))
    assert not any(set(fold.train) & set(fold.test) for fold in folds)
    rows = read_report(evaluation.folder / "predictions.parquet")
    assert len({row["path"] for row in rows}) == len(rows) == 8
    speakers = [{row["speaker"] for row in rows if row["fold"] == fold.name} for fold in folds]
    assert not speakers[0] & speakers[1]
    for fold in evaluation.metrics["per_fold"]:
        assert (fold["n_train"], fold["n_validation"], fold["n_test"]) == (2, 2, 4)


def test_the_metrics_of_a_cross_validation(crossed: tuple[Evaluation, list[Fold]]) -> None:
    metrics = crossed[0].metrics
    assert set(metrics) >= KEYS | {"per_fold", "fit", "augmentation", "features", "command", "uar_fold_mean"}
    assert set(metrics) == EvaluationFacts.__dataclass_fields__.keys()
    assert len(read_evaluation(crossed[0].folder).per_fold) == 2
    assert metrics["protocol"]["speaker_independent"]
    assert metrics["uar_fold_mean"] == pytest.approx(np.mean([fold["uar"] for fold in metrics["per_fold"]]))
    assert stamp(crossed[0].facts).startswith("Speaker-independent")
    assert (crossed[0].folder / "history.png").exists()


def test_a_cross_validation_interrupted_after_a_fold_ends_with_the_same_metrics(
    crossed: tuple[Evaluation, list[Fold]], samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    def stop_at_second(fold: Fold, number: int, total: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    def run(*, resume: bool = False, **options: Any) -> Evaluation:
        how = Run(shared_cache, jobs=1, resume=resume)
        return cross_validate([samples], output=tmp_path / "e", run=how, **{"options": cross_validation(), **options})

    with pytest.raises(KeyboardInterrupt):
        run(on_fold=stop_at_second)
    with pytest.raises(ConfigError, match="an interrupted run left") as raised:
        run()
    assert raised.value.remedies == (Remedy.RESUME, Remedy.RESTART)
    with pytest.raises(ConfigError, match="belongs to a run with other data"):
        run(options=cross_validation(fit=FitOptions(epochs=9)), resume=True)
    first = tmp_path / "e.partial" / "fold-01" / "result.json"
    saved = first.stat().st_mtime_ns
    seen = []
    result = run(resume=True, on_epoch=lambda _: seen.append(first.stat().st_mtime_ns))
    assert seen == [saved]
    assert not first.exists()
    expected, found = without_time(crossed[0].metrics), without_time(result.metrics)
    for name in ("uar", "wa", "confusion", "leakage", "per_speaker", "protocol"):
        assert found.get(name) == expected.get(name), name
    assert found["ece"] == pytest.approx(expected["ece"], abs=1e-3)


def test_the_labels_of_the_test_part_change_nothing_but_the_scores(
    samples: Path, shared_cache: Cache, tmp_path: Path, tensorflow: None
) -> None:
    def judged(name: str, swapped: dict[str, str]) -> list[dict[str, Any]]:
        rows = ["path,emotion,speaker,split"]
        for path in sorted(samples.glob("*-[hs]a*.flac")):
            speaker, emotion = path.stem.split("-")
            part = "test" if speaker == "tom" else "train"
            rows.append(f"{path},{swapped.get(emotion, emotion) if part == 'test' else emotion},{speaker},{part}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
        options = cross_validation("split", fit=FitOptions(epochs=2, batch_size=4))
        cross_validate(
            [tmp_path / f"{name}.csv"], output=tmp_path / name, options=options, run=Run(shared_cache, jobs=1)
        )
        return read_report(tmp_path / name / "predictions.parquet")

    plain, swapped = judged("plain", {}), judged("swapped", {"happy": "sad", "sad": "happy"})
    assert [row["emotion"] for row in plain] == [row["emotion"] for row in swapped][::-1] == ["happy", "sad"]
    for mine, theirs in zip(plain, swapped, strict=True):
        assert mine["p_sad"] == pytest.approx(theirs["p_sad"], abs=1e-5)


def test_normalised_speakers_are_stamped_transductive(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    options = cross_validation(normalise_speakers=True)
    evaluation = cross_validate([samples], output=tmp_path / "e", options=options, run=Run(shared_cache, jobs=1))
    assert evaluation.metrics["transductive"]
    assert stamp(evaluation.facts).startswith("Speaker-independent")
    assert "; transductive: each speaker's features were normalised over all of their recordings" in stamp(
        evaluation.facts
    )
    assert "transductive" in (evaluation.folder / "report.md").read_text()


def test_without_normalised_speakers_nothing_is_transductive(crossed: tuple[Evaluation, list[Fold]]) -> None:
    assert not crossed[0].metrics["transductive"]
    assert "transductive" not in stamp(crossed[0].facts)


@pytest.mark.parametrize("role", ["base", "teachers"])
def test_what_an_earlier_model_has_heard_is_stamped_as_leaky(
    samples: Path, mfcc_bundle: Bundle, shared_cache: Cache, tmp_path: Path, role: str
) -> None:
    given = {"base": mfcc_bundle} if role == "base" else {"teachers": (mfcc_bundle,)}
    options = cross_validation(**given)
    evaluation = cross_validate([samples], output=tmp_path / "e", options=options, run=Run(shared_cache, jobs=1))
    assert evaluation.metrics["leakage"]["identical_audio"] == 8
    assert evaluation.metrics["leakage"]["speakers_shared"] == 2
    assert stamp(evaluation.facts).startswith("Leaky: 8 test recordings were also trained on")
    assert mfcc_bundle.identity in json.dumps(evaluation.metrics[role])
    # Going on from a model keeps its classes, a student has those of the corpus.
    assert evaluation.metrics["classes"] == (LABELS if role == "base" else ["happy", "sad"])


@pytest.fixture(scope="module")
def copies(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of each sample recording, at another speed."""
    output = tmp_path_factory.mktemp("augmented") / "copies"
    augment([samples], output=output, options=AugmentOptions(transforms=(Speed(),)))
    return output


def test_a_model_is_scored_on_originals_and_never_on_copies(
    samples: Path, copies: Path, mfcc_bundle: Bundle, shared_cache: Cache, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"model": mfcc_bundle, "labels": LabelOptions(), "run": Run(shared_cache, jobs=1)}
    evaluation = evaluate_model([samples, copies], output=tmp_path / "e", **options)
    assert evaluation.metrics["n"] == 16
    assert evaluation.metrics["leakage"]["identical_audio"] == 16
    report = (tmp_path / "e/report.md").read_text()
    assert "In training as in test, the same or as an augmented copy: 16 of 16" in report
    with pytest.raises(CorpusError, match="augmented copies alone"):
        evaluate_model([copies], output=tmp_path / "copies", **options)


def test_training_on_copies_is_training_on_their_sources(
    samples: Path, copies: Path, shared_cache: Cache, tmp_path: Path, tensorflow: None
) -> None:
    options = TrainOptions(
        architecture="mfcc",
        fit=FitOptions(epochs=1, batch_size=4),
        augmentation=Augmentation(copies=0),
        validation_share=0.25,
    )
    model = load_bundle(train([copies], output=tmp_path / "m", options=options, run=Run(shared_cache, jobs=1)).folder)
    evaluation = evaluate_model(
        [samples], model=model, output=tmp_path / "e", labels=LabelOptions(), run=Run(shared_cache, jobs=1)
    )
    assert evaluation.metrics["leakage"]["identical_audio"] == 16


def test_no_fold_trains_on_a_copy_of_what_it_tests(
    samples: Path, copies: Path, shared_cache: Cache, tmp_path: Path, tensorflow: None
) -> None:
    options = cross_validation("random-kfold:4")
    evaluation = cross_validate(
        [samples, copies], output=tmp_path / "e", options=options, run=Run(shared_cache, jobs=1)
    )
    assert evaluation.metrics["n"] == 8
    assert evaluation.metrics["leakage"]["identical_audio"] == 0
    assert stamp(evaluation.facts).startswith("Speaker-dependent")


def test_the_validation_part_is_drawn_as_the_test_part_is(
    crossed: tuple[Evaluation, list[Fold]], samples: Path, shared_cache: Cache, tmp_path: Path, tensorflow: None
) -> None:
    options = cross_validation("random-kfold:2")
    random = cross_validate([samples], output=tmp_path / "e", options=options, run=Run(shared_cache, jobs=1))
    for metrics, drawn in ((crossed[0].metrics, "whole speakers"), (random.metrics, AT_RANDOM)):
        assert {fold["validation"] for fold in metrics["per_fold"]} == {drawn}
        assert metrics["protocol"]["validation"].endswith(f"temperature: {drawn}")


def test_random_folds_are_stamped_speaker_dependent(of_model: Evaluation, samples: Path, shared_cache: Cache) -> None:
    from serctl.corpora import load_corpora, make_protocol
    from serctl.learning.leakage import fold_leakage

    options = cross_validation()
    from serctl.learning.dataset import load_dataset

    dataset = load_dataset(
        [samples], labels=options.labels, config=options.features, augmentation=None, run=Run(shared_cache, jobs=1)
    )
    protocol = make_protocol("random-kfold:4", dataset.utterances, seed=0)
    leakage = fold_leakage(dataset, protocol, [])
    assert leakage.speakers_shared >= 1
    assert stamp(replace(of_model.facts, leakage=leakage)).startswith("Speaker-dependent")
    assert len(load_corpora([samples])) == 1


@pytest.mark.parametrize("protocol", ["loso", "split", "emobox-ravdess-6", "leave-one-corpus-out"])
def test_corpora_that_do_not_suffice_are_refused_before_any_audio_is_read(
    tmp_path: Path, shared_cache: Cache, protocol: str
) -> None:
    for name in ("happy/a.wav", "happy/b.wav", "sad/c.wav", "sad/d.wav"):
        (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "corpus" / name).write_text("no audio")
    options = cross_validation(protocol)
    with pytest.raises(CorpusError, match=r"needs|is for RAVDESS alone"):
        cross_validate([tmp_path / "corpus"], output=tmp_path / "e", options=options, run=Run(shared_cache, jobs=1))


def test_a_corpus_is_left_out_and_answers_are_chosen_among_the_classes_it_shares(
    samples: Path, shared_cache: Cache, tmp_path: Path, tensorflow: None
) -> None:
    rows = (samples / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]
    first = [row for row in rows if row.startswith(("emma", "tom"))]
    second = [row for row in rows if row.startswith(("jana", "marek")) and ",sad," not in row]
    for name, kept in (("one", first), ("two", second)):
        lines = [f"{samples}/{row}" for row in kept]
        (tmp_path / f"{name}.csv").write_text(
            "\n".join(["path,emotion,speaker,gender,language,text", *lines]), encoding="utf-8"
        )
    evaluation = cross_validate(
        [tmp_path / "one.csv", tmp_path / "two.csv"],
        output=tmp_path / "e",
        options=cross_validation("leave-one-corpus-out", labels=LabelOptions()),
        run=Run(shared_cache, jobs=1),
    )
    predictions = pd.read_parquet(tmp_path / "e" / "predictions.parquet")
    assert set(predictions["fold"]) == {"one", "two"}
    assert set(predictions["emotion"]) == {"angry", "happy", "neutral"}
    assert (predictions["p_sad"] == 0).all()
    probabilities = predictions[[column for column in predictions if column.startswith("p_")]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert evaluation.metrics["protocol"]["name"] == "leave-one-corpus-out"


def test_options_that_cannot_be_used_are_refused(samples: Path, tmp_path: Path, shared_cache: Cache) -> None:
    with pytest.raises(ConfigError, match="no architecture"):
        CrossValidation(architecture="perceptron")
    with pytest.raises(ConfigError, match="expected validation_share at least"):
        CrossValidation(validation_share=0.0)
    with pytest.raises(CorpusError, match="unknown protocol 'magic'"):
        cross_validate(
            [samples], output=tmp_path / "e", options=cross_validation("magic"), run=Run(shared_cache, jobs=1)
        )
    assert not list(tmp_path.glob("e*"))
