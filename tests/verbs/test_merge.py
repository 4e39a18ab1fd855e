"""Shards of a run, and the one report that they are merged into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from serctl.errors import ConfigError
from serctl.reports.tables import read_report
from serctl.shards import Shard, parse_shard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "8"}


@pytest.fixture
def recordings(samples: Path, tmp_path: Path) -> Path:
    """A folder of ten recordings, one of which cannot be read, in two folders."""
    for number in range(10):
        path = tmp_path / "calls" / ("a" if number % 2 else "b") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(samples / ("manifest.csv" if number == 4 else "emma-angry.wav"))
    return tmp_path / "calls"


@pytest.fixture
def extract(serctl: Any, recordings: Path, tmp_path: Path) -> Callable[..., Any]:
    """Extracts a shard, or all of the recordings, into a file of that name."""
    return lambda name, *options: serctl("extract", recordings, "-o", tmp_path / name, "-q", "-j", 1, *options)


@pytest.fixture
def parts(extract: Callable[..., Any], tmp_path: Path) -> list[Path]:
    """The reports of three shards."""
    for number in (1, 2, 3):
        extract(f"part-{number}.csv", "--shard", f"{number}/3")
    return [tmp_path / f"part-{number}.csv" for number in (1, 2, 3)]


def test_merged_shards_are_the_bytes_of_one_run(
    serctl: Any, extract: Callable[..., Any], parts: list[Path], tmp_path: Path
) -> None:
    extract("whole.csv")
    sizes = [len(read_report(part)) for part in parts]
    done = serctl("report", "merge", parts[2], parts[0], parts[1], "-o", tmp_path / "all.csv")
    assert (done.code, done.stderr.splitlines()[0]) == (0, "Merged 3 parts: 10 recordings, 1 of them failed")
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sum(sizes) == 10
    assert max(sizes) < 10
    assert extract("all.csv", "--update").code == 3  # it knows its inputs, as a report made at once does
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_shards_in_parquet_become_the_same_numbers(serctl: Any, extract: Callable[..., Any], tmp_path: Path) -> None:
    for number in (1, 2):
        extract(f"part-{number}.parquet", "--shard", f"{number}/2")
    extract("whole.parquet")
    parts = [tmp_path / f"part-{number}.parquet" for number in (1, 2)]
    assert serctl("report", "merge", *parts, "-o", tmp_path / "all.parquet", "-q").code == 0
    merged, whole = (read_report(tmp_path / name) for name in ("all.parquet", "whole.parquet"))
    assert [[str(value) for value in row.values()] for row in merged] == [
        [str(value) for value in row.values()] for row in whole
    ]


def test_shards_stay_as_they_are_when_files_are_added(
    extract: Callable[..., Any], parts: list[Path], recordings: Path, samples: Path
) -> None:
    before = [{row["path"] for row in read_report(part)} for part in parts]
    for number in range(20, 26):
        (recordings / f"{number}.wav").symlink_to(samples / "emma-angry.wav")
    for number, part in enumerate(parts, start=1):
        extract(part.name, "--shard", f"{number}/3", "--update")
    after = [{row["path"] for row in read_report(part)} for part in parts]
    assert all(earlier <= later for earlier, later in zip(before, after, strict=True))
    assert sum(map(len, after)) == 16


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda parts: parts[:2], "shards are missing: 3/3"),
        (lambda parts: [*parts, parts[1]], "are both shard 2/3"),
        (lambda parts: [*parts[:2], parts[0].with_name("half.csv")], "do not belong together"),
        (lambda parts: [*parts[:2], parts[0].with_name("plain.csv")], "is not the report of a shard, with its ledger"),
        (lambda parts: [*parts[:2], parts[0].with_name("windows.csv")], "do not belong together"),
    ],
    ids=["missing", "doubled", "another number", "no shard", "other options"],
)
def test_parts_that_are_not_all_of_one_run_are_refused(
    serctl: Any, extract: Callable[..., Any], parts: list[Path], tmp_path: Path, choose: Any, message: str
) -> None:
    extract("half.csv", "--shard", "2/2")
    extract("plain.csv")
    extract("windows.csv", "--shard", "3/3", "--per", "window")
    done = serctl("report", "merge", *choose(parts), "-o", tmp_path / "all.csv")
    assert done.code == 2
    assert message in done.stderr
    assert not (tmp_path / "all.csv").exists()


def test_inputs_that_changed_between_the_shards_are_refused(
    serctl: Any, extract: Callable[..., Any], parts: list[Path], recordings: Path, samples: Path, tmp_path: Path
) -> None:
    (recordings / "new.wav").symlink_to(samples / "emma-angry.wav")
    extract("part-1.csv", "--shard", "1/3", "--update")
    done = serctl("report", "merge", *parts, "-o", tmp_path / "all.csv")
    assert done.code == 2
    assert "the inputs changed: 11 recordings" in done.stderr
    assert "--update adds what is new" in done.stderr


def test_a_report_of_another_shard_is_never_continued(extract: Callable[..., Any], parts: list[Path]) -> None:
    for option in ("--resume", "--update"):
        done = extract("part-1.csv", "--shard", "2/3", option)
        assert (done.code, "is shard 1/3" in done.stderr) == (2, True)


def test_a_shard_of_slurm_follows_from_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert parse_shard("slurm") == Shard(4, 8)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "9")
    with pytest.raises(ConfigError, match="Received: 10/8"):
        parse_shard("slurm")
    monkeypatch.delenv("SLURM_ARRAY_TASK_MIN")
    with pytest.raises(ConfigError, match="expected a task of a SLURM array"):
        parse_shard("slurm")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_what_is_no_shard_is_refused(serctl: Any, samples: Path, text: str) -> None:
    done = serctl("extract", samples, f"--shard={text}")
    assert done.code == 2
    assert done.stderr.startswith("error: --shard: expected")


def test_a_shard_is_not_adapted_to_its_own_recordings(serctl: Any, samples: Path) -> None:
    done = serctl("predict", samples, "--shard", "1/2", "--adapt", "auto")
    assert done.code == 2
    assert "--adapt PROFILE" in done.stderr
