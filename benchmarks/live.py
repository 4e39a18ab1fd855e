"""Live: `serctl stream -` on one core, fed speech in real time: latency of its lines, memory and clock over an hour.

The RAVDESS recordings below --data follow each other, as s16le in pieces of 20 ms, each written no sooner than it would
have been spoken. The latency of a step is the time from writing the piece with its last sample to having read its line.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from _common import (
    DATA_HELP,
    SAMPLES,
    Row,
    find_files,
    finish,
    make_parser,
    model_options,
    parse,
    say,
    serctl,
    use_cores,
)

from serctl.audio.segments import read_audio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RATE = 16_000
PIECE_S = 0.02
HOP_S = 0.1
MEMORY_EVERY_S = 10.0
EDGE_S = 600.0
MOST_P99_MS = 10.0
MOST_GROWTH_MB = 5.0
PAPER = "the paper's system, 4 cores"
PAPER_MS = 82.0


@dataclass
class Followed:
    """What was seen of a stream. Times in seconds, from its first piece; memory in MB (10^6 bytes)."""

    latency_ms: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    stated_ms: list[float] = field(default_factory=list)
    memory_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    voiced: int = 0


def speech(paths: Iterable[Path], seed: int = 0) -> Iterator[bytes]:
    """Pieces of s16le without an end, of the recordings in random order, the same for a seed."""
    order = list(paths)
    random.Random(seed).shuffle(order)
    size = 2 * round(PIECE_S * RATE)
    left = b""
    for path in cycle(order):
        samples = np.clip(read_audio(path, sample_rate=RATE), -1, 1)
        left += (samples * 32_767).astype("<i2").tobytes()
        whole = len(left) - len(left) % size
        yield from (left[first : first + size] for first in range(0, whole, size))
        left = left[whole:]


def follow(command: list[str], pieces: Iterator[bytes], seconds: float) -> Followed:
    """Feed a stream for so long and note when each line comes."""
    found = Followed()
    process = psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    written: list[float] = []
    reader = threading.Thread(target=_read_lines, args=(process.stdout, written, found))
    count = round(seconds / PIECE_S)
    first = next(pieces)
    # The model has been loaded once the first line is there: only then does the clock start.
    warm_up = round(HOP_S / PIECE_S)
    for _ in range(warm_up):
        written.append(time.perf_counter())
        process.stdin.write(first)
    process.stdin.flush()
    process.stdout.readline()
    reader.start()
    start = time.perf_counter() - warm_up * PIECE_S
    next_memory_s = 0.0
    for index in range(warm_up, count):
        piece = next(pieces)
        due = start + (index + 1) * PIECE_S
        time.sleep(max(due - time.perf_counter(), 0.0))
        written.append(time.perf_counter())
        process.stdin.write(piece)
        process.stdin.flush()
        if index * PIECE_S >= next_memory_s:
            found.memory_s.append(index * PIECE_S)
            found.memory_mb.append(process.memory_info().rss / 1e6)
            next_memory_s += MEMORY_EVERY_S
    process.stdin.close()
    reader.join()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return found


def _read_lines(lines: Any, written: list[float], found: Followed) -> None:
    for line in lines:
        now = time.perf_counter()
        said = json.loads(line)
        last_piece = round(said["time"] / PIECE_S) - 1
        found.latency_ms.append(1000 * (now - written[last_piece]))
        found.step_s.append(said["time"])
        found.stated_ms.append(said["latency_ms"])
        found.voiced += said["voiced"]


def within(values: list[float], times: list[float], first_s: float, last_s: float) -> list[float]:
    """The values of a stretch of time."""
    return [value for value, moment in zip(values, times, strict=True) if first_s <= moment < last_s]


def main() -> None:
    """Measure, print, save."""
    parser = make_parser(__doc__, model=True)
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"{DATA_HELP}; default: sample_audio")
    parser.add_argument("--minutes", type=float, default=60, help="how long (default: %(default)s)")
    args = parse(parser)
    seconds = 30.0 if args.quick else 60 * args.minutes
    edge = min(EDGE_S, seconds / 3)
    paths = find_files(args.data / "ravdess" if args.data else SAMPLES)
    use_cores(1)
    say(f"{seconds / 60:g} minutes of {len(paths)} recordings")
    found = follow([serctl(), "stream", "-", *model_options(args)], speech(paths), seconds)
    expected = round(seconds / HOP_S)
    # The first line was read to know that the model is loaded.
    missing = expected - 1 - len(found.latency_ms)
    ends = [within(found.memory_mb, found.memory_s, *span) for span in ((0, edge), (seconds - edge, seconds))]
    late = [within(found.latency_ms, found.step_s, *span) for span in ((0, edge), (seconds - edge, seconds))]
    minutes = f"{seconds / 60:g} minutes"
    rows = [
        Row(
            "`serctl stream`: from the last sample of a step to its line, median",
            statistics.median(found.latency_ms),
            "ms",
            peer=PAPER,
            peer_figure=PAPER_MS,
        ),
        Row(
            f"the same, p99, {minutes} in real time on one core",
            float(np.percentile(found.latency_ms, 99)),
            "ms",
            MOST_P99_MS,
        ),
        Row(
            f"its memory, last {edge / 60:g} minutes less the first",
            statistics.mean(ends[1]) - statistics.mean(ends[0]),
            "MB",
            MOST_GROWTH_MB,
        ),
        Row(
            f"its delay, median of the last {edge / 60:g} minutes less that of the first",
            statistics.median(late[1]) - statistics.median(late[0]),
            "ms",
            1.0,
        ),
        Row("steps without a line", float(missing), "", 1),
    ]
    figures = {
        "seconds": seconds,
        "recordings": len(paths),
        "steps": len(found.latency_ms),
        "voiced": found.voiced,
        "latency_ms": {
            str(share): float(np.percentile(found.latency_ms, share)) for share in (5, 25, 50, 75, 95, 99, 99.9, 100)
        },
        "stated latency_ms": {str(share): float(np.percentile(found.stated_ms, share)) for share in (50, 99)},
        "memory_mb": {
            "first": statistics.mean(ends[0]),
            "last": statistics.mean(ends[1]),
            "most": max(found.memory_mb),
        },
    }
    finish("live", rows, figures=figures, save=args.save)


if __name__ == "__main__":
    main()
