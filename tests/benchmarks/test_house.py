"""The script that measures the shape of the code counts what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "house.py"
STRAIGHT = """
def straight(
    first,
    second,
):
    '''Not counted.

    Nor this.
    '''

    third = first + second

    return third
"""


def branching(branches: int) -> str:
    return "def branching(x):\n" + "    if x:\n        x = x - 1\n" * branches + "    return x\n"


def measure(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "straight.py").write_text(STRAIGHT + STRAIGHT)
    return tmp_path


def test_signature_docstring_and_blank_lines_do_not_count(folder: Path) -> None:
    done = measure(folder)
    assert done.returncode == 0, done.stderr
    assert "functions: 2, median 2 lines" in done.stdout


@pytest.mark.parametrize(("branches", "code"), [(11, 0), (12, 1)])
def test_more_than_twelve_paths_are_too_many(folder: Path, branches: int, code: int) -> None:
    (folder / "branching.py").write_text(branching(branches))
    for name in "abcdefgh":  # short ones, so that lengths stay within their limits
        (folder / f"{name}.py").write_text(STRAIGHT)
    done = measure(folder)
    assert f"complexity at most {branches + 1} (" in done.stdout
    assert done.returncode == code
    assert ("branching.py:1 branching: complexity 13" in done.stderr) == bool(code)


def test_a_boolean_operator_is_a_branch(folder: Path) -> None:
    (folder / "choice.py").write_text("def choice(a, b, c):\n    return a and b or c\n")
    assert "complexity at most 3 (" in measure(folder).stdout


def test_a_module_of_more_than_400_lines_is_too_long(folder: Path) -> None:
    (folder / "long.py").write_text("x = 1\n" * 401)
    done = measure(folder)
    assert done.returncode == 1
    assert "long.py: 401 lines" in done.stderr
