from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from serctl.bundle import load_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.cache import Cache

SMALL = ("--epochs", "1", "--batch-size", "4", "--copies", "0", "--classes", "happy,sad", "--jobs", "1", "--seed", "2")


@pytest.mark.usefixtures("tensorflow")
def test_a_corpus_becomes_a_model_that_predict_runs(
    serctl: Any, samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    options = ("--map", "angry=happy", "--name", "moods", "--licence", "CC0-1.0", "--cache-dir", shared_cache.folder)
    result = serctl("train", samples, "-o", tmp_path / "m", *SMALL, *options)
    assert (result.code, result.stdout) == (0, "")
    assert "epoch   1/1" in result.stderr
    assert "Trained hybrid" in result.stderr
    assert f"serctl predict RECORDINGS --model {tmp_path / 'm'}" in result.stderr
    facts = load_bundle(tmp_path / "m").facts
    assert (facts.name, facts.licence, facts.labels) == ("moods", "CC0-1.0", ("happy", "sad"))
    assert facts.training["command"].startswith(f"serctl train {samples} -o {tmp_path / 'm'} --epochs 1")
    assert facts.training["fit"]["seed"] == 2
    assert serctl("predict", samples / "tom-sad.flac", "-m", tmp_path / "m", "-q", "--jobs", 1).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "perceptron"], "no architecture perceptron: expected one of hybrid"),
        (["--classes", "happy,angst"], "expected an emotion of the vocabulary, came angst"),
        (["--map", "calm"], "--map: expected FROM=TO, e.g. calm=neutral, came calm"),
        (["--speed", "fast"], "expected --speed LOW:HIGH"),
        (["--classes", "sad"], "at least two emotions"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "0"], "expected lr above 0"),
        (["--validation-share", "0.9"], "--validation-share"),
    ],
)
@pytest.mark.usefixtures("tensorflow")
def test_wrong_usage_is_exit_code_2(
    serctl: Any, samples: Path, shared_cache: Cache, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = serctl("train", samples, "-o", tmp_path / "m", "--cache-dir", shared_cache.folder, *arguments, "--jobs", 1)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not list(tmp_path.glob("m*"))


@pytest.mark.usefixtures("tensorflow")
def test_a_path_without_a_corpus_is_exit_code_2(serctl: Any, tmp_path: Path) -> None:
    result = serctl("train", tmp_path / "nowhere", "-o", tmp_path / "m")
    assert (result.code, "nowhere: no such folder or manifest" in result.stderr) == (2, True)


def test_ctrl_c_says_what_is_kept(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    output = tmp_path / "m"
    options = (*SMALL, "--epochs", "500", "--patience", "500", "--cache-dir", str(shared_cache.folder))
    command = [sys.executable, "-m", "serctl", "train", str(samples), "-o", str(output), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "epoch" in line)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
    assert "1/500" in line
    assert running.returncode == 130
    assert f"interrupted: {output}.partial keeps the finished epochs, and --resume goes on from there" in rest
    assert "Traceback" not in rest
    assert not output.exists()
