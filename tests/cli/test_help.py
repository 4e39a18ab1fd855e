"""Every command and option explains itself, and every example is one that parses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
import typer

from serctl import cli
from serctl.cli import app
from serctl.cli._commands import SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


ROOT = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT))
NAMES = [" ".join(path) for path in COMMANDS]


def help_of(name: str) -> str:
    command = COMMANDS[tuple(name.split())]
    return command.get_help(click.Context(command, info_name=f"serctl {name}".strip()))


def examples(name: str) -> list[str]:
    lines = (COMMANDS[tuple(name.split())].epilog or "").splitlines()
    return [line.strip().removeprefix("Example: ") for line in lines]


def test_the_commands_are_the_documented_ones() -> None:
    assert set(NAMES) == {
        *("", "predict", "extract", "adapt", "augment", "train", "stream", "evaluate", "export"),
        *("corpus", "corpus scan", "corpus suspects", "models", "models list", "models info"),
        *("cache", "cache info", "cache verify", "cache prune", "cache clear"),
        *("config", "config show", "report", "report html", "report merge"),
        *("compare", "explain", "federate", "federate local", "federate server", "federate party"),
        *("federate key", "federate certificate"),
    }


def test_every_command_has_help_and_an_example() -> None:
    for name in NAMES:
        command = COMMANDS[tuple(name.split())]
        assert len(command.help or "") > 10, name
        assert isinstance(command, click.Group) or examples(name), name
        assert "\\" not in help_of(name), name


def test_every_option_and_argument_has_help() -> None:
    for name, command in zip(NAMES, COMMANDS.values(), strict=True):
        for parameter in command.params:
            record = parameter.get_help_record(click.Context(command))
            assert record is not None, (name, parameter.name)
            assert len(re.sub(r"\[.*?\]", "", record[1]).strip()) > 10, (name, parameter.name)


def assert_parses(example: str) -> None:
    words = shlex.split(example, comments=True)
    arguments = words[words.index("serctl") + 1 :]  # others may stand before it, in a pipe
    command: click.Command = ROOT
    context = click.Context(ROOT)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments.pop(0))
        assert found is not None, example
        command = found
    with command.make_context(command.name, arguments):
        pass


def test_every_example_parses() -> None:
    for example in [example for name in NAMES for example in examples(name)]:
        assert_parses(example)


def test_the_commands_of_two_hospitals_parse() -> None:
    """benchmarks/federated_kills.py runs them."""
    guide = Path(__file__).parents[2] / "docs" / "guides" / "federated.md"
    text = guide.read_text(encoding="utf-8").partition("## Two hospitals")[2].partition("\n## ")[0]
    commands = [line for line in text.splitlines() if line.startswith("serctl ")]
    assert len(commands) == 6
    for each in commands:
        assert_parses(each)


def test_no_summary_is_cut_at_80_columns() -> None:
    for command in COMMANDS.values():
        text = command.get_help(click.Context(command, info_name="serctl", terminal_width=80))
        assert not re.findall(r".*\.\.\.$", text.partition("\nCommands:")[2], re.MULTILINE)
        assert max(map(len, text.partition("Examples:")[0].splitlines())) <= 80, command.name


def test_an_example_stands_on_a_line_of_its_own_to_be_pasted() -> None:
    for name in NAMES:
        lines = {line.strip().removeprefix("Example: ") for line in help_of(name).splitlines()}
        assert {*examples(name)} <= lines


def test_options_stand_in_groups() -> None:
    sections = re.findall(r"^([A-Z][\w ]+):$", help_of("predict"), re.MULTILINE)
    assert sections == ["Arguments", "Options", "Answers", "Run", "Cache", "Examples"]


def test_every_line_of_help_is_readable() -> None:
    assert [line for name in NAMES for line in help_of(name).splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("option", ["jobs", "cache_dir", "no_cache", "resume", "overwrite"])
def test_shared_options_mean_the_same_everywhere(option: str) -> None:
    found = {
        (parameter.help, tuple(parameter.opts))
        for command in COMMANDS.values()
        for parameter in command.params
        if parameter.name == option and isinstance(parameter, click.Option)
    }
    assert len(found) == 1


def test_the_summaries_are_the_first_lines_of_the_commands() -> None:
    modules = {path.stem for path in Path(cli.__file__).parent.glob("[!_]*.py")}
    assert set(SUMMARIES) == modules
    assert {name: COMMANDS[(name,)].get_short_help_str(80) for name in SUMMARIES} == SUMMARIES
