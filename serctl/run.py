"""How a run works: workers, progress, and what happens to an earlier output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serctl.errors import ConfigError, Remedy
from serctl.reports.schema import report_format

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """How far a run has come, in recordings.

    done counts the finished recordings, the failed ones among them; total is the number to do.
    """

    done: int
    total: int
    failed: int = 0


ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class RunOptions:
    """How a batch runs: where its report goes, on how many workers, and what happens to an earlier report.

    output: None hands each table to the caller instead of writing a file. Raises ConfigError if resume is asked for
    without an output.
    """

    output: Path | None = None
    jobs: int = -1
    resume: bool = False
    overwrite: bool = False
    fail_fast: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.output is None:
            raise ConfigError("a run that only prints leaves nothing to resume", Remedy.WITH_OUTPUT)
        if self.output is not None:
            report_format(self.output)
