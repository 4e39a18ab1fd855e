"""An option is written once: range, default and help stand in a dataclass, from which the flag is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
import pytest
import typer

from serctl.cli import app
from serctl.cli._flags import Given, flag, flags
from serctl.errors import ConfigError
from serctl.export.options import ExportOptions
from serctl.learning.options import (
    Augmentation,
    FitOptions,
    LabelOptions,
    NetworkOptions,
    ProtocolOptions,
    RecordOptions,
)
from serctl.live.options import ListenOptions, StreamOptions
from serctl.options import Option, check_options, option, options_of
from serctl.run import Run
from serctl.verbs.options import ExtractOptions, PredictOptions

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

MADE = [
    ("predict", PredictOptions),
    ("predict", Run),
    ("extract", ExtractOptions),
    ("export", ExportOptions),
    ("stream", StreamOptions),
    ("stream", ListenOptions),
    *(("train", kind) for kind in (NetworkOptions, LabelOptions, FitOptions, Augmentation, RecordOptions, Run)),
    *(("evaluate", kind) for kind in (NetworkOptions, LabelOptions, FitOptions, Augmentation, ProtocolOptions)),
]


@pytest.mark.parametrize(("command", "kind"), MADE)
def test_a_flag_has_the_help_the_range_and_the_default_of_its_field(command: str, kind: type) -> None:
    flags_of = {parameter.opts[0]: parameter for parameter in COMMANDS[command].params}
    for name, each in options_of(kind).items():
        if kind is Run and flag(name, each) not in flags_of:
            continue  # a command has those that concern it
        parameter = flags_of[flag(name, each)]
        assert isinstance(parameter, click.Option)
        assert parameter.help == each.help
        default = getattr(kind, name, None)
        assert parameter.default == (None if each.unset or each.parse or default == "" else default)
        if each.low is not None or each.high is not None:
            assert (parameter.type.min, parameter.type.max) == (each.low, each.high)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Made:
    size: int = option(3, "How large.", low=1, high=9)
    share: float = option(0.5, "How much.", above=0, below=1)
    kind: str = option("a", "Which one.", choices=("a", "b"))
    names: tuple[str, ...] = option(tuple, "Their names.", repeatable=True, kind=str)
    span_s: float | None = option(None, "How long.", kind=float, low=0)
    pair: Any = option(lambda: (1, 2), "Two numbers.", parse=lambda text: tuple(map(int, text.split(":"))))

    def __post_init__(self) -> None:
        check_options(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "expected size at least 1 and at most 9. Received: 0"),
        ({"size": 10}, "expected size at least 1 and at most 9. Received: 10"),
        ({"share": 0.0}, "expected share above 0 and below 1. Received: 0.0"),
        ({"share": 1.0}, "expected share above 0 and below 1. Received: 1.0"),
        ({"share": float("nan")}, "expected share above 0 and below 1. Received: nan"),
        ({"kind": "c"}, "expected kind one of a, b. Received: c"),
        ({"span_s": -0.1}, "expected span_s at least 0. Received: -0.1"),
    ],
)
def test_a_value_out_of_range_is_refused_whoever_gives_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Made(**values)
    assert str(raised.value) == message


@pytest.mark.parametrize("values", [{"size": 1}, {"size": 9}, {"share": 0.01}, {"span_s": None}, {"span_s": 0.0}])
def test_the_bounds_themselves_are_allowed(values: dict[str, Any]) -> None:
    Made(**values)


def run(*arguments: str) -> Made:
    made: list[Made] = []
    program = typer.Typer()

    @program.command()
    @flags(Parts=Made)
    def command(given: Given) -> None:
        made.append(given.make(Made))

    typer.main.get_command(program).main([*arguments], standalone_mode=False)
    return made[0]


def test_the_dataclass_is_made_of_what_was_typed() -> None:
    assert run() == Made()
    typed = run("--size", "4", "--kind", "b", "--names", "x", "--names", "y", "--span", "2", "--pair", "3:4")
    assert typed == Made(size=4, kind="b", names=("x", "y"), span_s=2.0, pair=(3, 4))


def test_the_command_line_names_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^expected --share above 0 and below 1\. Received: 1\.5$"):
        run("--share", "1.5")


def test_a_secret_is_not_printed() -> None:
    assert "sesame" not in repr(ListenOptions(token="sesame"))


def test_help_is_no_option_without_a_default() -> None:
    assert options_of(Made)["size"] == Option("How large.", low=1, high=9)
    assert "command" not in options_of(ExportOptions)
