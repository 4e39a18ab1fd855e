"""A light install says what is missing, at once; the extras are those of pyproject.toml."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serctl.errors import MissingExtraError
from serctl.extras import EXTRAS, require_extra

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
OF_TRAINING = {"tensorflow", "keras", "librosa", "matplotlib", "pyarrow", "scipy"}

WITHOUT_THEM = """
import json, sys
from importlib.machinery import PathFinder

class LightInstall:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name in hidden else PathFinder.find_spec(name, path, target)

hidden = set(json.loads(sys.argv.pop(1)))
sys.meta_path[sys.meta_path.index(PathFinder)] = LightInstall
sys.argv[0] = "serctl"
from serctl.cli import main
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def run_without(*hidden: str, arguments: tuple[object, ...]) -> tuple[int, str, set[str]]:
    """The exit code, stderr and the modules loaded by the command line where these packages are not installed."""
    command = [sys.executable, "-c", WITHOUT_THEM, json.dumps(hidden), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return ended.returncode, ended.stderr, set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("command", "purpose"),
    [
        (("train", "CORPUS", "-o", "OUT"), "training"),
        (("evaluate", "CORPUS", "-o", "OUT"), "evaluation"),
        (("evaluate", "CORPUS", "-o", "OUT", "--arch", "mfcc", "--protocol", "loso"), "evaluation"),
        (("export", "serctl-base", "-o", "OUT"), "export"),
        (("augment", "CORPUS", "-o", "OUT"), "augmentation"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else each,
)
def test_a_command_without_its_extra_says_the_line_to_type_before_any_work(
    command: tuple[str, ...], purpose: str, samples: Path, tmp_path: Path
) -> None:
    places = {"CORPUS": samples, "OUT": tmp_path / "out"}
    arguments = tuple(places.get(word, word) for word in command)
    code, stderr, loaded = run_without(*OF_TRAINING, arguments=arguments)
    assert stderr.splitlines()[-1].endswith(": pip install 'serctl[train]'")
    assert stderr.startswith(f"error: {purpose} needs ")
    assert stderr.count("\n") == 1
    assert code == 2
    assert not (tmp_path / "out").exists()
    assert not loaded & {"numpy", "scipy", "pandas", "soundfile", "joblib"}  # it would take longer than half a second


def test_a_parquet_report_without_pyarrow_says_so_before_any_work(samples: Path, tmp_path: Path) -> None:
    code, stderr, _ = run_without("pyarrow", arguments=("predict", samples, "-o", tmp_path / "o.parquet", "-q"))
    assert (code, stderr) == (2, "error: a Parquet file needs pyarrow: pip install 'serctl[parquet]'\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "CORPUS/tom-sad.flac", "-o", "OUT.csv"),
        ("extract", "CORPUS/tom-sad.flac", "-o", "OUT.csv"),
        ("corpus", "scan", "CORPUS", "-o", "OUT.csv"),
        ("models", "list"),
        ("cache", "info"),
        ("stream", "CORPUS/tom-sad.flac"),
    ],
    ids=" ".join,
)
def test_the_commands_of_a_light_install_need_no_extra(
    arguments: tuple[str, ...], samples: Path, tmp_path: Path
) -> None:
    words = [word.replace("CORPUS", str(samples)).replace("OUT", str(tmp_path / "out")) for word in arguments]
    code, stderr, loaded = run_without(*OF_TRAINING, "numba", "sklearn", arguments=tuple(words))
    assert code == 0, stderr
    assert not loaded & OF_TRAINING


def test_an_extra_that_is_there_passes() -> None:
    require_extra("train", "training")
    with pytest.raises(MissingExtraError, match=r"^magic needs no_such_module: pip install 'serctl\[train\]'$"):
        require_extra("train", "magic", "numpy", "no_such_module")


def test_the_extras_are_those_of_the_project_file() -> None:
    text = PROJECT.read_text(encoding="utf-8").split("[project.optional-dependencies]")[1].split("\n[")[0]
    listed = {
        extra: set(re.findall(r'"([a-z0-9]+)[><=]', packages))
        for extra, packages in re.findall(r"^(\w+) = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    }
    assert {extra: set(modules) for extra, modules in EXTRAS.items()} == {extra: listed[extra] for extra in EXTRAS}
