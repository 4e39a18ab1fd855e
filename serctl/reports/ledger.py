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
from serctl.reports.schema import ColumnBlock, Columns, headers
from serctl.reports.tables import iterate_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SAME_IN_ALL_ROWS = frozenset({"path", "status", "error", "duration"})


@dataclass(frozen=True)
class Ledger:
    """The inputs of a report.

    Args:
        fingerprint: what determined the results (model, options, columns, version).
        keys: one for each input, which names it and its state.
        report: digest of the report's bytes.
    """

    fingerprint: str
    keys: tuple[str, ...]
    report: str

    def check(self, output: Path, *, fingerprint: str) -> None:
        """Make sure that this run would have made the report.

        Raises:
            ConfigError: another model, other options or another version made it.
        """
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


def write_ledger(output: Path, *, fingerprint: str, keys: Sequence[str]) -> None:
    """Write down what the report, just finished, is about. Raises OSError if that cannot be written."""
    ledger = Ledger(fingerprint, tuple(keys), _digest(output))
    with atomic_path(ledger_path(output)) as draft:
        draft.write_text(json.dumps(asdict(ledger)), encoding="utf-8")


def read_ledger(output: Path) -> Ledger | None:
    """Return what the report is about; None where nothing tells: another version wrote it, or another program."""
    try:
        with open_input(ledger_path(output)) as stream:
            values = json.load(stream)
        return Ledger(str(values["fingerprint"]), tuple(map(str, values["keys"])), str(values["report"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
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
