"""Flags over variables over a file over defaults; a file of the current folder is not to be trusted."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import click
import pytest
import typer

from serctl.cli import app
from serctl.cli._settings import COMMANDS, find_settings, may_be_set, options_of
from serctl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Serctl


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lengths(stdout: str) -> list[float]:
    return [float(row["end"]) - float(row["start"]) for row in csv.DictReader(io.StringIO(stdout))]


def shown(serctl: Serctl, *words: str) -> dict[str, tuple[str, str]]:
    """What `config show` says: value and source of each option."""
    lines = serctl("config", "show", *words).stdout.splitlines()
    return {line.split()[0]: (" ".join(line.split()[1:-1]), line.split()[-1]) for line in lines}


def test_a_flag_goes_over_a_variable_over_the_file_over_the_default(
    serctl: Serctl, folder: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", str(samples / "tom-sad.flac"), "--no-cache", "-j", "1")
    (folder / "serctl.toml").write_text('per = "window"\n[predict]\nwindow = 1.0\n[train]\nepochs = 3\n')
    done = serctl(*words)
    assert lengths(done.stdout)[:2] == [1.0, 1.0]
    assert "settings of ./serctl.toml: per = window, window = 1.0" in done.stderr
    assert shown(serctl)["window"] == ("1.0", "./serctl.toml")
    assert shown(serctl)["min-confidence"] == ("0.0", "default")
    assert shown(serctl, "train")["epochs"] == ("3", "./serctl.toml")

    monkeypatch.setenv("SERCTL_WINDOW", "1.5")
    assert shown(serctl)["window"] == ("1.5", "SERCTL_WINDOW")
    done = serctl(*words)
    assert lengths(done.stdout)[0] == 1.5
    assert "settings of ./serctl.toml: per = window\n" in done.stderr

    done = serctl(*words, "--window", "0.8", "--per", "window")
    assert lengths(done.stdout)[0] == 0.8
    assert "settings of" not in done.stderr


def test_pyproject_counts_where_it_has_our_table(serctl: Serctl, folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.serctl]\njobs = 3\n')
    assert shown(serctl)["jobs"] == ("3", "./pyproject.toml")
    (folder / "serctl.toml").write_text("jobs = 4\n")
    assert shown(serctl)["jobs"] == ("4", "./serctl.toml")


@pytest.mark.parametrize("content", [b"[tool.other]\njobs = 3\n", b"[tool\xff not TOML", b""])
def test_a_pyproject_without_our_table_is_left_alone(serctl: Serctl, folder: Path, content: bytes) -> None:
    (folder / "pyproject.toml").write_bytes(content)
    assert shown(serctl)["jobs"][1] == "default"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('output = "/etc/x.csv"', "output: a file of the current folder may not set it to '/etc/x.csv'"),
        ("overwrite = true", "overwrite: a file of the current folder may not"),
        ("quiet = true", "quiet: a file of the current folder may not"),
        ('model = "./evil"', "model: a file of the current folder may not set it to './evil'"),
        ('scheduler = "tcp://evil:1"', "scheduler: a file"),
        ('backend = "dask"', "backend: a file"),
        ('cache-dir = "/x"', "cache-dir: a file"),
        ('adapt = "x.profile"', "adapt: a file"),
        ("window = [1]", "window: a file"),
        ('window = "long"', "window: 'long' is not a valid float"),
        ("window = -1", "window: -1.0 is not in the range"),
        ('per = "minute"', "per: 'minute' is not one of"),
        ("[predict]\nwindows = 1", "predict has no option windows"),
        ("[stream]\nport = 1", "no settings of stream: expected predict"),
        ("window = ", "serctl.toml is not TOML"),
        ("a = " + "[" * 9999, "serctl.toml is not TOML"),
    ],
)
def test_what_a_file_may_not_say_is_refused(serctl: Serctl, folder: Path, content: str, message: str) -> None:
    (folder / "serctl.toml").write_text(content + "\n")
    done = serctl("predict", "x.wav")
    assert (done.code, message in done.stderr) == (2, True), done.stderr


def test_a_file_sets_numbers_switches_and_words_of_a_list_only() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group)
    checked = 0
    for name in COMMANDS:
        command = root.get_command(click.Context(root), name)
        assert command is not None
        for option_name, option in options_of(command).items():
            checked += 1
            if may_be_set(option_name, option, "/some/where"):
                with pytest.raises(click.BadParameter):
                    option.type_cast_value(click.Context(command), "/some/where")
    assert checked > 60


def test_other_files_are_never_waited_for(folder: Path) -> None:
    (folder / "serctl.toml").mkdir()
    assert find_settings(folder).path is None
    (folder / "pyproject.toml").symlink_to("/dev/zero")
    assert find_settings(folder).path is None


def test_every_option_has_a_variable(serctl: Serctl, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERCTL_MODEL", "no-such-model")
    done = serctl("predict", "x.wav")
    assert (done.code, "no-such-model" in done.stderr) == (2, True)
    monkeypatch.setenv("SERCTL_MODEL", "serctl-live")
    monkeypatch.setenv("SERCTL_NO_CACHE", "1")
    assert shown(serctl)["model"] == ("serctl-live", "SERCTL_MODEL")
    assert shown(serctl)["no-cache"] == ("True", "SERCTL_NO_CACHE")


def test_a_token_is_not_shown(serctl: Serctl, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERCTL_TOKEN", "secret")
    assert "secret" not in serctl("config", "show", "stream").stdout


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "serctl.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"serctl\.toml is not TOML"):
        find_settings(tmp_path)
