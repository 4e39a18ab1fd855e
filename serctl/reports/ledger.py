"""What a finished report is about: which inputs in which state. A later run does only what is new or changed."""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import ConfigError, Remedy
from serctl.files import atomic_path, open_input
from serctl.reports.schema import Column, ColumnBlock, Columns, headers
from serctl.reports.tables import iterate_report
from serctl.shards import Shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SAME_IN_ALL_ROWS = frozenset({"path", "status", "error", "duration"})


@dataclass(frozen=True)
class Part:
    """What is known of a report that is one share of a run.

    Args:
        shard: which share.
        total: recordings of all shares when it was made.
        sources: for each input, which of the given paths led to it.
        columns: of the report.
    """

    shard: Shard
    total: int
    sources: tuple[int, ...]
    columns: Columns

    def to_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        facts = {"number": self.shard.number, "of": self.shard.of, "total": self.total, "sources": self.sources}
        return {**facts, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Part:
        """Read the facts. Raises ValueError, TypeError, KeyError or ConfigError if they are none."""
        shard = Shard(int(values["number"]), int(values["of"]))
        sources = tuple(map(int, values["sources"]))
        return cls(shard, int(values["total"]), sources, tuple(map(_column, values["columns"])))


def _column(values: dict[str, Any]) -> Column | ColumnBlock:
    return ColumnBlock(values["name"], tuple(values["names"])) if "names" in values else Column(**values)


@dataclass(frozen=True)
class Ledger:
    """The inputs of a report.

    Args:
        fingerprint: what determined the results (model, options, columns, version).
        keys: one for each input, which names it and its state.
        report: digest of the report's bytes.
        part: which share of a run it is; None for a whole one.
        failed: how many of the inputs failed; a table tells itself.
    """

    fingerprint: str
    keys: tuple[str, ...]
    report: str
    part: Part | None = None
    failed: int = 0

    def check(self, output: Path, *, fingerprint: str, shard: Shard | None = None) -> None:
        """Make sure that this run would have made the report.

        Raises:
            ConfigError: another model, other options or another version made it, or it is another share.
        """
        if (self.part and self.part.shard) != shard:
            is_one = f"is shard {self.part.shard}" if self.part else "is not the report of a shard"
            raise ConfigError(f"{output} {is_one}", Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
        if self.fingerprint != fingerprint:
            raise ConfigError(
                f"{output} belongs to a run with another model, other options or another version",
                Remedy.OVERWRITE,
                Remedy.OTHER_OUTPUT,
            )

    def describes(self, output: Path) -> bool:
        """Whether the report is as it was written."""
        return self.report == _digest(output)


def ledger_path(output: Path) -> Path:
    """Return where the ledger of a report lies: hidden beside it."""
    return output.with_name(f".{output.name}.ledger")


def write_ledger(output: Path, *, fingerprint: str, keys: Sequence[str], failed: int, part: Part | None = None) -> None:
    """Write down what the report, just finished, is about. Raises OSError if that cannot be written."""
    facts = {"fingerprint": fingerprint, "keys": list(keys), "report": _digest(output), "failed": failed}
    with atomic_path(ledger_path(output)) as draft:
        draft.write_text(json.dumps(facts | ({"part": part.to_dict()} if part else {})), encoding="utf-8")


def read_ledger(output: Path) -> Ledger | None:
    """Return what the report is about; None where nothing tells: another version wrote it, or another program."""
    try:
        with open_input(ledger_path(output)) as stream:
            values = json.load(stream)
        part = Part.from_dict(values["part"]) if "part" in values else None
        keys, failed = tuple(map(str, values["keys"])), int(values.get("failed", 0))
        return Ledger(str(values["fingerprint"]), keys, str(values["report"]), part, failed)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ConfigError):
        return None


def read_tables(output: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    """Yield the tables of a report that has these columns, one for each recording, as they were when it was written."""
    blocks = [column for column in columns if isinstance(column, ColumnBlock)]
    for path, group in itertools.groupby(iterate_report(output, columns), key=operator.itemgetter("path")):
        rows = list(group)
        table: dict[str, Any] = {name: [row[name] for row in rows] for name in headers(columns)}
        table |= {name: values[0] for name, values in table.items() if name in _SAME_IN_ALL_ROWS}
        for block in blocks:
            cells = [[row[name] for name in block.names] for row in rows]
            table[block.name] = np.array(cells, dtype=np.float32)
        yield table | {"path": path}


def _digest(path: Path) -> str:
    with open_input(path) as stream:
        digest = hashlib.blake2b(digest_size=16)
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
