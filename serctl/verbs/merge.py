"""Merge the reports of the shards of a run into the one that the run would have written on one machine."""

from __future__ import annotations

import heapq
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serctl.audio.find import natural_key
from serctl.errors import ConfigError, Remedy
from serctl.files import claim, is_stream
from serctl.reports.ledger import Ledger, Part, read_ledger, read_tables, write_ledger
from serctl.reports.schema import report_format, utf8
from serctl.reports.tables import check_output, write_report
from serctl.run import Run
from serctl.verbs.batch import BatchSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    Place = tuple[int, tuple[list[str | int], str]]


@dataclass(frozen=True)
class _Opened:
    """A report that is one part of a run."""

    path: Path
    ledger: Ledger
    part: Part

    def tables(self) -> Iterator[tuple[Place, str, dict[str, Any]]]:
        """Yield the tables with the place of each in the inputs of the whole run, in that order, and its key."""
        tables = read_tables(self.path, self.part.columns)
        for key, source, table in zip(self.ledger.keys, self.part.sources, tables, strict=True):
            yield (source, natural_key(_path_of(key))), key, table


def merge(parts: Sequence[Path], *, output: Path, run: Run | None = None) -> BatchSummary:
    """Write the rows of all shards in the order of the inputs, in the format of the output's suffix.

    Args:
        parts: the reports of the shards, in any order.
        output: the report to write.
        run: whether an existing output is overwritten.

    Returns:
        What the shards did together.

    Raises:
        ConfigError: a part is no report of a shard, or was changed; the parts are not those of one run; one is missing
            or there twice; the inputs changed between them; or the output exists.
    """
    start = time.monotonic()
    run = run or Run()
    report_format(output)
    opened = [_open(path) for path in parts]
    _check_together(opened)
    with claim(output):
        check_output(output, overwrite=run.overwrite, resume=False)
        summary, keys = BatchSummary(), list[str]()
        write_report(output, columns=opened[0].part.columns, tables=_merged(opened, summary, keys))
        if not is_stream(output):
            write_ledger(output, fingerprint=opened[0].ledger.fingerprint, keys=keys, failed=summary.failed)
    summary.wall_s = time.monotonic() - start
    return summary


def _open(path: Path) -> _Opened:
    ledger = read_ledger(path)
    if ledger is None or ledger.part is None:
        raise ConfigError(f"{path} is not the report of a shard, with its ledger beside it", Remedy.SHARD)
    if not ledger.describes(path):
        raise ConfigError(f"{path} was changed since it was written")
    return _Opened(path, ledger, ledger.part)


def _check_together(opened: Sequence[_Opened]) -> None:
    first = opened[0]
    for each in opened[1:]:
        if (each.ledger.fingerprint, each.part.shard.of) != (first.ledger.fingerprint, first.part.shard.of):
            raise ConfigError(
                f"{first.path} and {each.path} do not belong together: another model, other options, another version "
                "or another number of shards"
            )
    found = _by_number(opened)
    missing = [f"{number}/{first.part.shard.of}" for number in range(1, first.part.shard.of + 1) if number not in found]
    if missing:
        raise ConfigError(f"shards are missing: {', '.join(missing)}")
    _check_same_inputs(opened)


def _by_number(opened: Iterable[_Opened]) -> dict[int, _Opened]:
    found: dict[int, _Opened] = {}
    for each in opened:
        twice = found.setdefault(each.part.shard.number, each)
        if twice is not each:
            raise ConfigError(f"{twice.path} and {each.path} are both shard {each.part.shard}")
    return found


def _check_same_inputs(opened: Sequence[_Opened]) -> None:
    """Each part says how many recordings all inputs had when it was made."""
    most = max(opened, key=lambda each: each.part.total)
    fewest = min(opened, key=lambda each: each.part.total)
    if fewest.part.total != most.part.total:
        raise ConfigError(
            f"the inputs changed: {most.part.total} recordings when {most.path} was made, {fewest.part.total} when "
            f"{fewest.path} was",
            Remedy.UPDATE,
        )
    paths = {_path_of(key) for each in opened for key in each.ledger.keys}
    if not len(paths) == sum(len(each.ledger.keys) for each in opened) == most.part.total:
        raise ConfigError(f"expected {most.part.total} different recordings in all parts, found {len(paths)}")


def _merged(opened: Sequence[_Opened], summary: BatchSummary, keys: list[str]) -> Iterator[dict[str, Any]]:
    """The tables of all parts in the order of the inputs; counts them, and lists their keys."""
    streams = [each.tables() for each in opened]
    with closing(heapq.merge(*streams, key=lambda item: item[0])) as merged:
        for _, key, table in merged:
            if utf8(_path_of(key)) != table["path"]:
                raise ConfigError(f"expected the row of {_path_of(key)}, found that of {table['path']}")
            summary.count(table)
            keys.append(key)
            yield table


def _path_of(key: str) -> str:
    return key.split("\0")[0]
