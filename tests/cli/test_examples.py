"""Every example of every help text runs as it stands there, on the sample recordings."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

from serctl.cli import app

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_audio"

FEW_EPOCHS = " --epochs 2 --copies 1"
MORE = {"train": FEW_EPOCHS, "--protocol": FEW_EPOCHS, "export": " --min-agreement 0"}
"""What makes an example quick, or lets a model of two epochs through, which is never sure."""

NEED_MORE_THAN_A_SHELL = ("--mic", "--listen", "ffmpeg")


def examples(command: click.Command) -> list[str]:
    own = [line.strip().removeprefix("Example: ") for line in (command.epilog or "").splitlines()]
    return own + [each for child in getattr(command, "commands", {}).values() for each in examples(child)]


def of_the_readme() -> set[str]:
    """What tests/test_readme.py runs."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return {shlex.join(shlex.split(line, comments=True)) for line in lines if line.startswith("serctl ")}


def runnable() -> list[str]:
    """The examples to run that the README does not show too; those that make models for others first."""
    found = dict.fromkeys(examples(typer.main.get_command(app)))
    left_out = of_the_readme()
    needed = [each for each in found if " train " in each and re.search(r"(my|live)-model( |$)", each)]
    chosen = [
        each
        for each in found
        if each in needed or (each not in left_out and not any(word in each for word in NEED_MORE_THAN_A_SHELL))
    ]
    return sorted(chosen, key=lambda each: each not in needed)


def quick(example: str) -> str:
    return example + "".join(more for word, more in MORE.items() if word in example.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the names of the examples lead to the sample recordings."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("recordings", "corpus"):
        shutil.copytree(SAMPLES, folder / name)  # find does not follow a link
    shutil.copy(ROOT / "tests" / "golden" / "base.csv", folder / "emotions.csv")
    (folder / "recording.wav").symlink_to(SAMPLES / "emma-angry.wav")
    (folder / "bin").mkdir()
    script = folder / "bin" / "serctl"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m serctl "$@"\n')
    script.chmod(0o755)
    return folder


def test_there_are_examples_of_every_command() -> None:
    assert len(runnable()) > 20


@pytest.mark.parametrize("example", runnable())
def test_an_example_runs(example: str, folder: Path) -> None:
    produced = re.search(r"-o (\S+)", example)
    if produced and (folder / produced[1]).exists():
        example += " --overwrite"
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SERCTL_CACHE_DIR": str(folder / "cache"),
    }
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", quick(example)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    if produced:
        assert (folder / produced[1]).exists()
