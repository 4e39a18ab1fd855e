"""Settings besides the flags: environment variables and a file of the current folder.

A flag goes over SERCTL_<OPTION>, the variable over the file, the file over the default. The file is `serctl.toml`, or
the table [tool.serctl] of `pyproject.toml`. Whoever wrote the folder wrote it, so it may only choose numbers, switches
and words of a list: nothing in it is run, names a file or an address, replaces an output or silences a message, and a
command says which settings it took from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILES = ("serctl.toml", "pyproject.toml")
"""Read from the current folder; the first one with settings counts."""

COMMANDS = ("predict", "extract", "augment", "train", "evaluate", "export")
"""The commands that a file may set options of."""

_MOST_BYTES = 1 << 20
_NEVER = frozenset({"overwrite", "resume", "update", "quiet", "backend", "format", "no_cache", "embed_audio"})
"""Options that a file may not set: they replace or redirect outputs, start a cluster, or silence what is said."""

_SAFE_TEXTS: dict[str, frozenset[str]] = {
    "model": frozenset({"serctl-base", "serctl-fast", "serctl-live"}),
    "adapt": frozenset({"none", "recordings", "auto"}),
    "channels": frozenset({"mix", "each", "left", "right", *map(str, range(1, 257))}),
}
"""Options that take a path too, and the words that a file may give them."""


@dataclass(frozen=True)
class Settings:
    """The settings of a file.

    Attributes:
        path: the file; None without one.
        common: values by option, for every command that has it.
        commands: the same for each command alone.
    """

    path: Path | None = None
    common: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, command: str) -> dict[str, Any]:
        """Return the values for a command, by option with underscores."""
        own = self.commands.get(command, {})
        return {name.replace("-", "_"): value for name, value in {**self.common, **own}.items()}


def find_settings(folder: Path) -> Settings:
    """Read the settings of a folder.

    Args:
        folder: where to look; not above it.

    Returns:
        The settings; empty ones where there is no file with settings.

    Raises:
        ConfigError: a file cannot be read, or is not as expected.
    """
    for name in FILES:
        path = folder / name
        tables = _read(path)
        if tables is not None:
            commands = {key: value for key, value in tables.items() if isinstance(value, dict)}
            unknown = sorted(set(commands) - set(COMMANDS))
            if unknown:
                raise ConfigError(f"{name}: no settings of {', '.join(unknown)}: expected {', '.join(COMMANDS)}")
            common = {key: value for key, value in tables.items() if key not in commands}
            return Settings(path, common, commands)
    return Settings()


def _read(path: Path) -> dict[str, Any] | None:
    """The tables of a file; None if it is not there or has none of ours."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"{path.name}: {error.strerror or error}") from error
    whole = path.name == FILES[0]
    if not whole and b"tool.serctl" not in content:
        return None
    import tomllib

    try:
        tables: Any = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name} is not TOML: {error}") from error
    for name in () if whole else ("tool", "serctl"):
        tables = tables.get(name) if isinstance(tables, dict) else None
    return tables if isinstance(tables, dict) else None


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by their long name, with underscores; help and version are none."""
    found = {}
    for each in command.params:
        longest = max(each.opts, key=len)
        if isinstance(each, click.Option) and longest.startswith("--") and not each.is_eager:
            found[longest[2:].replace("-", "_")] = each
    return found


def variable(name: str) -> str:
    """Return the environment variable of an option."""
    return f"SERCTL_{name.upper()}"


def apply_settings(command: click.Command, ctx: click.Context, settings: Settings) -> None:
    """Let the variables and the settings of a file stand in for the flags of a command.

    Args:
        command: the command.
        ctx: its context, before its arguments are parsed.
        settings: of the file.

    Raises:
        ConfigError: a setting is of no option, may not be set by a file, or has a value that the option does not take.
    """
    options = options_of(command)
    for name, option in options.items():
        if not option.envvar:
            # Not shown in each help text: the documentation tells it of all options at once.
            option.envvar, option.show_envvar = variable(name), False
    if command.name not in COMMANDS:
        return
    values = settings.of(command.name)
    for name in settings.commands.get(command.name, {}):
        if name.replace("-", "_") not in options:
            raise ConfigError(f"{_name(settings)}: {command.name} has no option {name}")
    ctx.default_map = {
        str(options[name].name): _checked(settings, name, options[name], value, ctx)
        for name, value in values.items()
        if name in options
    }


def _name(settings: Settings) -> str:
    return settings.path.name if settings.path else ""


def _checked(settings: Settings, name: str, option: click.Option, value: Any, ctx: click.Context) -> Any:
    where = f"{_name(settings)}: {name.replace('_', '-')}"
    if not may_be_set(name, option, value):
        raise ConfigError(
            f"{where}: a file of the current folder may not set it to {value!r}; a flag or {variable(name)} may"
        )
    try:
        return option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise ConfigError(f"{where}: {error.message}") from error


def may_be_set(name: str, option: click.Option, value: Any) -> bool:
    """Return whether a file may give an option this value: a number, a switch or a word that names nothing outside."""
    if name in _NEVER or option.multiple or isinstance(value, list | dict):
        return False
    if name in _SAFE_TEXTS:
        return str(value) in _SAFE_TEXTS[name]
    return (
        isinstance(option.type, click.Choice | click.types.IntParamType | click.types.FloatParamType) or option.is_flag
    )


def say_settings(command: click.Command, ctx: click.Context, settings: Settings) -> str:
    """Return the line that says which settings of the file a command uses; empty if none."""
    used = [
        f"{name.replace('_', '-')} = {ctx.params[str(option.name)]}"
        for name, option in options_of(command).items()
        if ctx.get_parameter_source(str(option.name)) is ParameterSource.DEFAULT_MAP
    ]
    return f"settings of ./{_name(settings)}: {', '.join(used)}" if used else ""


def sources(command: click.Command, settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Yield each option of a command with its value without flags and where it comes from.

    Args:
        command: the command.
        settings: of the file.
    """
    ctx = command.make_context(command.name, [], resilient_parsing=True)
    for name, option in options_of(command).items():
        source = ctx.get_parameter_source(str(option.name))
        value = ctx.params.get(str(option.name))
        if source is ParameterSource.ENVIRONMENT:
            yield name, value, str(option.envvar)
        else:
            yield name, value, f"./{_name(settings)}" if source is ParameterSource.DEFAULT_MAP else "default"
