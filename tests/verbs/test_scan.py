from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import soundfile

from serctl.corpora import ReadOptions, load_corpus
from serctl.errors import ConfigError, CorpusError, Remedy
from serctl.run import Run
from serctl.transforms.noise import Noise
from serctl.verbs.augment import AugmentOptions, augment
from serctl.verbs.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Serctl = Callable[..., Any]

    from click.testing import Result

RATE = 8000


def record(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE))
    soundfile.write(path, 0.05 * samples * (np.arange(len(samples)) // 2_000 % 2 == 0), RATE)


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    for number, name in enumerate(("03-01-06-01-02-01-12", "03-01-05-01-02-01-12", "03-01-05-01-02-01-01"), start=1):
        record(tmp_path / "ravdess" / f"{name}.wav", number)
    return tmp_path / "ravdess"


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    record(tmp_path / "odd" / "happy" / 'żółć, "quoted"\nsecond line.wav', 1)
    record(tmp_path / "odd" / "sad" / " leading space.wav", 1)
    return tmp_path / "odd"


def test_a_corpus_is_counted(ravdess: Path) -> None:
    (report,) = scan([ravdess], output=None).corpora
    assert (report.name, report.root, report.utterances, report.speakers) == ("ravdess", ravdess, 3, 2)
    assert report.hours == pytest.approx(6 / 3600)
    assert report.emotions == {"angry": 2, "fearful": 1}
    assert report.genders == {"female": 2, "male": 1}
    assert report.languages == {"en": 3}
    assert report.licence == "CC BY-NC-SA 4.0"
    assert report.citation
    assert report.problems == ()


def test_hours_count_the_labelled_parts(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 10)
    (tmp_path / "manifest.csv").write_text("path,emotion,start,end\na.wav,sad,1,3\na.wav,happy,8,99\n")
    (report,) = scan([tmp_path], output=None).corpora
    assert report.hours == pytest.approx(4 / 3600)


def test_an_unreadable_recording_is_a_problem_and_stays_in_the_manifest(ravdess: Path, tmp_path: Path) -> None:
    (ravdess / "03-01-05-01-02-01-01.wav").write_text("no audio")
    result = scan([ravdess], output=tmp_path / "m.csv")
    (problem,) = result.corpora[0].problems
    assert "03-01-05-01-02-01-01.wav' is not audio that can be read" in problem
    durations = pd.read_csv(tmp_path / "m.csv", index_col="path")["duration"]
    assert durations.isna().to_dict() == {
        "ravdess/03-01-05-01-02-01-01.wav": True,
        "ravdess/03-01-05-01-02-01-12.wav": False,
        "ravdess/03-01-06-01-02-01-12.wav": False,
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_loads_as_the_same_utterances(tmp_path: Path, ravdess: Path, odd_names: Path, suffix: str) -> None:
    record(tmp_path / "parts" / "long.wav", 5)
    (tmp_path / "parts" / "manifest.csv").write_text(
        "path,emotion,speaker,start,end,split,text\nlong.wav,sad,x,0,1.25,train,\nlong.wav,angry,x,1.25,,test,Hm.\n"
    )
    corpora = [ravdess, odd_names, tmp_path / "parts"]
    output = tmp_path / f"all{suffix}"
    scan(corpora, output=output)
    expected = [utterance for corpus in corpora for utterance in load_corpus(corpus).utterances]
    loaded = load_corpus(output)
    assert loaded.problems == ()
    assert set(loaded.utterances) == set(expected)
    assert len(loaded.utterances) == len(expected)


def test_paths_are_relative_below_the_manifest_and_absolute_elsewhere(tmp_path: Path, ravdess: Path) -> None:
    for output, prefix in ((tmp_path / "m.csv", "ravdess/"), (tmp_path / "new" / "m.csv", f"{ravdess}/")):
        scan([ravdess], output=output)
        assert all(path.startswith(f"{prefix}03-01-") for path in pd.read_csv(output)["path"])


def test_relative_input_and_output_find_each_other(
    ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ravdess)
    scan([Path()], output=Path("../m.csv"))
    utterances = load_corpus(tmp_path / "m.csv").utterances
    assert {utterance.path.resolve() for utterance in utterances} == set(ravdess.glob("*.wav"))


def test_a_joint_manifest_is_reported_by_corpus(tmp_path: Path, ravdess: Path, odd_names: Path) -> None:
    scan([ravdess, odd_names], output=tmp_path / "m.csv")
    reports = scan([tmp_path / "m.csv"], output=None).corpora
    assert {report.name: (report.utterances, report.licence) for report in reports} == {
        "odd": (2, None),
        "ravdess": (3, "CC BY-NC-SA 4.0"),
    }


def test_an_existing_manifest_is_replaced_only_on_demand(tmp_path: Path, ravdess: Path) -> None:
    output = tmp_path / "m.csv"
    output.write_text("precious")
    with pytest.raises(ConfigError, match=r"m\.csv exists") as raised:
        scan([ravdess], output=output)
    assert raised.value.remedies == (Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    assert output.read_text() == "precious"
    scan([ravdess], output=output, run=Run(overwrite=True))
    assert len(load_corpus(output).utterances) == 3


def test_another_format_is_refused(tmp_path: Path, ravdess: Path) -> None:
    with pytest.raises(ConfigError, match=r"m.txt: expected a manifest named \*.csv or \*.parquet"):
        scan([ravdess], output=tmp_path / "m.txt")


def test_a_recording_is_read_to_its_end_as_prediction_reads_it(tmp_path: Path) -> None:
    record(tmp_path / "happy" / "half.wav", 2)
    whole = (tmp_path / "happy" / "half.wav").read_bytes()
    (tmp_path / "happy" / "half.wav").write_bytes(whole[: len(whole) // 2])
    record(tmp_path / "sad" / "whole.flac", 2)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(tmp_path / "sad" / "damaged.flac", samples, RATE)
    damaged = (tmp_path / "sad" / "damaged.flac").read_bytes()
    (tmp_path / "sad" / "damaged.flac").write_bytes(damaged[: len(damaged) // 2])
    (report,) = scan([tmp_path]).corpora
    assert sorted(problem.partition("' ")[2].split(" ")[1] for problem in report.problems) == ["damaged", "truncated:"]
    assert report.hours == pytest.approx(2 / 3600)


def test_a_part_that_ends_beyond_its_recording_is_a_problem(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 2)
    rows = "a.wav,sad,0,1.5\na.wav,sad,1,2.005\na.wav,happy,1.5,2.5\n"
    (tmp_path / "manifest.csv").write_text(f"path,emotion,start,end\n{rows}")
    (problem,) = scan([tmp_path]).corpora[0].problems
    assert problem.endswith("a.wav: lasts 2.000 s: an utterance ends at 2.500 s, and is read up to the recording's end")


def test_a_recording_without_speech_is_a_problem(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 2)
    soundfile.write(tmp_path / "b.wav", np.random.default_rng(0).normal(0, 0.01, 4 * RATE), RATE)
    (tmp_path / "manifest.csv").write_text("path,emotion\na.wav,sad\nb.wav,happy\n")
    (problem,) = scan([tmp_path]).corpora[0].problems
    assert problem.endswith("b.wav' holds no speech")


def test_a_part_that_starts_beyond_its_recording_is_a_problem(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 2)
    (tmp_path / "manifest.csv").write_text("path,emotion,start,end\na.wav,sad,1,2\na.wav,happy,2,3\n")
    (problem,) = scan([tmp_path]).corpora[0].problems
    assert problem.endswith("a.wav: lasts 2.000 s: there is nothing to read from 2.000 s on")


def test_columns_and_labels_of_others_become_a_plain_manifest(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1)
    (tmp_path / "theirs.csv").write_text("recording;mood\na.wav;froh\n")
    options = ReadOptions(columns=(("path", "recording"), ("emotion", "mood")), labels=(("froh", "happy"),))
    scan([tmp_path / "theirs.csv"], output=tmp_path / "m.csv", options=options)
    assert load_corpus(tmp_path / "m.csv").utterances[0].emotion == "happy"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_of_augmented_copies_keeps_their_sources(tmp_path: Path, ravdess: Path, suffix: str) -> None:
    options = AugmentOptions(transforms=(Noise(),), include_originals=True)
    augment([ravdess], output=tmp_path / "augmented", options=options)
    (report,) = scan([tmp_path / "augmented"], output=tmp_path / f"m{suffix}").corpora
    assert (report.utterances, report.copies) == (6, 3)
    expected = load_corpus(tmp_path / "augmented").utterances
    assert all(utterance.source for utterance in expected)
    assert set(load_corpus(tmp_path / f"m{suffix}").utterances) == set(expected)


def test_parts_of_a_split_are_counted(tmp_path: Path) -> None:
    for name in ("train/sad/a.wav", "train/happy/b.wav", "test/sad/c.wav"):
        record(tmp_path / name, 0.1)
    assert scan([tmp_path]).corpora[0].splits == {"test": 1, "train": 2}


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run `serctl corpus ...`; errors come out as exceptions."""
    import typer
    from typer.testing import CliRunner

    from serctl.cli.corpus import corpus_app

    app = typer.Typer()
    app.add_typer(corpus_app)
    return lambda *arguments: CliRunner().invoke(app, ["corpus", *map(str, arguments)], catch_exceptions=False)


# typer 0.20, imported by the fixture, touches names that click 8.5 deprecates.
@pytest.mark.filterwarnings("ignore:'click.:DeprecationWarning")
def test_the_command_shows_everything_on_stdout(run: Callable[..., Result], ravdess: Path, tmp_path: Path) -> None:
    for number in range(12):
        (ravdess / f"[bold]{number}.wav").touch()
    for actor in range(1, 25):
        for emotion in (2, 3):
            record(ravdess / f"03-01-0{emotion}-01-01-01-{actor:02}.wav", 0.01)
    result = run("scan", ravdess, "-o", tmp_path / "m.csv", "-j", "1")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    for fact in ("51, 0.00 h", "24 (", "angry 2", "calm 24", "en 51", "CC BY-NC-SA 4.0", "doi:10.1371"):
        assert fact in shown
    assert "problems 12 " in shown
    assert "[bold]0.wav" in shown
    assert "[bold]11.wav" in shown
    assert "51 utterances written to" in result.stderr
    assert len(load_corpus(tmp_path / "m.csv").utterances) == 51


@pytest.mark.filterwarnings("ignore:'click.:DeprecationWarning")
def test_the_command_raises_what_main_reports(run: Callable[..., Result], tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        run("scan", tmp_path / "gone")


def test_the_command_survives_any_name_and_column(serctl: Serctl, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff corpus") / "sad" / os.fsdecode(b"J\xf6rg\x1b[31m.wav")
    odd.parent.mkdir(parents=True)
    record(tmp_path / "a.wav", 0.1)
    odd.write_bytes((tmp_path / "a.wav").read_bytes())
    odd.with_name("gone.wav").write_text("no audio")
    result = serctl("corpus", "scan", odd.parents[1], "-o", tmp_path / "m.csv", "-j", 1)
    assert result.code == 0
    assert "Traceback" not in result.stderr
    assert "\x1b[31m" not in result.stdout
    assert len(load_corpus(tmp_path / "m.csv").utterances) == 2
    refused = serctl("corpus", "scan", odd.parents[1], "-o", tmp_path / "m.parquet", "-j", 1)
    assert refused.code == 2
    assert "not valid UTF-8, which Parquet cannot hold" in refused.stderr
    pd.DataFrame({"path": ["a.wav"], "emotion": [["sad"]], "tags": [[1, 2]]}).to_parquet(tmp_path / "lists.parquet")
    listed = serctl("corpus", "scan", tmp_path / "lists.parquet", "-j", 1)
    assert listed.code == 2
    assert "no known emotion is called" in listed.stderr


def test_the_manifest_keeps_the_speaker_that_is_given(tmp_path: Path, ravdess: Path) -> None:
    scan([ravdess], output=tmp_path / "m.csv")
    first = load_corpus(ravdess).utterances[0]
    assert load_corpus(tmp_path / "m.csv").utterances[0] == replace(first, path=first.path)
