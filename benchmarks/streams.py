"""Live streams: 50 clients of one `serctl stream --listen` on 2 cores, each sending 0.1 s of speech every 0.1 s.

For every prediction, the time from the moment its client hands the last sample of the step to the system until it has
the line. Clients (one asyncio process) and server share the two cores. The clients start spread over one step, as
streams that know nothing of each other do; each begins elsewhere in the speech, which goes round in circles. No warm-up
is left out.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

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
    import argparse
    from collections.abc import Iterator

RATE = 16_000
STEP_S = 0.1
PIECE_BYTES = 3_200
CORES = 2
MOST_RECORDINGS = 200
TARGET_MS = 82


@dataclass
class Load:
    """What the server took: CPU seconds, and its resident memory in MB, once a second."""

    cpu_s: float = 0.0
    rss_mb: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One stream: when each of its pieces was sent, and how long each line took to come."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.late_s: list[float] = []
        self.latency_s: list[float] = []
        self.dropped = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._torn = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Time the lines that have come."""
        now = time.perf_counter()
        *lines, self._torn = (self._torn + data).split(b"\n")
        for line in map(json.loads, lines):
            if "error" in line:
                raise SystemExit(f"the server says: {line['error']}")
            self.latency_s.append(now - self.sent[round(line["time"] / STEP_S) - 1])
            self.dropped = line.get("dropped", 0)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell the feeder."""
        self.ended.set_result(None)

    async def feed(self, pieces: Iterator[bytes], *, start: float, steps: int) -> None:
        """Send the pieces at their time, then wait for the rest of the lines."""
        for step in range(steps):
            due = start + step * STEP_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.sent.append(time.perf_counter())
            self.late_s.append(self.sent[-1] - due)
            self._transport.write(next(pieces))
        self._transport.write_eof()
        await self.ended


def speech_of(data: Path | None) -> bytes:
    """Recordings one after the other: s16le, mono, 16 kHz."""
    paths = find_files(data / "ravdess") if data else find_files(SAMPLES)
    chosen = paths[:: -(-len(paths) // MOST_RECORDINGS)]
    samples = np.concatenate([read_audio(path, sample_rate=RATE) for path in chosen])
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def circle(speech: bytes, first: int) -> Iterator[bytes]:
    """Pieces of the speech from one of them on, without end."""
    count = len(speech) // PIECE_BYTES
    while True:
        at = first % count * PIECE_BYTES
        yield speech[at : at + PIECE_BYTES]
        first += 1


async def watch(server: psutil.Process, load: Load) -> None:
    """Sample the server's memory until cancelled."""
    while True:
        load.rss_mb.append(server.memory_info().rss / 1e6)
        await asyncio.sleep(1)


async def follow(
    server: psutil.Process, port: int, speech: bytes, *, streams: int, seconds: float
) -> tuple[list[Client], Load]:
    """Run all the clients to their end."""
    loop, load, before = asyncio.get_running_loop(), Load(), server.cpu_times()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(streams)]
    watching = asyncio.ensure_future(watch(server, load))
    start = time.perf_counter() + 0.5
    spacing = len(speech) // PIECE_BYTES // streams
    feeds = (
        client.feed(
            circle(speech, number * spacing), start=start + number * STEP_S / streams, steps=round(seconds / STEP_S)
        )
        for number, client in enumerate(clients)
    )
    await asyncio.gather(*feeds)
    watching.cancel()
    after = server.cpu_times()
    load.cpu_s = after.user + after.system - before.user - before.system
    return clients, load


def measure(options: list[str], speech: bytes, *, streams: int, seconds: float) -> tuple[list[Client], Load]:
    """Start a server, let the clients at it, and stop it."""
    command = [serctl(), "stream", "--listen", "127.0.0.1:0", "--max-connections", str(streams), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = process.stderr.readline()
        if not said.startswith("listening on "):
            raise SystemExit(said)
        port = int(said.rpartition(":")[2])
        try:
            return asyncio.run(follow(psutil.Process(process.pid), port, speech, streams=streams, seconds=seconds))
        finally:
            process.send_signal(signal.SIGINT)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = make_parser(__doc__, model=True)
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"{DATA_HELP}; default: sample_audio/")
    parser.add_argument("--streams", type=int, default=50, help="streams at the same time")
    parser.add_argument("--seconds", type=float, default=120, help="how long each of them goes on")
    return parser


def main() -> None:
    """Measure, print, save."""
    args = parse(options())
    seconds = 20.0 if args.quick else args.seconds
    cores = use_cores(CORES)
    speech = speech_of(args.data)
    say(f"{args.streams} streams for {seconds:g} s")
    clients, load = measure(model_options(args), speech, streams=args.streams, seconds=seconds)
    latency_ms = 1000 * np.concatenate([client.latency_s for client in clients])
    late_ms = 1000 * np.concatenate([client.late_s for client in clients])
    expected = args.streams * round(seconds / STEP_S)
    p50, p99 = np.percentile(latency_ms, [50, 99]).tolist()
    what = f"{args.streams} streams at once on {cores} cores, last sample of a step to its line"
    rows = [
        Row(f"{what}: median", p50, "ms"),
        Row("the same, 99th percentile", p99, "ms", TARGET_MS),
        Row("the same, longest", latency_ms.max().item(), "ms"),
        Row("the same, predictions that did not come", float(expected - len(latency_ms)), "", 1),
        Row("the same, one core's time that the server took", 100 * load.cpu_s / seconds, "%"),
        Row("the same, resident memory of the server, peak", max(load.rss_mb), "MB"),
    ]
    figures = {
        "streams": args.streams,
        "seconds": seconds,
        "predictions": len(latency_ms),
        "dropped": sum(client.dropped for client in clients),
        "latency_ms": dict(
            zip(
                ("p50", "p90", "p99", "p99.9", "max"),
                np.percentile(latency_ms, [50, 90, 99, 99.9, 100]).tolist(),
                strict=True,
            )
        ),
        "client_late_ms": dict(zip(("p50", "p99", "max"), np.percentile(late_ms, [50, 99, 100]).tolist(), strict=True)),
        "server_cpu_s": load.cpu_s,
        "server_rss_mb": load.rss_mb,
    }
    finish("streams", rows, figures=figures, save=args.save)


if __name__ == "__main__":
    main()
