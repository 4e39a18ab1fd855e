"""Flags made from the option dataclasses, and commands whose help groups them and shows examples that paste."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from serctl.cli._app import CacheDirOption, NoCacheOption, console
from serctl.errors import ConfigError
from serctl.options import Option, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

    from serctl.cache import Cache
    from serctl.run import ProgressCallback, Run

T = TypeVar("T")

Function = Callable[..., Any]


class Command(typer.core.TyperCommand):
    """A command with plain help: its options in groups, its examples one a line; settings stand in for its flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments over the variables and the file of settings, and say what the file sets."""
        from serctl.cli._settings import apply_settings, find_settings, say_settings

        settings = find_settings(Path())
        apply_settings(self, ctx, settings)
        rest = super().parse_args(ctx, args)
        line = say_settings(self, ctx, settings)
        if line and not (ctx.resilient_parsing or ctx.params.get("quiet")):
            console().print(line, markup=False)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, the options, and each group of options in the order in which it first appears."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(_group_of(parameter), []).append(record)
        for title, records in groups.items():
            if not records:
                continue
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the examples as they are, for a wrapped line does not paste."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


def _group_of(parameter: click.Parameter) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    panel = getattr(parameter, "rich_help_panel", None)
    return panel if isinstance(panel, str) else "Options"


def command(app: typer.Typer, *examples: str, name: str | None = None) -> Callable[[Function], Function]:
    """Register a function as a command of the app; examples: command lines that run as they stand."""
    return app.command(name, cls=Command, epilog="\n".join(examples))


WORKERS = ("jobs", "backend", "scheduler")
"""The fields of Run for a command that can work on a cluster."""

CACHE_FLAGS = {"cache_dir": (None, CacheDirOption), "no_cache": (False, NoCacheOption)}


class Given:
    """What was typed for the options of some dataclasses."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        """The value of a field's flag as typed, None without."""
        return self._values[name]

    def run(self, progress: ProgressCallback) -> Run:
        """How the verb is to run. Raises ConfigError if the folder of the cache cannot be one."""
        from serctl.run import Run

        return self.make(Run, cache=self.cache(), progress=progress)

    def cache(self) -> Cache | None:
        """The feature cache; None for a command without one, or where none is wanted."""
        if self._values.get("no_cache", True):
            return None
        from serctl.cache import open_cache

        return open_cache(self._values["cache_dir"])

    def of(self, kind: type) -> dict[str, Any]:
        """Return the values of the options of a dataclass that were given, or have a default of their own.

        Raises:
            ConfigError: a text is not what its option expects; the message names the flag.
        """
        found = {name: (each, self._values.get(name)) for name, each in options_of(kind).items()}
        return {name: _value(name, each, value) for name, (each, value) in found.items() if value is not None}

    def make(self, kind: type[T], **others: Any) -> T:
        """Return an instance of the dataclass with these values, and others that are no options."""
        return kind(**{**self.of(kind), **others})


def _value(name: str, each: Option, value: Any) -> Any:
    if not each.parse and not each.repeatable and not each.allows(value):
        raise ConfigError(f"expected {flag(name, each)} {each.expected()}. Received: {value}")
    try:
        if each.repeatable:
            return tuple(map(each.parse or str, value))
        return each.parse(value) if each.parse else value
    except ConfigError as error:
        raise ConfigError(f"{flag(name, each)}: {error}", *error.remedies) from error


def flag(name: str, each: Option) -> str:
    """Return the flag of an option: its name, or that of its field without the unit."""
    return "--" + (each.name or re.sub(r"_s$", "", name)).replace("_", "-")


def flags(*run: str, **groups: type | tuple[type, ...]) -> Callable[[Function], Function]:
    """Give a command the flags of dataclasses, by the title of their group; the function gets them as `given`.

    An option that several of the dataclasses have is one flag, for all of them.

    Args:
        run: the fields of Run that concern the command; `cache` stands for the flags of the feature cache.
        groups: dataclasses by the title of their group in the help.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        made = {**dict(_made(groups)), **dict(_made_of_run(run))}
        kept = list(signature.parameters.values())
        place = [each.name for each in kept].index("given")
        own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept if each.name != "given"]

        @functools.wraps(function)
        def wrapper(**values: Any) -> Any:
            return function(given=Given({name: values.pop(name) for name in made}), **values)

        parameters = [*own[:place], *made.values(), *own[place:]]
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
        return wrapper

    return decorate


def _made(groups: dict[str, type | tuple[type, ...]]) -> Iterator[tuple[str, inspect.Parameter]]:
    made = set()
    for title, kinds in groups.items():
        for kind in kinds if isinstance(kinds, tuple) else (kinds,):
            known = options_of(kind)
            defaults = {each.name: _default(each) for each in fields(kind) if each.name in known}
            for name, each in known.items():
                if name not in made:
                    made.add(name)
                    yield name, _parameter(name, each, defaults[name], title.replace("_", " "))


def _made_of_run(chosen: tuple[str, ...]) -> Iterator[tuple[str, inspect.Parameter]]:
    from serctl.run import Run

    defaults = {each.name: each.default for each in fields(Run)}
    for name, each in options_of(Run).items():
        if name in chosen:
            yield name, _parameter(name, each, defaults[name], "Run")
    if "cache" in chosen:
        for name, (default, kind) in CACHE_FLAGS.items():
            yield name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _default(each: Any) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _parameter(name: str, each: Option, default: Any, group: str) -> inspect.Parameter:
    kind = _kind(each, default)
    text = flag(name, each)
    # A text that is parsed is left out unless typed: what stands for it is in the dataclass.
    started = None if each.unset or each.parse or default in (None, (), "") else default
    shown: bool | str = str(default) if each.parse and default not in (None, ()) else started is not None
    info = typer.Option(
        f"{text}/--no-{text[2:]}" if default is True else text,
        *((f"-{each.short}",) if each.short else ()),
        help=each.help,
        min=each.low,
        max=each.high,
        metavar=each.metavar or None,
        show_default=shown,
        envvar=each.envvar or None,
        rich_help_panel=each.group or group,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=started,
        annotation=Annotated[kind | None if started is None else kind, info],
    )


def _kind(each: Option, default: Any) -> Any:
    if each.choices:
        kind: Any = Literal[each.choices]
    elif each.parse:
        kind = str
    else:
        kind = each.kind or type(default)
    return list[kind] if each.repeatable else kind
