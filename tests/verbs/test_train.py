from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.errors import ConfigError, CorpusError, Remedy
from serctl.features import encoder_parameters
from serctl.learning.checkpoints import open_checkpoints
from serctl.learning.options import LabelOptions
from serctl.run import Run
from serctl.verbs.train import TrainOptions, train

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.learning.fit import EpochScores
    from serctl.verbs.train import TrainResult

pytestmark = pytest.mark.usefixtures("tensorflow")


def test_the_bundle_says_what_it_is_and_where_it_comes_from(tiny_bundle: Bundle) -> None:
    facts = tiny_bundle.facts
    assert (facts.name, facts.architecture, facts.licence) == ("tiny", "hybrid", "CC0-1.0")
    assert facts.labels == ("angry", "happy", "neutral", "sad")
    assert facts.parameters == sum(each.size for each in tiny_bundle.weights()) + encoder_parameters(facts.features)
    assert facts.parameters < 1_000_000
    assert facts.training.utterances == 16
    assert facts.training.command == "serctl train sample_audio"
    assert facts.training.seed == 3
    assert facts.training.corpora[0].speakers == 4
    assert {"serctl", "tensorflow", "keras", "numpy"} <= set(facts.packages)
    assert facts.metrics["validation"].protocol.speaker_independent
    assert facts.temperature > 0
    files = {path.name for path in tiny_bundle.folder.iterdir()}
    assert {"model.tflite", "normaliser.npz", "bundle.json", "training.csv", "README.md", "history.csv"} <= files
    assert {"history.png", "confusion.png"} <= files
    assert "CC0-1.0" in (tiny_bundle.folder / "README.md").read_text()


def test_validation_holds_out_whole_speakers(tiny_bundle: Bundle) -> None:
    entries = tiny_bundle.training_list()
    speakers = {part: {entry.speaker for entry in entries if entry.part == part} for part in ("train", "validation")}
    assert len(entries) == 16
    assert len(speakers["validation"]) == 1
    assert not speakers["train"] & speakers["validation"]


def test_the_history_has_a_row_for_every_epoch(tiny_bundle: Bundle) -> None:
    with (tiny_bundle.folder / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(row["loss"])) and 0 <= float(row["val_uar"]) <= 1 for row in rows)


def test_nothing_else_is_left_behind(tiny_bundle: Bundle) -> None:
    assert [path.name for path in tiny_bundle.folder.parent.iterdir()] == ["tiny"]


def test_an_interrupted_training_goes_on_and_ends_like_an_uninterrupted_one(
    tiny_bundle: Bundle,
    tiny_options: TrainOptions,
    samples: Path,
    shared_cache: Cache,
    tmp_path: Path,
) -> None:
    def stop(scores: EpochScores) -> None:
        raise KeyboardInterrupt

    def run(options: TrainOptions = tiny_options, *, resume: bool = False, **more: Any) -> TrainResult:
        how = Run(shared_cache, jobs=1, resume=resume)
        return train([samples], output=tmp_path / "m", options=options, run=how, **more)

    with pytest.raises(KeyboardInterrupt):
        run(on_epoch=stop)
    assert not (tmp_path / "m").exists()
    with pytest.raises(ConfigError, match=r"an interrupted run left .*m\.partial") as raised:
        run()
    assert raised.value.remedies == (Remedy.RESUME, Remedy.RESTART)
    with pytest.raises(ConfigError, match="belongs to a run with other data, options or another version"):
        run(replace(tiny_options, fit=replace(tiny_options.fit, seed=4)), resume=True)
    told: list[EpochScores] = []
    result = run(resume=True, on_epoch=told.append)
    assert [scores.epoch for scores in told] == [2]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("m")] == ["m"]
    first, whole = ((folder / "history.csv").read_text().splitlines() for folder in (result.folder, tiny_bundle.folder))
    assert len(first) == len(whole) == 3
    assert float(first[1].split(",")[1]) == pytest.approx(float(whole[1].split(",")[1]), rel=1e-4)


def test_corpora_that_do_not_suffice_are_refused(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    def run(path: Path, labels: LabelOptions | None = None) -> None:
        options = TrainOptions("mfcc", labels=labels or LabelOptions())
        train([path], output=tmp_path / "m", options=options, run=Run(shared_cache, jobs=1))

    with pytest.raises(CorpusError, match="at least two emotions"):
        run(samples, LabelOptions(classes=("sad",)))
    (tmp_path / "m.csv").write_text(
        "path,emotion\n"
        + "".join(f"{samples}/{name}.flac,{name.split('-')[1]}\n" for name in ("emma-sad", "tom-sad", "tom-happy"))
    )
    with pytest.raises(CorpusError, match=r"too few of happy \(1\)"):
        run(tmp_path / "m.csv")
    assert not list(tmp_path.glob("m*partial"))


def test_an_output_that_exists_is_kept(samples: Path, tiny_options: TrainOptions, tiny_bundle: Bundle) -> None:
    before = (tiny_bundle.folder / "bundle.json").read_bytes()
    with pytest.raises(ConfigError, match="already exists") as raised:
        train([samples], output=tiny_bundle.folder, options=tiny_options)
    assert raised.value.remedies == (Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    assert (tiny_bundle.folder / "bundle.json").read_bytes() == before


def test_the_scores_of_another_architecture_are_not_quoted(samples: Path, tmp_path: Path) -> None:
    options = TrainOptions(architecture="mfcc", evaluation=tmp_path)
    with pytest.raises(ConfigError, match=r"is no evaluation: metrics\.json"):
        train([samples], output=tmp_path / "m", options=options)
    facts = {"architecture": "cnn", "protocol": {"name": "loso", "description": ""}, "intervals": {}}
    (tmp_path / "metrics.json").write_text(json.dumps({**facts, "n": 2, "uar": 1, "wa": 1, "macro_f1": 1, "ece": 0}))
    with pytest.raises(ConfigError, match=r"expected the architecture mfcc\. Received: cnn"):
        train([samples], output=tmp_path / "m", options=options)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="perceptron: expected one of speech-attention, speech, hybrid"):
        TrainOptions(architecture="perceptron")
    with pytest.raises(ConfigError, match=r"at least 0\.02 and at most 0\.5\. Received: 0\.9"):
        TrainOptions(validation_share=0.9)


def test_checkpoints_of_another_run_are_kept_apart(tmp_path: Path) -> None:
    folder = open_checkpoints(tmp_path / "work", "one", resume=False, overwrite=False)
    (folder / "state.json").write_text(json.dumps({}))
    assert open_checkpoints(folder, "one", resume=True, overwrite=False) == folder
    assert (folder / "state.json").exists()
    open_checkpoints(folder, "two", resume=False, overwrite=True)
    assert not (folder / "state.json").exists()
    assert open_checkpoints(tmp_path / "none", "one", resume=True, overwrite=False).is_dir()
