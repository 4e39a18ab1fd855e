from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import serctl as package
from serctl.cli._app import exit_code

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle


def test_the_version(serctl: Any) -> None:
    result = serctl("--version")
    assert (result.code, result.stdout, result.stderr) == (0, f"{package.__version__}\n", "")


def test_no_command_shows_the_help(serctl: Any) -> None:
    result = serctl()
    assert "predict" in result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [["prdict"], ["predict", "--fast"], ["predict", "--jobs", "many"]])
def test_wrong_usage_says_so_and_exits_with_2(serctl: Any, arguments: list[str]) -> None:
    result = serctl(*arguments)
    assert (result.code, result.stdout) == (2, "")
    assert arguments[-1] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("typed", "meant"), [("trin", "train"), ("corpus scna", "scan"), ("models inof", "info")])
def test_a_mistyped_command_is_suggested_once(serctl: Any, typed: str, meant: str) -> None:
    assert serctl(*typed.split()).stderr.count(f"Did you mean '{meant}'?") == 1


def test_the_exit_code_tells_what_succeeded() -> None:
    assert exit_code(done=3, failed=0) == 0
    assert exit_code(done=3, failed=2) == 3
    assert exit_code(done=3, failed=3) == 4
    assert exit_code(done=0, failed=0) == 0


def test_the_package_runs_as_a_module() -> None:
    ended = subprocess.run([sys.executable, "-m", "serctl", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout == f"{package.__version__}\n"


def test_a_damaged_model_is_one_line_on_stderr(serctl: Any, tiny_bundle: Bundle, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{")
    result = serctl("predict", samples, "--model", tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {tmp_path}: expected a model bundle")
    assert result.stderr.count("\n") == 1
