"""A numeric target from manifest to report: trained, predicted, evaluated, exported."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import soundfile

from serctl import load_model
from serctl.audio.find import find_recordings
from serctl.bundle.store import load_bundle
from serctl.errors import ConfigError, CorpusError
from serctl.learning.options import Augmentation, FitOptions, LabelOptions
from serctl.metrics.evaluation import NumberEvaluationFacts
from serctl.run import Run
from serctl.verbs.compare import compare_models
from serctl.verbs.evaluate import evaluate_model
from serctl.verbs.export import export
from serctl.verbs.options import PredictOptions
from serctl.verbs.predict import predict
from serctl.verbs.train import TrainOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from tests.conftest import MadeOnce, Serctl

pytestmark = pytest.mark.usefixtures("tensorflow")

AROUSAL = {"angry": 0.9, "happy": 0.6, "neutral": 0.0, "sad": -0.7}
LABELS = LabelOptions(target="arousal")
FIT = FitOptions(epochs=1, batch_size=4)


@pytest.fixture(scope="session")
def numbered(samples: Path, shared_folder: Path) -> Path:
    """A manifest of the sample recordings with numbers and without emotions."""
    with (samples / "manifest.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    path = shared_folder / "numbered.csv"
    text = "path,Arousal,speaker\n" + "".join(
        f"{samples / row['path']},{AROUSAL[row['emotion']]},{row['speaker']}\n" for row in rows
    )
    draft = path.with_suffix(f".{id(rows)}")
    draft.write_text(text)
    return draft.replace(path)


def options(**others: Any) -> TrainOptions:
    return TrainOptions(
        **{
            "architecture": "mfcc",
            "labels": LABELS,
            "fit": FIT,
            "augmentation": Augmentation(copies=0),
            "validation_share": 0.25,
            **others,
        }
    )


@pytest.fixture(scope="session")
def model(numbered: Path, shared_cache: Cache, made_once: MadeOnce, tensorflow: None) -> Bundle:
    def make(folder: Path) -> None:
        train([numbered], output=folder, options=options(), run=Run(shared_cache, jobs=1))

    return load_bundle(made_once("arousal", make))


@pytest.fixture
def table(model: Bundle, samples: Path, shared_cache: Cache) -> Callable[..., list[dict[str, Any]]]:
    def run(**others: Any) -> list[dict[str, Any]]:
        tables: list[dict[str, Any]] = []
        recordings = find_recordings([samples])[:3]
        chosen = PredictOptions(**others)
        predict(recordings, model=model, options=chosen, on_table=tables.append, run=Run(shared_cache, jobs=1))
        return tables

    return run


def test_the_bundle_says_its_scale_and_scores(model: Bundle) -> None:
    target = model.facts.target
    assert target is not None
    assert (target.scale.name, target.scale.low, target.scale.high) == ("arousal", -0.7, 0.9)
    assert (model.facts.labels, model.facts.metrics) == ((), {})
    assert set(target.metrics["validation"].intervals) == {"mae", "ccc", "pearson"}
    assert {entry.emotion for entry in model.training_list()} == {"0.9", "0.6", "0", "-0.7"}
    card = (model.folder / "README.md").read_text()
    assert "the number arousal, from -0.7 to 0.9" in card
    assert "MAE" in card
    assert "UAR" not in card
    assert (model.folder / "numbers.png").exists()
    assert (model.folder / "history.csv").read_text().startswith("epoch,loss,val_loss,val_ccc")


def test_a_prediction_is_a_column_of_the_target(
    model: Bundle, numbered: Path, serctl: Serctl, samples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "found.csv"
    assert serctl("predict", samples, "--model", model.folder, "-o", output, "--jobs", 1).code == 0
    found = pd.read_csv(output)
    assert not {"emotion", "confidence"} & set(found.columns)
    assert not [name for name in found.columns if name.startswith("p_")]
    assert found["arousal"].between(-0.7, 0.9).all()
    recording = str(samples / "emma-sad.flac")
    expected = found.set_index("path")["arousal"][recording]
    assert load_model(model.folder).predict(recording).value == pytest.approx(expected, abs=1e-4)


def test_windows_have_numbers_too(table: Callable[..., list[dict[str, Any]]]) -> None:
    assert all(len(each["arousal"]) == len(each["start"]) for each in table(per="window", window_s=1.0))


@pytest.mark.parametrize(
    "asked",
    [
        {"min_confidence": 0.5},
        {"per": "segment"},
        {"moments": True},
        {"dimensions": True},
        {"adapt": "auto"},
        {"transcripts": "x", "explain_modalities": True},
    ],
)
def test_what_only_emotions_have_is_refused(table: Callable[..., list[dict[str, Any]]], asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="arousal, a number"):
        table(**asked)


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "{samples}", "-o", "{folder}/labels.srt"),
        ("stream", "{samples}/emma-sad.flac"),
    ],
)
def test_commands_about_emotions_refuse_a_model_of_numbers(
    model: Bundle, samples: Path, tmp_path: Path, serctl: Serctl, command: tuple[str, ...]
) -> None:
    arguments = [each.format(samples=samples, folder=tmp_path) for each in command]
    ended = serctl(*arguments, "--model", model.folder)
    assert ended.code == 2
    assert "needs a model of emotions" in ended.stderr


def test_a_number_is_explained(model: Bundle, samples: Path, tmp_path: Path, serctl: Serctl) -> None:
    voice, rate = soundfile.read(samples / "emma-sad.flac", frames=18_000)
    soundfile.write(tmp_path / "voice.wav", voice, rate)
    common = ("explain", tmp_path / "voice.wav", "--model", model.folder, "--no-cache", "-j", 1)

    (found,) = json.loads(serctl(*common).stdout)["explanations"]

    assert found["confidence"] == pytest.approx(load_model(model.folder).predict(tmp_path / "voice.wav").value)
    assert (found["answer"], found["scale"]["low"], found["scale"]["high"]) == ("arousal", -0.7, 0.9)
    here, by_group = found["probabilities"]["arousal"], found["contributions"]
    assert sum(found["importance"]) == pytest.approx(here - found["hidden_probability"], abs=1e-5)
    total = sum(each["points"] for each in by_group["groups"])
    assert total == pytest.approx(here - by_group["reference"], abs=1e-5)
    assert serctl(*common, "-o", tmp_path / "why.html").code == 0
    assert "The answer to the whole recording is arousal" in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_a_page_shows_numbers_by_their_range(model: Bundle, samples: Path, tmp_path: Path, serctl: Serctl) -> None:
    page, table = tmp_path / "page.html", tmp_path / "arousal.csv"
    for output, more in ((page, ()), (table, ("--per", "window"))):
        assert serctl("predict", samples, "--model", model.folder, "-o", output, "-q", *more).code == 0
    assert serctl("report", table, "-o", tmp_path / "later.html").code == 0
    for made in (page, tmp_path / "later.html"):
        text = made.read_text()
        assert "<h1>Arousal in 16 recordings</h1>" in text
        assert "A confidence of 70 %" not in text
        assert "probabilities" not in text
    # The scale of the model, which the numbers of a table do not tell.
    assert "-0.70 to -0.38" in page.read_text()


def test_a_model_without_a_correlation_is_read_again(model: Bundle) -> None:
    part = replace(model.facts.target.metrics["validation"], pearson=None)
    facts = replace(model.facts, target=replace(model.facts.target, metrics={"validation": part}))
    assert type(facts).from_dict(json.loads(json.dumps(facts.to_dict())), where="m") == facts


def test_a_model_is_scored_on_its_target(model: Bundle, numbered: Path, shared_cache: Cache, tmp_path: Path) -> None:
    run = Run(shared_cache, jobs=1)
    found = evaluate_model([numbered], model=model, output=tmp_path / "e", labels=LabelOptions(), run=run)
    rows = pd.read_parquet(found.folder / "predictions.parquet")
    metrics = json.loads((found.folder / "metrics.json").read_text())
    assert set(metrics) == NumberEvaluationFacts.__dataclass_fields__.keys()
    assert metrics["mae"] == pytest.approx((rows["truth"] - rows["predicted"]).abs().mean())
    assert metrics["intervals"]["ccc"]["unit"] == "speaker"
    assert (metrics["n"], metrics["target"], metrics["leakage"]["identical_audio"]) == (16, "arousal", 16)
    assert set(metrics["per_speaker"]["numbered/emma"]) == {"n", "mae", "ccc", "pearson"}
    assert "uar" not in metrics
    for name, title in (("report.md", "# arousal by {} on numbered\n"), ("report.html", "<h1>{} on numbered</h1>")):
        report = (found.folder / name).read_text()
        assert "Concordance" in report
        assert title.format(f"{model.identity} (mfcc)") in report
    with pytest.raises(ConfigError, match="predicts arousal"):
        evaluate_model([numbered], model=model, output=tmp_path / "f", labels=LabelOptions(("sad",)), run=run)


def test_models_of_the_same_number_are_compared(
    model: Bundle, mfcc_bundle: Bundle, numbered: Path, shared_cache: Cache
) -> None:
    run = Run(shared_cache, jobs=1)
    (found,) = compare_models([model, model], [numbered], run=run)
    assert (found.numbers, found.utterances, found.scores["mae"].difference) == (True, 16, 0)
    with pytest.raises(ConfigError, match=r"models of the same\. Received: .*arousal"):
        compare_models([model, mfcc_bundle], [numbered], run=run)


def test_an_architecture_is_cross_validated_on_a_target(
    numbered: Path, serctl: Serctl, shared_cache: Cache, tmp_path: Path
) -> None:
    protocol = ("--protocol", "speaker-kfold:2", "--arch", "mfcc", "--target", "arousal")
    quick = ("--epochs", 1, "--copies", 0, "--jobs", 1, "--cache-dir", shared_cache.folder)
    ended = serctl("evaluate", numbered, "-o", tmp_path / "e", *protocol, *quick)
    assert ended.code == 0, ended.stderr
    assert "Concordance (CCC)" in ended.stderr
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    folds = metrics["per_fold"]
    assert metrics["n"] == sum(fold["n_test"] for fold in folds) == 16
    assert all({"mae", "ccc", "pearson", "validation_ccc"} <= fold.keys() for fold in folds)
    assert metrics["protocol"]["speaker_independent"]


def test_an_export_says_the_same_numbers(model: Bundle, samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    from serctl.export.options import ExportOptions

    chosen = ExportOptions(quantize="float16", verify=samples)
    made = export(model, output=tmp_path / "x", options=chosen, run=Run(shared_cache, jobs=1))
    assert made.parity.equal_labels == 1
    assert load_bundle(tmp_path / "x").facts.target == model.facts.target


def test_training_goes_on_from_a_model_of_the_same_numbers(
    model: Bundle, numbered: Path, serctl: Serctl, shared_cache: Cache, tmp_path: Path
) -> None:
    quick = ("--epochs", 1, "--copies", 0, "--jobs", 1, "--cache-dir", shared_cache.folder)
    ended = serctl("train", numbered, "-o", tmp_path / "m", "--from", model.folder, "--target", "arousal", *quick)
    assert ended.code == 0, ended.stderr
    assert "MAE on the held-out part" in ended.stderr
    made = load_bundle(tmp_path / "m")
    assert made.facts.target is not None
    assert made.facts.target.scale == model.facts.target.scale  # type: ignore[union-attr]


def test_targets_that_cannot_be_learned_are_refused(
    samples: Path, model: Bundle, numbered: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    def run(path: Path, **others: Any) -> None:
        train([path], output=tmp_path / "m", options=options(**others), run=Run(shared_cache, jobs=1))

    with pytest.raises(CorpusError, match="lacks valence, has arousal"):
        run(numbered, labels=LabelOptions(target="valence"))
    with pytest.raises(ConfigError, match="reports have a column start of their own"):
        run(numbered, labels=LabelOptions(target="start"))
    with pytest.raises(ConfigError, match="teachers answer emotions"):
        run(numbered, teachers=(model,))
    with pytest.raises(ConfigError, match="expected no emotions to choose"):
        LabelOptions(classes=("sad",), target="arousal")
    folder = tmp_path / "ravdess"
    folder.mkdir()
    (folder / "03-01-01-01-01-01-01.wav").write_bytes((samples / "emma-neutral.flac").read_bytes())
    with pytest.raises(CorpusError, match="expected a manifest with a column arousal"):
        run(folder)
    bad = tmp_path / "bad.csv"
    first, *others = numbered.read_text().splitlines()
    bad.write_text("\n".join([first, *(line.replace("0.9", "high").replace(",0.6", ",0.5") for line in others)]))
    result = train([bad], output=tmp_path / "m", options=options(), run=Run(shared_cache, jobs=1))
    assert sum("expected a number" in problem for problem in result.dataset.problems) == 4
    bad.write_text("\n".join([first, *(",0.5,".join(line.split(",")[::2]) for line in others)]))
    with pytest.raises(CorpusError, match="two different numbers of arousal"):
        train([bad], output=tmp_path / "n", options=options(), run=Run(shared_cache, jobs=1))
