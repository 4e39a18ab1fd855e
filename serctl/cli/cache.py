"""serctl cache: look after the feature cache."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import EXIT_SOME_FAILED, CacheDirOption, command_group, console
from serctl.cli._flags import command
from serctl.errors import ConfigError

if TYPE_CHECKING:
    from serctl.cache import Cache, CacheInfo

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")

cache_app = command_group("cache", "Show, check and empty the cache.", example="serctl cache prune --max-size 10GB")


@command(cache_app, "serctl cache info")
def info(cache_dir: CacheDirOption = None) -> None:
    """Show the folder, size and age of the cache."""
    _show(_open(cache_dir).info())


@command(cache_app, "serctl cache verify")
def verify(cache_dir: CacheDirOption = None) -> None:
    """Check every entry and remove the damaged ones.

    They are computed again when needed. Exit code 3 if there were any.
    """
    cache = _open(cache_dir)
    checked = cache.info().entries
    damaged = cache.verify()
    for path in damaged:
        print(path)  # noqa: T201 - data
    console().print(f"{checked} entries checked, {len(damaged)} damaged and removed")
    if damaged:
        raise typer.Exit(EXIT_SOME_FAILED)


@command(cache_app, "serctl cache prune --max-size 10GB")
def prune(
    max_size: Annotated[
        str, typer.Option("--max-size", help="Size to keep, such as 500MB or 10GB (also KiB, MiB, GiB, TiB).")
    ],
    cache_dir: CacheDirOption = None,
) -> None:
    """Remove the oldest entries until the cache fits a size.

    Entries go in the order of their last use.
    """
    cache = _open(cache_dir)
    removed = cache.prune(parse_size(max_size))
    console().print(f"{removed} entries removed")
    _show(cache.info())


@command(cache_app, "serctl cache clear --yes")
def clear(
    cache_dir: CacheDirOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
) -> None:
    """Remove every entry."""
    cache = _open(cache_dir)
    if not (yes or _confirmed(cache.info())):
        raise typer.Abort
    console().print(f"{cache.clear()} entries removed")


def parse_size(text: str) -> int:
    """Bytes in a size such as 500MB (decimal) or 2GiB (binary). Raises ConfigError for anything else."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f"expected a size such as 500MB, 10GB or 2GiB. Received: {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(size: int) -> str:
    """A number of bytes for people, such as 1.5 GB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _open(cache_dir: Path | None) -> Cache:
    from serctl.cache import make_cache

    return make_cache(cache_dir)


def _show(info: CacheInfo) -> None:
    lines = [f"folder   {info.folder}", f"entries  {info.entries}", f"size     {format_size(info.bytes)}"]
    if info.oldest is not None and info.newest is not None:
        oldest, newest = (when.astimezone().strftime("%Y-%m-%d %H:%M") for when in (info.oldest, info.newest))
        lines.append(f"used     {oldest} to {newest}")
    print("\n".join(lines))  # noqa: T201 - data


def _confirmed(info: CacheInfo) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask on: --yes clears the cache without asking")
    return typer.confirm(f"Remove {info.entries} entries ({format_size(info.bytes)}) from {info.folder}?", err=True)
