"""Many clients of one server, over real sockets: none harms another, none makes memory grow, none gets in unasked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
import tracemalloc
from itertools import groupby
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serctl.audio.pcm import PcmDecoder
from serctl.audio.segments import read_audio
from serctl.errors import ConfigError
from serctl.live import connection as module
from serctl.live.addresses import format_address, parse_address
from serctl.live.connection import QUEUED_STEPS
from serctl.live.log import LINES_AT_ONCE
from serctl.live.options import ListenOptions, StreamOptions
from serctl.live.server import serve
from serctl.live.stream import SpeechStream
from serctl.runtime.step import StepRecogniser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from serctl.bundle.store import Bundle

RATE = 16_000
PIECE = 3_200
"""Bytes of 0.1 s in s16le."""

ENOUGH_S = 120
"""For any of these tests, however busy the machine; what hangs fails."""

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def recogniser(live_bundle: Bundle) -> StepRecogniser:
    return StepRecogniser(live_bundle)


@pytest.fixture(scope="module")
def talk(samples: Path) -> dict[str, bytes]:
    """Recordings as s16le."""
    return {
        name: (read_audio(samples / f"{name}.flac", sample_rate=RATE) * 32_767).astype("<i2").tobytes()
        for name in ("emma-happy", "tom-sad", "jana-angry", "marek-neutral")
    }


@pytest.fixture(scope="module")
def expected(recogniser: StepRecogniser) -> Callable[[bytes], Lines]:
    """What a stream of its own makes of samples."""

    def predict(data: bytes, sample_format: str = "s16le", rate: int = RATE) -> Lines:
        decoder = PcmDecoder(sample_format=sample_format, rate=rate, to_rate=RATE)
        stream = SpeechStream(recogniser)
        predicted = [*stream.push(decoder.decode(data)), *stream.push(decoder.finish())]
        return [prediction.to_dict(recogniser.bundle.facts.labels) for prediction in predicted]

    return predict


def run(scenario: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario, ENOUGH_S))


@contextlib.asynccontextmanager
async def serving(recogniser: StepRecogniser, *, stays: bool = True, **options: Any) -> AsyncIterator[SimpleNamespace]:
    """A server on a free port: its port, what it logged, and how to stop it; stays: whether nothing may have."""
    logged: list[str] = []
    started: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(
        serve(recogniser, ListenOptions(**options), started=started.set_result, log=logged.append)
    )

    async def stop() -> None:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    ((_, port),) = started.result()
    try:
        yield SimpleNamespace(port=port, logged=logged, stop=stop)
        assert task.done() != stays
    finally:
        if not task.done():
            await stop()
        elif stays:
            task.result()


async def tcp(server: SimpleNamespace, data: bytes, *, piece: int | None = None) -> Lines:
    """The lines for these bytes, sent at once or in pieces."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.suppress(ConnectionError):
        for first in range(0, len(data), piece or len(data) or 1):
            writer.write(data[first : first + (piece or len(data))])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
    lines = [json.loads(line) async for line in reader]
    await closed(writer)
    return lines


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def address(server: SimpleNamespace, query: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}/{query}"


async def websocket(
    server: SimpleNamespace, data: bytes, query: str = "", *, piece: int = PIECE, **options: Any
) -> Lines:
    """The lines for these bytes, sent as messages."""
    async with connect(address(server, query), **options) as client:
        for first in range(0, len(data), piece):
            await client.send(data[first : first + piece])
        await client.send("end")
        lines = [json.loads(message) async for message in client]
    assert client.protocol.close_code == 1000
    return lines


async def refused(server: SimpleNamespace, query: str = "", **options: Any) -> str:
    """The error that answers a handshake."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(address(server, query), **options):
            pass
    assert caught.value.response.status_code == 403
    return json.loads(caught.value.response.body)["error"]


def assert_same(found: Lines, expected: Lines) -> None:
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for one, other in zip(found, expected, strict=True):
        for key in one.keys() - {"latency_ms"}:
            assert one[key] == (pytest.approx(other[key], abs=3e-4) if key[:2] == "p_" else other[key])
        assert one["latency_ms"] >= 0
    assert any(line["voiced"] for line in found)


@pytest.mark.parametrize("piece", [PIECE, 1_001, None])
def test_lines_over_tcp_are_those_of_the_stream_alone(
    recogniser: StepRecogniser, talk: Any, expected: Any, piece: int | None
) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            assert_same(await tcp(server, talk["tom-sad"], piece=piece), expected(talk["tom-sad"]))
            assert server.logged == []

    run(scenario())


@pytest.mark.parametrize("piece", [PIECE, 1_001, 2**20])
def test_lines_over_a_websocket_are_those_of_the_stream_alone(
    recogniser: StepRecogniser, talk: Any, expected: Any, piece: int
) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            assert_same(await websocket(server, talk["tom-sad"], piece=piece), expected(talk["tom-sad"]))
            assert server.logged == []

    run(scenario())


def test_a_line_comes_as_soon_as_its_samples_are_there(recogniser: StepRecogniser, talk: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            async with connect(address(server)) as client:
                for number in range(5):
                    piece = talk["tom-sad"][number * PIECE : (number + 1) * PIECE]
                    writer.write(piece)
                    await client.send(piece)
                    expected = pytest.approx((number + 1) / 10)
                    assert json.loads(await reader.readline())["time"] == expected
                    assert json.loads(await client.recv())["time"] == expected
            await closed(writer)

    run(scenario())


def test_a_websocket_may_name_its_own_format_and_rate(recogniser: StepRecogniser, samples: Path, expected: Any) -> None:
    data = read_audio(samples / "tom-sad.flac", sample_rate=48_000).astype("<f4").tobytes()

    async def scenario() -> None:
        async with serving(recogniser) as server:
            found = await websocket(server, data, "?format=f32le&rate=48000")
            assert_same(found, expected(data, "f32le", 48_000))

    run(scenario())


def test_a_message_may_come_in_fragments(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    data = talk["tom-sad"]

    async def scenario() -> None:
        async with serving(recogniser) as server, connect(address(server)) as client:
            await client.send([data[first : first + 999] for first in range(0, len(data), 999)])
            await client.send("end")
            assert_same([json.loads(message) async for message in client], expected(data))

    run(scenario())


def test_streams_at_the_same_time_keep_apart(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            found = await asyncio.gather(
                *(tcp(server, data, piece=PIECE) for data in talk.values()),
                *(websocket(server, data) for data in talk.values()),
            )
            for lines, data in zip(found, [*talk.values()] * 2, strict=True):
                assert_same(lines, expected(data))

    run(scenario())


def test_only_changes_and_other_steps(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    data = b"".join(talk.values())

    async def scenario() -> None:
        async with serving(recogniser, every="change") as server:
            emotions = [line["emotion"] for line in await tcp(server, data)]
            assert len([*groupby(emotions)]) == len(emotions)
            assert 1 < len(emotions) < len(expected(data))
        async with serving(recogniser, stream=StreamOptions(window_s=1, hop_s=0.25)) as server:
            assert [line["time"] for line in await tcp(server, data)][:3] == [0.25, 0.5, 0.75]

    run(scenario())


def test_a_hundred_clients_that_vanish_harm_no_stream(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    data = b"".join(talk.values())

    async def vanish(server: SimpleNamespace, number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        if number % 2:
            opening = b"GET / HTTP/1.1\r\nUpgr" if number % 4 == 1 else b""
            writer.write(opening + data[: 997 * number])
            await asyncio.sleep(0.001 * (number % 7))
            writer.transport.abort()
        await closed(writer)

    async def scenario() -> None:
        async with serving(recogniser, max_connections=200) as server:
            stream = asyncio.ensure_future(tcp(server, data, piece=500))
            for first in range(0, 100, 20):
                await asyncio.gather(*(vanish(server, number) for number in range(first, first + 20)))
            assert_same(await stream, expected(data))
            assert_same(await websocket(server, talk["tom-sad"]), expected(talk["tom-sad"]))

    run(scenario())


def test_a_client_may_begin_again(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser, max_connections=1) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(talk["emma-happy"][: 10 * PIECE])
            await reader.readline()
            writer.transport.abort()
            await closed(writer)
            async with connect(address(server)) as client:
                await client.send(talk["emma-happy"][: 10 * PIECE])
                await client.recv()
            assert_same(await tcp(server, talk["tom-sad"]), expected(talk["tom-sad"]))

    run(scenario())


async def say(server: SimpleNamespace, data: bytes, *, end: bool = True) -> bytes:
    """All that answers these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    if end:
        writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    await closed(writer)
    return answer


def test_garbage_is_answered_and_harms_no_stream(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 100_001, dtype=np.uint8).tobytes()

    async def scenario() -> None:
        async with serving(recogniser) as server:
            stream = asyncio.ensure_future(tcp(server, talk["emma-happy"], piece=100))
            lines = [json.loads(line) for line in (await say(server, noise)).splitlines()]
            assert lines.pop()["error"].startswith("the stream ended in the middle of a sample: 1 of 2 bytes")
            assert len(lines) == 100_000 // PIECE
            for request in (b"GET", b"G", b"", b"GET ", b"GET / HTTP/1.1\r\nHost: here\r\n"):
                answer = json.loads((await say(server, request)).splitlines()[-1])
                assert "in the middle of a sample" in answer["error"] or "before its first sample" in answer["error"]
            assert "expected a WebSocket handshake" in json.loads(await say(server, b"GET " + noise))["error"]
            assert await say(server, b"GET / HTTP/1.1\r\nHost: " + b"x" * 300_000, end=False)
            assert await say(server, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000, end=False)
            answer = await say(server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 426 ")
            assert_same(await stream, expected(talk["emma-happy"]))
            assert all(line.startswith("127.0.0.1:") and line.isprintable() for line in server.logged)

    run(scenario())


def test_bytes_after_a_handshake_that_are_no_messages_are_an_error(recogniser: StepRecogniser) -> None:
    handshake = (
        b"GET /?rate=16000 HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )

    async def scenario() -> None:
        async with serving(recogniser) as server:
            answer = await say(server, handshake + b"\xff" * 10_000)
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert b'{"error": "expected WebSocket messages of up to 1 MiB: invalid opcode"}' in answer
            assert len(server.logged) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("message", "error", "code"),
    [
        (bytes(2**20 + 1), "expected WebSocket messages of up to 1 MiB: .*1048577", 1009),
        ("stop", "expected binary messages of samples, or the text end", 1008),
    ],
)
def test_messages_that_are_not_allowed(recogniser: StepRecogniser, message: Any, error: str, code: int) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server, connect(address(server)) as client:
            with contextlib.suppress(ConnectionClosed):
                await client.send(message)
            answer = json.loads(await client.recv())
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.protocol.close_code == code
            assert re.search(error, answer["error"])
            (logged,) = server.logged
            assert logged.endswith(answer["error"])

    run(scenario())


def test_a_torn_sample_is_told_after_the_lines(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            *lines, error = await tcp(server, talk["tom-sad"] + b"\x01")
            assert_same(lines, expected(talk["tom-sad"]))
            assert error == {"error": "the stream ended in the middle of a sample: 1 of 2 bytes"}
            (logged,) = server.logged
            assert logged.endswith(error["error"])

    run(scenario())


def test_a_burst_lets_others_have_their_turn(recogniser: StepRecogniser, talk: Any) -> None:
    burst = b"".join(talk.values()) * 8

    async def scenario() -> None:
        async with serving(recogniser) as server:
            long, sending = await asyncio.open_connection("127.0.0.1", server.port)
            sending.write(burst)
            sending.write_eof()
            lines: list[bytes] = []
            reading = asyncio.ensure_future(read(long, lines))
            while not lines:
                await asyncio.sleep(0)
            assert len(await tcp(server, talk["tom-sad"][:PIECE])) == 1
            assert len(lines) < 60  # pieces of the burst; one read of its socket gives 80
            await reading
            await closed(sending)
            assert len(lines) == len(burst) // PIECE

    run(scenario())


async def read(reader: asyncio.StreamReader, lines: list[bytes]) -> None:
    while line := await reader.readline():
        lines.append(line)


def test_a_large_message_lets_others_have_their_turn(recogniser: StepRecogniser, talk: Any) -> None:
    burst = (b"".join(talk.values()) * 8)[: 2**20]

    async def scenario() -> None:
        async with serving(recogniser) as server, connect(address(server)) as client:
            await client.send(burst)
            times = [json.loads(await client.recv())["time"]]
            other = asyncio.ensure_future(tcp(server, talk["tom-sad"][:PIECE]))
            while not other.done():
                times.append(json.loads(await client.recv())["time"])
            assert len(await other) == 1
            assert len(times) < 100 < len(burst) // PIECE

    run(scenario())


def test_what_comes_too_fast_waits_outside(recogniser: StepRecogniser) -> None:
    data = bytes(2**20)

    async def scenario() -> None:
        async with serving(recogniser, sample_format="s32le", rate=384_000) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            tracemalloc.start()
            for _ in range(24):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
            lines = [line async for line in reader]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            await closed(writer)
            assert len(lines) == 24 * len(data) // (384_000 * 4 // 10)
            assert peak < 6e6

    run(scenario())


def test_a_client_that_does_not_read_loses_the_oldest_and_is_told(
    recogniser: StepRecogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, predicted = 4_000, []

    class Watched(SpeechStream):
        def push(self, samples: Any) -> Any:
            found = super().push(samples)
            predicted.extend(found)
            return found

    monkeypatch.setattr("serctl.live.connection.SpeechStream", Watched)
    data = bytes(steps * PIECE // 2)

    async def scenario() -> None:
        async with serving(recogniser, stream=StreamOptions(window_s=0.05, hop_s=0.05)) as server:
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.connect(("127.0.0.1", server.port))
            reader, writer = await asyncio.open_connection(sock=slow, limit=1_000)
            for first in range(0, len(data), 10 * PIECE):
                writer.write(data[first : first + 10 * PIECE])
                await writer.drain()
            while len(predicted) < steps:
                await asyncio.sleep(0.01)
            writer.write_eof()
            lines = [json.loads(line) async for line in reader]
            await closed(writer)
            assert len(lines) + lines[-1]["dropped"] == steps
            assert lines[-1]["dropped"] > steps // 2  # the system holds the rest
            times = [line["time"] for line in lines]
            assert times == sorted(times)
            # The latest were kept, as many as may wait.
            np.testing.assert_allclose(times[-QUEUED_STEPS:], np.arange(steps - QUEUED_STEPS + 1, steps + 1) / 20)
            counts = [line.get("dropped", 0) for line in lines]
            assert (counts[0], counts) == (0, sorted(counts))
            (logged,) = server.logged
            assert f"{lines[-1]['dropped']} steps were dropped" in logged

    run(scenario())


def test_a_token_is_asked_for(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    data, token = talk["tom-sad"], "open-sesame"

    async def scenario() -> None:
        async with serving(recogniser, token=token) as server:
            for first in (b"open-sesame\n", b"open-sesame\r\n"):
                assert_same(await tcp(server, first + data), expected(data))
            bearer = {"Authorization": f"Bearer {token}"}
            assert_same(await websocket(server, data, additional_headers=bearer), expected(data))
            assert_same(await websocket(server, data, f"?token={token}"), expected(data))
            assert server.logged == []
            for wrong in (b"open-sesam\n" + data, b"\n" + data, data, b"\xff\xfe\n" + data, bytes(1_000)):
                assert await tcp(server, wrong) == [{"error": "expected the server's token in the first line"}]
            for query, headers in (
                ("", {}),
                ("?token=", {}),
                ("?token=open-sesam", {}),
                ("?token=%ff%c3%a9", {}),
                ("", {"Authorization": "Bearer"}),
                ("", {"Authorization": "Basic open-sesame"}),
                (f"?token={token}", {"Authorization": "Bearer wrong"}),
            ):
                assert "the server's token" in await refused(server, query, additional_headers=headers)
            assert len(server.logged) == 2 * LINES_AT_ONCE  # of two kinds
            assert token not in "".join(server.logged)

    run(scenario())


def test_pages_of_other_sites_are_kept_out(recogniser: StepRecogniser, talk: Any) -> None:
    data = talk["tom-sad"][:PIECE]

    async def scenario() -> None:
        async with serving(recogniser) as server:
            for origin in ("https://example.org", "http://127.0.0.1.example.org", "http://localhost.example", "null"):
                assert f"pages from {origin} are refused" in await refused(server, origin=origin)
            for origin in ("http://localhost:8000", "https://127.0.0.1", "http://[::1]:80"):
                assert len(await websocket(server, data, origin=origin)) == 1
        async with serving(recogniser, token="t") as server:
            assert len(await websocket(server, data, "?token=t", origin="https://example.org")) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?format=u8", "expected a sample format among s16le, s32le, f32le, received u8"),
        ("?rate=1", "expected a rate from 4000 to 384000 Hz, received 1"),
        ("?rate=16k", "expected a rate in Hz, received 16k"),
        ("?fromat=s16le", "expected format and rate in the address, received fromat"),
    ],
)
def test_what_a_websocket_cannot_have(recogniser: StepRecogniser, query: str, message: str) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            assert await refused(server, query) == message

    run(scenario())


def test_no_more_than_so_many_at_a_time(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser, max_connections=2) as server:
            async with connect(address(server)) as one, connect(address(server)) as two:
                assert await tcp(server, talk["tom-sad"]) == [{"error": "all of the 2 connections are taken"}]
                assert await refused(server) == "all of the 2 connections are taken"
                for client in (one, two):
                    await client.send(talk["tom-sad"][:PIECE])
                    assert json.loads(await client.recv())["time"] == 0.1
            assert_same(await tcp(server, talk["tom-sad"]), expected(talk["tom-sad"]))

    run(scenario())


def test_a_crowd_is_rejected_unread(recogniser: StepRecogniser) -> None:
    async def scenario() -> None:
        async with serving(recogniser, max_connections=2) as server:
            crowd = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(10)]
            done, _ = await asyncio.wait(
                [asyncio.ensure_future(ended(reader)) for reader, _ in crowd], return_when=asyncio.FIRST_COMPLETED
            )
            assert done
            for _, writer in crowd:
                await closed(writer)
            rejected = [line for line in server.logged if "without a message: 4 clients are connected" in line]
            assert len(rejected) == LINES_AT_ONCE  # of the 10 - 2 * 2

    async def ended(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()

    run(scenario())


def test_who_sends_nothing_is_let_go(recogniser: StepRecogniser, talk: Any) -> None:
    error = {"error": "no data received for 0.2 s"}

    async def scenario() -> None:
        async with serving(recogniser, idle_s=0.2) as server:
            assert json.loads(await say(server, b"", end=False)) == error
            *lines, last = (await say(server, talk["tom-sad"][: 3 * PIECE], end=False)).splitlines()
            assert (len(lines), json.loads(last)) == (3, error)
            async with connect(address(server)) as client:
                assert json.loads(await client.recv()) == error
            assert len(server.logged) == 3

    run(scenario())


def test_who_begins_no_stream_soon_makes_room(
    recogniser: StepRecogniser, talk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPENING_S", 0.3)

    async def scenario() -> None:
        async with serving(recogniser, max_connections=2) as server, connect(address(server)) as speaker:
            silent = await say(server, b"", end=False)
            assert json.loads(silent) == {"error": "no data received for 0.3 s"}
            await asyncio.sleep(0.4)
            await speaker.send(talk["tom-sad"][:PIECE])
            assert json.loads(await speaker.recv())["time"] == 0.1

    run(scenario())


def test_a_handshake_cannot_be_drawn_out(recogniser: StepRecogniser) -> None:
    async def scenario() -> None:
        async with serving(recogniser, idle_s=0.3) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            answer = asyncio.ensure_future(reader.read())
            writer.write(b"GET / HTTP/1.1\r\n")
            while not answer.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"A: b\r\n")
                    await writer.drain()
                await asyncio.sleep(0.05)
            assert b"no data received" in answer.result() or not answer.result()
            await closed(writer)
            assert "no data received" in server.logged[0]

    run(scenario())


def test_a_stop_ends_the_open_streams(recogniser: StepRecogniser, talk: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser, stays=False) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            _, silent = await asyncio.open_connection("127.0.0.1", server.port)
            async with connect(address(server)) as client:
                writer.write(talk["tom-sad"][: PIECE + 1])
                await client.send(talk["tom-sad"][: PIECE + 1])
                assert json.loads(await reader.readline())["time"] == 0.1
                assert json.loads(await client.recv())["time"] == 0.1
                stopping = asyncio.ensure_future(server.stop())
                assert json.loads(await reader.readline()) == {"error": "the server was stopped"}
                assert json.loads(await client.recv()) == {"error": "the server was stopped"}
                await closed(writer)
                await stopping
            await closed(silent)
            with pytest.raises(OSError, match=r"[Cc]onnect"):
                await asyncio.open_connection("127.0.0.1", server.port)

    run(scenario())


def starting(recogniser: StepRecogniser, **options: Any) -> None:
    async def scenario() -> None:
        async with serving(recogniser, **options):
            pass

    run(scenario())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_are_let_in_with_a_token_only(recogniser: StepRecogniser, host: str) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines: expected a token"):
        starting(recogniser, host=host)


def test_with_a_token_others_are_let_in(recogniser: StepRecogniser) -> None:
    starting(recogniser, host="0.0.0.0", token="t")


def test_where_it_cannot_listen(recogniser: StepRecogniser) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:"),
    ):
        starting(recogniser, port=taken.getsockname()[1])
    with pytest.raises(ConfigError, match="expected a host to listen on, received no such host"):
        starting(recogniser, host="no such host")
    with pytest.raises(ConfigError, match="expected format one of s16le"):
        starting(recogniser, sample_format="u8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, r"expected a port from 0 to 65535\. Received: 70000"),
        ({"token": ""}, "expected a token of 1 to 512 ASCII characters without blanks"),
        ({"token": "open sesame"}, "without blanks"),
        ({"token": "s\u00e9same"}, "ASCII"),
        ({"max_connections": 0}, "expected max_connections at least 1"),
        ({"idle_s": 0.0}, "expected idle_s above 0"),
        ({"idle_s": float("nan")}, "expected idle_s above 0"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ListenOptions(**options)


def test_addresses() -> None:
    for text, parsed in (
        ("127.0.0.1:7700", ("127.0.0.1", 7700)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:7700", ("::1", 7700)),
    ):
        assert parse_address(text) == parsed
        assert format_address(parsed) == text
    for text in ("7700", ":7700", "localhost", "localhost:", "localhost:http", "localhost:-1", ""):
        with pytest.raises(ConfigError, match=r"expected HOST:PORT, such as 127\.0\.0\.1:7700, received"):
            parse_address(text)


# Clients that want more than their share


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client, with a mask of zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_who_pings_and_never_reads_is_not_read_either(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    pings = 1_000 * masked(9, bytes(100))

    async def scenario() -> None:
        async with serving(recogniser, idle_s=6.0) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_000)
            writer.write(HANDSHAKE)
            sent = 0
            with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
                while sent < 100_000_000:
                    writer.write(pings)
                    sent += len(pings)
                    await asyncio.wait_for(writer.drain(), 1.0)
            assert sent < 30_000_000  # what the buffers of the system hold
            assert_same(await tcp(server, talk["tom-sad"]), expected(talk["tom-sad"]))
            while not server.logged:
                await asyncio.sleep(0.1)
            assert server.logged[0].endswith("the client does not take what is sent")
            writer.transport.abort()

    run(scenario())


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "GET"])
def test_http_that_is_no_handshake_is_refused(recogniser: StepRecogniser, method: str) -> None:
    request = f"{method} / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 64000\r\n\r\n"

    async def scenario() -> None:
        async with serving(recogniser) as server:
            answer = await say(server, request.encode() + bytes(64_000))
            assert b"error" in answer
            assert b'"emotion"' not in answer
            assert len(server.logged) == 1

    run(scenario())


@pytest.mark.parametrize(
    "beginning", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_tls_and_http2_are_refused(recogniser: StepRecogniser, beginning: bytes) -> None:
    async def scenario() -> None:
        async with serving(recogniser) as server:
            assert b'"emotion"' not in await say(server, beginning + bytes(64_000))
            assert len(server.logged) == 1

    run(scenario())


def test_who_sends_less_than_it_speaks_loses_its_place(recogniser: StepRecogniser) -> None:
    async def scenario() -> None:
        async with serving(recogniser, idle_s=0.4) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            answer = asyncio.ensure_future(reader.read())
            with contextlib.suppress(ConnectionError):
                while not answer.done():
                    writer.write(bytes(2))
                    await writer.drain()
                    await asyncio.sleep(0.02)
            await closed(writer)
            assert json.loads(answer.result()) == {"error": "less than 50% of a stream's samples arrived in 0.4 s"}

    run(scenario())


def test_too_many_streams_are_ended_openly(recogniser: StepRecogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(SpeechStream):
        def push(self, samples: Any) -> Any:
            time.sleep(0.03)
            return super().push(samples)

    monkeypatch.setattr("serctl.live.connection.SpeechStream", Slow)

    async def speak(server: SimpleNamespace, ended: asyncio.Event) -> Lines:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        answer = asyncio.ensure_future(reader.read())
        with contextlib.suppress(ConnectionError):
            while not (ended.is_set() or answer.done()):
                writer.write(bytes(PIECE))
                await asyncio.sleep(0.1)
            writer.write_eof()
        lines = [json.loads(line) for line in (await answer).splitlines()]
        await closed(writer)
        return lines

    async def scenario() -> None:
        async with serving(recogniser) as server:
            ended = asyncio.Event()
            streams = [asyncio.ensure_future(speak(server, ended)) for _ in range(12)]
            await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
            ended.set()
            last = [(await stream)[-1] for stream in streams]
            error = {"error": "the server is overloaded: it has more streams than it can process in time"}
            assert last[-1] == error
            assert error not in last[:2]
            assert "overloaded" in server.logged[0]
            assert max(line["latency_ms"] for line in last if "latency_ms" in line) > 1_000

    run(scenario())


def test_what_has_arrived_is_processed_before_a_stop(recogniser: StepRecogniser, talk: Any, expected: Any) -> None:
    data = talk["tom-sad"][: 10 * PIECE]

    async def scenario() -> None:
        async with serving(recogniser, stays=False) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(data)
            first = json.loads(await reader.readline())
            await server.stop()
            *lines, error = [json.loads(line) async for line in reader]
            assert len([first, *lines]) == 10
            assert error == {"error": "the server was stopped"}
            await closed(writer)

    run(scenario())
