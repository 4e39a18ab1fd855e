from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from serctl.audio.file import RecordingFile
from serctl.cli import app
from serctl.cli.augment import parse_range
from serctl.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from click.testing import Result

RATE = 8000


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("happy/a", "sad/b", "sad/c"):
        path = tmp_path / "corpus" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(RATE // 4), RATE)
    return tmp_path / "corpus"


def run(corpus: Path, *arguments: object) -> Result:
    output = corpus.parent / "out"
    command = ["augment", str(corpus), "-o", str(output), *map(str, arguments)]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def rows(corpus: Path) -> list[dict[str, str]]:
    with (corpus.parent / "out" / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(
    ("arguments", "transforms"),
    [
        (["--speed", "0.9:1.1"], "speed"),
        (["--noise-snr", "-5:20"], "noise"),
        (["--masks", 1], "spectral_mask"),
        (["--mask-width", 0.1], "spectral_mask"),
        (["--mask-time", 0.1, "--speed", "1:1"], "speed+spectral_mask"),
        (["--vocal-tract", "0.9:1.1"], "vocal_tract"),
        (["--room", "0.3:0.3"], "room"),
        (["--level", "-20:-10"], "level"),
        (["--telephone"], "telephone"),
        (["--codec", "16:24", "--telephone", "--noise-snr", "5:5", "--speed", "1:1"], "speed+noise+telephone+codec"),
        ([], "speed+noise+spectral_mask"),
    ],
)
def test_a_transform_is_on_when_one_of_its_options_is_given(
    corpus: Path, arguments: list[object], transforms: str
) -> None:
    assert run(corpus, "--jobs", 1, *arguments).exit_code == 0
    assert {row["transforms"] for row in rows(corpus)} == {transforms}
    for row in rows(corpus):
        with RecordingFile(Path(row["source"])) as source:
            assert row["source_digest"] == source.digest()


def test_the_options_reach_the_copies(corpus: Path) -> None:
    noise = corpus.parent / "noise"
    noise.mkdir()
    soundfile.write(noise / "rain.wav", np.random.default_rng(1).standard_normal(RATE) / 10, RATE)
    arguments = ["--copies", 2, "--speed", "0.5:0.5", "--noise-snr", "7:7", "--noise-dir", noise, "--seed", 9]
    assert run(corpus, *arguments, "--include-originals", "--quiet").exit_code == 0
    copies = [row for row in rows(corpus) if row["copy"] != "0"]
    assert (len(copies), len(rows(corpus))) == (6, 9)
    for row in copies:
        parameters = json.loads(row["parameters"])
        assert (parameters["speed_factor"], parameters["noise_snr_db"]) == (0.5, 7)
        assert parameters["noise_source"] == str(noise / "rain.wav")
        assert row["seed"] == "9"


def test_noise_from_a_folder_needs_no_range(corpus: Path) -> None:
    assert run(corpus, "--noise-dir", corpus / "sad").exit_code == 0
    levels = [json.loads(row["parameters"])["noise_snr_db"] for row in rows(corpus)]
    assert all(10 <= level <= 20 for level in levels)


def test_voices_in_the_background_come_from_a_folder(corpus: Path) -> None:
    assert run(corpus, "--babble-dir", corpus / "sad", "--babble-snr", "6:6").exit_code == 0
    assert {row["transforms"] for row in rows(corpus)} == {"babble"}
    assert {json.loads(row["parameters"])["babble_snr_db"] for row in rows(corpus)} == {6}


def test_an_snr_of_voices_without_their_folder_is_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError, match="--babble-dir"):
        run(corpus, "--babble-snr", "6:6")


def test_a_damaged_recording_of_voices_is_named_before_any_copy(corpus: Path) -> None:
    voices = corpus.parent / "voices"
    voices.mkdir()
    (voices / "broken.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"broken\.wav"):
        run(corpus, "--babble-dir", voices)
    assert not list((corpus.parent / "out").glob("*.wav"))


def test_the_summary_and_the_exit_code_tell_what_happened(corpus: Path) -> None:
    (corpus / "sad" / "c.wav").write_text("no audio")
    lines = ("path,emotion,split", "happy/a.wav,happy,train", "sad/b.wav,sad,test", "sad/c.wav,sad,", "d.wav,sad,")
    (corpus / "manifest.csv").write_text("\n".join(lines))
    summary = corpus.parent / "summary.json"
    result = run(corpus, "--speed", "1:1", "--summary-json", summary)
    assert result.exit_code == 3
    assert "left alone: 1 utterance marked test" in result.stderr
    assert "passed over: 1 problem in the corpora" in result.stderr
    assert "Augmented 1 of 2 recordings" in result.stderr
    assert "is not audio that can be read" in result.stderr
    assert result.stdout == ""
    assert json.loads(summary.read_text())["test_utterances"] == 1


def test_nothing_succeeded_is_exit_code_4(corpus: Path) -> None:
    for path in corpus.rglob("*.wav"):
        path.write_text("no audio")
    assert run(corpus, "--speed", "1:1", "--quiet").exit_code == 4


def test_ranges_are_two_numbers() -> None:
    assert parse_range("0.9:1.1", "--speed") == (0.9, 1.1)
    assert parse_range("-5:+5e0", "--noise-snr") == (-5, 5)


@pytest.mark.parametrize("text", ["", "1", "1-2", "a:b", "1:", ":2", "1:2:3", "0,9:1,1"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected --speed LOW:HIGH"):
        parse_range(text, "--speed")


@pytest.mark.parametrize("arguments", [["--speed", "1.1:0.9"], ["--noise-snr", "20:10"], ["--speed", "0:1"]])
def test_ranges_out_of_order_or_bounds_are_refused(corpus: Path, arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="low <= high"):
        run(corpus, *arguments)
    assert not (corpus.parent / "out").exists()
