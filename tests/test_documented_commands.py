"""Every command of the README and every example of a help text runs as it stands there, on the sample recordings."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from serctl.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
SAMPLES, OTHERS = ROOT / "sample_audio", ROOT / "tests" / "samples"
PROGRAM: Any = typer.main.get_command(app)

NEED_MORE_THAN_A_SHELL = ("--mic", "--listen", "ffmpeg", "federate ./", "federate local", "federate party")
"""Hardware, a client, several processes or another program; tests/cli has tests of those."""

QUICK = {"--epochs": "1", "--copies": "0", "--degraded-copies": "0", "--jobs": "1", "--min-agreement": "0"}
"""What makes a command quick; a model of one epoch is never sure, so that the least change is another label."""


def of_the_readme() -> list[str]:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line.startswith("serctl ")]


def of_help(command: Any = PROGRAM) -> list[str]:
    own = [line.strip().removeprefix("Example: ") for line in (command.epilog or "").splitlines()]
    return own + [each for child in getattr(command, "commands", {}).values() for each in of_help(child)]


DOCUMENTED = [
    each
    for each in dict.fromkeys([*of_the_readme(), *of_help()])
    if not any(word in each for word in NEED_MORE_THAN_A_SHELL)
]


def output_of(example: str) -> str | None:
    found = re.search(r"-o (\S+)", example)
    return found[1] if found else None


MAKERS = {output_of(example): example for example in reversed(DOCUMENTED)}
"""The first command that makes each output."""


def words_of(example: str) -> list[str]:
    """The command of serctl, without what stands before it in a pipe."""
    words = shlex.split(example)
    return words[words.index("serctl") + 1 :]


def quick(words: list[str]) -> list[str]:
    """The command with what makes it quick, where it has such options."""
    command = PROGRAM
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    known = {name for parameter in command.params for name in parameter.opts}
    if "augment" in words or ("evaluate" in words and "--arch" not in words):
        known -= {"--epochs", "--copies", "--degraded-copies"}  # of a training alone
    return words + [word for name, value in QUICK.items() if name in known for word in (name, value)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the names of the commands lead to sample recordings; it keeps what they make.

    The other corpus has none of the recordings that are in the corpus.
    """
    place = tmp_path_factory.mktemp("documented")
    for name in ("sample_audio", "recordings", "corpus"):
        (place / name).mkdir()  # find does not follow a link to a folder
        for path in SAMPLES.iterdir():
            (place / name / path.name).symlink_to(path)
    (place / "other-corpus").mkdir()
    known = {path.stem for path in SAMPLES.iterdir()} - {"manifest"}
    header, *lines = (OTHERS / "manifest.csv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if Path(line.split(",")[0]).stem not in known]
    (place / "other-corpus" / "manifest.csv").write_text("\n".join([header, *kept]), encoding="utf-8")
    for line in kept:
        (place / "other-corpus" / line.split(",")[0]).symlink_to(OTHERS / line.split(",")[0])
    (place / "recording.wav").symlink_to(SAMPLES / "emma-angry.wav")
    return place


@pytest.fixture
def run(serctl: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a command there, after those that make what it reads and that have not run yet."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("SERCTL_CACHE_DIR", str(place / "cache"))

    def make(example: str) -> None:
        words, output = words_of(example), output_of(example)
        for word in words:
            if word in MAKERS and word != output and not (place / word).exists():
                make(MAKERS[word])
        again = output and (place / output).exists() and not {"--overwrite", "--update"} & {*words}
        before_the_pipe = example[: example.index("serctl")].strip(" |") or "true"
        piped = subprocess.run(["bash", "-c", before_the_pipe], capture_output=True, check=True)
        ended = serctl(*quick(words), *(["--overwrite"] if again else []), stdin=piped.stdout)
        assert ended.code == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "Leaky" not in ended.stderr
        assert output is None or (place / output).exists()

    return make


def test_the_readme_shows_every_command() -> None:
    assert {words_of(example)[0] for example in of_the_readme()} == {*PROGRAM.commands}
    assert len(DOCUMENTED) > 40


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("example", DOCUMENTED)
def test_a_documented_command_runs(example: str, run: Callable[[str], None]) -> None:
    run(example)


IN_A_SHELL = [each for each in DOCUMENTED if "|" in each or each == "serctl predict sample_audio"]


@pytest.mark.parametrize("example", IN_A_SHELL)
def test_a_documented_command_runs_in_a_shell(example: str, place: Path, tmp_path: Path) -> None:
    script = tmp_path / "serctl"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m serctl "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-o", "pipefail", "-c", example.replace("-o ", "-o in-a-shell-")]
    ended = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
