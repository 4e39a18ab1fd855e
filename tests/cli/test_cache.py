from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from serctl.cache import Cache, make_key
from serctl.cli.cache import cache_app, format_size, parse_size
from serctl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def _entries(cache: Cache) -> list[Path]:
    return sorted(cache.folder.rglob("*.entry"))


def _fill(cache: Cache, count: int) -> None:
    for number in range(count):
        cache.put(make_key("entry", number), {"x": np.full(1000, number, np.float32)})


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GB", 10**10), ("1.5 MB", 1_500_000), ("2GiB", 2**31), ("4kib", 4096), ("7", 7), ("0", 0), ("3b", 3)],
)
def test_sizes_are_understood(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "10XB", "ten", "1e3", "1,5GB"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ConfigError, match="expected a size"):
        parse_size(text)


def test_sizes_are_written_for_people():
    assert [format_size(size) for size in (0, 999, 1500, 2_000_000, 3 * 10**12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 MB",
        "3.0 TB",
    ]


def _run(cache: Cache, *arguments: str):
    app = typer.Typer()
    app.add_typer(cache_app)
    return CliRunner().invoke(app, ["cache", *arguments, "--cache-dir", str(cache.folder)], catch_exceptions=False)


def test_command_info(cache):
    _fill(cache, 2)
    result = _run(cache, "info")
    assert result.exit_code == 0
    assert f"folder   {cache.folder}\nentries  2\nsize     8." in result.stdout


def test_command_verify_tells_by_its_exit_code(cache):
    _fill(cache, 2)
    assert _run(cache, "verify").exit_code == 0
    damaged = _entries(cache)[0]
    os.truncate(damaged, 9)
    result = _run(cache, "verify")
    assert result.exit_code == 3
    assert result.stdout == f"{damaged}\n"


def test_command_prune(cache):
    _fill(cache, 4)
    result = _run(cache, "prune", "--max-size", "10kB")
    assert "2 entries removed" in result.stderr
    assert "entries  2" in result.stdout


def test_command_clear_asks_first(cache):
    _fill(cache, 2)
    with pytest.raises(ConfigError, match="--yes"):
        _run(cache, "clear")
    assert cache.info().entries == 2
    assert _run(cache, "clear", "--yes").exit_code == 0
    assert cache.info().entries == 0


@pytest.mark.parametrize("command", [[], ["info"], ["verify"], ["prune"], ["clear"]])
def test_every_command_has_help_with_an_example(command):
    app = typer.Typer()
    app.add_typer(cache_app)
    text = CliRunner().invoke(app, ["cache", *command, "--help"]).stdout
    assert re.search(r"Examples?:\s+serctl cache", text)
