"""Progress on stderr: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from serctl.run import Progress, ProgressCallback, ignore_progress

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_S = 10.0
FEWEST_FOR_A_FORECAST = 10


@contextmanager
def watch(title: str, *, quiet: bool, unit: str, console: Console) -> Iterator[ProgressCallback]:
    """Yield the callback that a pipeline function reports to."""
    if quiet:
        yield ignore_progress
    elif console.is_terminal:
        with _live(title, unit, console) as callback:
            yield callback
    else:
        yield _plain(title, unit, console)


@contextmanager
def _live(title: str, unit: str, console: Console) -> Iterator[ProgressCallback]:
    bar = RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None, rate="", note="")
        start = time.monotonic()

        def show(progress: Progress) -> None:
            rate = progress.done / max(time.monotonic() - start, 1e-6)
            notes = [f"[red]{progress.failed} failed[/red]"] if progress.failed else []
            if progress.position_s:
                notes.append(_position(progress))
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                rate=f"{rate:.1f} {unit}/s",
                note=", ".join(notes),
            )

            if progress.done >= progress.total:
                bar.stop()  # what follows may print lines of its own

        yield show


def _plain(title: str, unit: str, console: Console) -> ProgressCallback:
    start = time.monotonic()
    last = start

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_INTERVAL_S:
            return
        last = now
        rate = progress.done / max(now - start, 1e-6)
        line = f"{title}: {progress.done}/{progress.total} {unit}, {rate:.1f}/s"
        if progress.done >= FEWEST_FOR_A_FORECAST:
            line += f", about {(progress.total - progress.done) / rate:.0f} s left"
        if progress.failed:
            line += f", {progress.failed} failed"
        if progress.position_s:
            line += f", {_position(progress)}"
        console.print(line, markup=False)

    return show


def _position(progress: Progress) -> str:
    minutes, seconds = divmod(int(progress.position_s), 60)
    return f"{minutes}:{seconds:02d} into the next"
