"""Every command of the README runs as it stands there, on the sample recordings."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FEW_EPOCHS = {"train": ["--epochs", "2", "--copies", "1"], "--protocol": ["--epochs", "2", "--copies", "0"]}
NEVER_END = {"--mic", "--listen"}  # they have tests of their own in tests/cli
UNSURE = ["--min-agreement", "0"]  # a model of two epochs is never sure: the least change is another label


def readme_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("serctl ")]
    return [words for words in dict.fromkeys(map(tuple, commands)) if not NEVER_END & set(words)]


def run(words, folder):
    few = [option for word, options in FEW_EPOCHS.items() if word in words for option in options]
    few += UNSURE if "export" in words else []
    environment = {**os.environ, "SERCTL_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "serctl", *words[1:], *few],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the README's names lead to the sample recordings."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("sample_audio", "recordings", "corpus"):
        (folder / name).symlink_to(ROOT / "sample_audio")
    return folder


def test_the_readme_names_every_command():
    named = {words[1] for words in readme_commands()}
    assert named == {
        *("predict", "explain", "extract", "adapt", "augment", "train", "stream", "evaluate", "compare", "export"),
        *("corpus", "models", "cache", "report", "config"),
    }


# In the README's order: predict uses the model that train has made.
@pytest.mark.parametrize("words", readme_commands(), ids=" ".join)
def test_a_command_of_the_readme_runs(words, folder):
    done = run(words, folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for position, word in enumerate(words):
        if word == "-o":
            assert (folder / words[position + 1]).exists()
