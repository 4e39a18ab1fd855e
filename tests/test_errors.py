"""Every exception is in one tree, knows no flag of the command line, and survives the way between processes."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

import serctl
from serctl import errors
from serctl.cli import app
from serctl.cli._remedies import REMEDIES, with_remedies
from serctl.errors import ConfigError, Remedy, SerctlError

if TYPE_CHECKING:
    import click

PACKAGE = Path(serctl.__file__).parent
BELOW_THE_COMMAND_LINE = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "cli"]


def flags(command: click.Command) -> set[str]:
    own = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts) if flag.startswith("-")}
    return own.union(*(flags(child) for child in getattr(command, "commands", {}).values()))


FLAGS = "|".join(map(re.escape, sorted(flags(typer.main.get_command(app)), key=len, reverse=True)))
FLAG = re.compile(rf"(?<![\w-])(?<!python )({FLAGS})(?![\w-])")


def texts(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    standing_alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in standing_alone]
    return [node.value for node in found if isinstance(node.value, str)]


def test_no_text_below_the_command_line_names_a_flag() -> None:
    named = [
        (path.name, found[0], text)
        for path in BELOW_THE_COMMAND_LINE
        for text in texts(path)
        if " " in text and (found := FLAG.search(text))  # a lone word is an argument of another program
    ]
    assert len(BELOW_THE_COMMAND_LINE) > 50
    assert not named


def test_every_exception_is_in_the_tree_at_the_top_of_errors() -> None:
    raised = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]
    drawn = re.findall(r"^[│├└─ ]*(\w+) {2,}\w", errors.__doc__ or "", re.MULTILINE)
    assert {kind.__name__ for kind in raised} == {"SerctlError", *drawn}


def test_no_other_module_defines_an_exception() -> None:
    elsewhere = [
        (path.name, node.name)
        for path in PACKAGE.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(re.search(r"(Error|Exception|Interrupt)$", ast.unparse(base)) for base in node.bases)
    ]
    assert {name for name, _ in elsewhere} <= {"_app.py"}  # private to the way out of the command line


def test_every_remedy_has_a_flag_to_type() -> None:
    assert set(REMEDIES) == set(Remedy)


def test_the_command_line_adds_the_flags() -> None:
    error = ConfigError("o.csv exists", Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    assert with_remedies(error) == "o.csv exists: --overwrite replaces it, or choose another -o"
    assert with_remedies(ConfigError("expected 1 to 3. Received: 4")) == "expected 1 to 3. Received: 4"


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("bad", Remedy.RESUME),
        errors.MissingExtraError("training needs keras", extra="train"),
        errors.MissingBundleError(Path("model"), "0f3a"),
        errors.StoppedAtFailureError("stopped", Remedy.RESUME, summary={"failed": 1}),
        errors.DisagreementError("40 %", {"windows": 2}, end_to_end=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_between_processes(error: SerctlError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
