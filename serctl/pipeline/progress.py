"""What a long-running pipeline function tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
