"""Follow many streams in one process: raw samples come over TCP or WebSocket, judgements go back as lines of JSON.

Everything happens in one asyncio loop: a step of a stream takes less than a millisecond. Memory is bounded on each side
of a connection. What comes: no more is read from a socket while anything of it is left to be judged. What goes: if the
client does not read, the oldest of QUEUED_STEPS judgements makes room for the latest, and is counted as dropped.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from serctl.audio.pcm import PCM_FORMATS, PcmDecoder
from serctl.errors import AudioError, ConfigError, Remedy, SerctlError
from serctl.live.stream import SpeechStream
from serctl.live.wires import GREETING, TcpWire, WebSocketWire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from serctl.live.options import ListenOptions
    from serctl.live.stream import Judgement
    from serctl.live.wires import Wire
    from serctl.runtime.step import StepRecogniser

    Address = tuple[str, int]

PIECE_S = 0.1
"""So much of a stream is judged before it is another's turn."""

WIRE_BYTES = 8_192
"""So much of what came is taken apart before it is another's turn: a thousand of the smallest messages."""

QUEUED_STEPS = 64
"""Judgements that wait for a client that does not read."""

WRITE_BYTES = 16_384
SEND_BUFFER_BYTES = 65_536
"""Of the process, and of the system, for each connection: what is in there is too late to be dropped."""

OPENING_S = 5.0
"""How long a client may take to begin its stream, if it may not be silent for less."""

CLOSING_S = 2.0
"""How long a client may take to read the rest and to close its side."""


def parse_address(text: str) -> Address:
    """HOST:PORT, or [HOST]:PORT for IPv6. Raises ConfigError if it is neither."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()):
        raise ConfigError(f"expected HOST:PORT, such as 127.0.0.1:7700, came {text}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def format_address(address: Sequence[object]) -> str:
    """HOST:PORT, or [HOST]:PORT for IPv6."""
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(
    recogniser: StepRecogniser,
    options: ListenOptions,
    *,
    started: Callable[[list[Address]], None],
    log: Callable[[str], None],
) -> None:
    """Serve until cancelled; then end the open streams, and wait for them for CLOSING_S at most.

    started: told where it listens. log: told, in one line, what went wrong with a connection.
    Raises ConfigError if the format or the rate is not known, if it cannot listen there, or if others than this machine
    could connect and there is no token.
    """
    # Refuses what it does not know, before a client comes.
    PcmDecoder(sample_format=options.sample_format, rate=options.rate, to_rate=options.rate)
    hosts = await _resolve(options)
    server = _Server(recogniser, options, log)
    try:
        listening = await asyncio.get_running_loop().create_server(server.connection, hosts, options.port)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {format_address((options.host, options.port))}: {error}") from error
    try:
        started([each.getsockname()[:2] for each in listening.sockets])
        await server.work()
    finally:
        listening.close()
        await server.close()


async def _resolve(options: ListenOptions) -> list[str]:
    """The addresses of the host. Raises ConfigError unless only this machine can reach them, or there is a token."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"expected a host to listen on, came {options.host}: {error}") from error
    hosts = list(dict.fromkeys(str(each[4][0]) for each in found))
    if options.token is None and not all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts):
        raise ConfigError(
            f"{options.host} can be reached from other machines: expected a token, or a loopback address such as "
            "127.0.0.1",
            Remedy.TOKEN,
        )
    return hosts


class _Server:
    """The network and the connections that share it, each in its turn."""

    def __init__(self, recogniser: StepRecogniser, options: ListenOptions, log: Callable[[str], None]) -> None:
        self.recogniser = recogniser
        self.options = options
        self.log = log
        self._connections: set[_Connection] = set()
        self._waiting: asyncio.Queue[_Connection] = asyncio.Queue()
        self._closing = False
        self._all_gone = asyncio.Event()

    def connection(self) -> _Connection:
        return _Connection(self)

    def enter(self, connection: _Connection) -> None:
        """Count a new connection, or turn it away."""
        limit = self.options.max_connections
        if sum(not each.turned_away for each in self._connections) >= limit:
            connection.turned_away = True
        self._connections.add(connection)
        crowded = len(self._connections) > 2 * limit  # so many are told that they are turned away
        if crowded:
            self.log(f"{connection.name}: turned away without a word: {2 * limit} clients are connected")
        if self._closing or crowded:
            connection.abort()

    def leave(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def wait(self, connection: _Connection) -> None:
        """Give the connection its turn, after those that wait already."""
        self._waiting.put_nowait(connection)

    async def work(self) -> None:
        """Give each connection that waits its turn, and between them the sockets theirs."""
        while True:
            connection = await self._waiting.get()
            connection.work()
            await asyncio.sleep(0)

    async def close(self) -> None:
        """End all connections."""
        self._closing = True
        self._all_gone.clear()
        for connection in self._connections:
            connection.dismiss()
        if self._connections:
            await self._all_gone.wait()


class _Connection(asyncio.Protocol):
    """One client: its wire, its stream, the judgements that wait for it.

    At most one read's worth of data is at hand; while any of it is left, the socket is not read.
    """

    def __init__(self, server: _Server) -> None:
        self.turned_away = False
        self._server = server
        self._options = server.options
        self._loop = asyncio.get_running_loop()
        self._wire: Wire = self._make_wire(TcpWire)
        self._greeting: bytes | None = b""
        self._decoder: PcmDecoder | None = None
        self._at_hand = memoryview(b"")
        self._samples = bytearray()
        self._piece_bytes = 0
        self._arrived = 0.0
        self._outgoing: deque[Judgement] = deque()
        self._dropped = 0
        self._said: str | None = None
        self._write_paused = False
        self._client_ended = False
        self._closing = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.name = format_address(self._transport.get_extra_info("peername") or ("unknown", 0))
        self._touched = self._loop.time()
        self._timer = self._loop.call_later(self._patience_s, self._check_idle)
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._arrived = time.perf_counter()
        if self._decoder:  # before that, it has to get on with the opening
            self._touched = self._loop.time()
        self._at_hand = memoryview(data)
        self._transport.pause_reading()
        self._server.wait(self)

    def eof_received(self) -> bool:
        if self._closing:
            return False
        self._client_ended = True
        self._server.wait(self)
        return True

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self._closing = True
        self._timer.cancel()
        self._server.leave(self)

    # What the server calls.

    def work(self) -> None:
        """Get on with a bounded piece of what came, and wait for another turn if there is more."""
        if self._closing:
            return
        try:
            self._work()
        except SerctlError as error:
            self._fail(str(error))

    def dismiss(self) -> None:
        """Send what is judged, and close."""
        self._close("the server was stopped")

    def abort(self) -> None:
        self._transport.abort()

    # Samples in.

    def _work(self) -> None:
        if not self._samples:
            data, self._at_hand = bytes(self._at_hand[:WIRE_BYTES]), self._at_hand[WIRE_BYTES:]
            self._take(data)
        self._judge_piece()
        ended = self._client_ended or self._wire.ended
        if self._samples or (self._at_hand and not ended):
            self._server.wait(self)
        elif ended:
            self._finish()
        else:
            self._transport.resume_reading()

    def _take(self, data: bytes) -> None:
        """Take bytes off the wire, of which the first tell what kind it is."""
        if self._greeting is not None:
            data = self._greeting = self._greeting + data
            if len(data) < len(GREETING) and GREETING.startswith(data) and not self._client_ended:
                return
            if data.startswith(GREETING):
                self._wire = self._make_wire(WebSocketWire)
            self._greeting = None
            if self.turned_away:
                raise ConfigError(f"all of the {self._options.max_connections} connections are taken")
        if data:
            self._samples += self._wire.receive(data)
            self._transport.write(self._wire.replies())

    def _make_wire(self, kind: type[TcpWire | WebSocketWire]) -> Wire:
        options = self._options
        return kind(token=options.token, sample_format=options.sample_format, rate=options.rate, opened=self._open)

    def _open(self, sample_format: str, rate: int) -> None:
        """Begin the stream. Raises ConfigError if the format or the rate is not known."""
        recogniser = self._server.recogniser
        to_rate = recogniser.bundle.facts.features.sample_rate
        self._decoder = PcmDecoder(sample_format=sample_format, rate=rate, to_rate=to_rate)
        self._touched = self._loop.time()
        self._stream = SpeechStream(recogniser, self._options.stream)
        self._piece_bytes = round(PIECE_S * rate) * PCM_FORMATS[sample_format][0].itemsize

    def _judge_piece(self) -> None:
        if self._decoder and self._samples:
            piece = bytes(self._samples[: self._piece_bytes])
            del self._samples[: self._piece_bytes]
            self._judge(self._decoder.decode(piece))

    def _finish(self) -> None:
        """Judge what is left, and close. Raises AudioError if a sample is torn, or none could come."""
        if self._decoder is None:
            raise AudioError("the connection ended before its first sample")
        self._judge(self._decoder.finish())
        self._close(None)

    # Judgements out.

    def _judge(self, samples: NDArray[np.float32]) -> None:
        for judgement in self._stream.push(samples):
            changed, self._said = judgement.emotion != self._said, judgement.emotion
            if changed or self._options.every == "step":
                self._queue(replace(judgement, latency_s=time.perf_counter() - self._arrived))
        self._send()

    def _queue(self, judgement: Judgement) -> None:
        if len(self._outgoing) == QUEUED_STEPS:
            self._outgoing.popleft()
            self._dropped += 1
        self._outgoing.append(judgement)

    def _send(self) -> None:
        while self._outgoing and not self._write_paused:
            self._write(self._outgoing.popleft())

    def _write(self, judgement: Judgement) -> None:
        line = judgement.to_dict(self._server.recogniser.bundle.facts.labels)
        if self._dropped:
            line["dropped"] = self._dropped
        self._transport.write(self._wire.line(json.dumps(line)))

    # The end.

    @property
    def _patience_s(self) -> float:
        """How long the client may be silent: before its stream is open, it holds a place that others wait for."""
        return self._options.idle_s if self._decoder else min(self._options.idle_s, OPENING_S)

    def _check_idle(self) -> None:
        left_s = self._touched + self._patience_s - self._loop.time()
        if self._samples or self._at_hand:
            left_s = self._patience_s  # it is the server who is late
        if left_s <= 0:
            self._fail(f"nothing came for {self._patience_s:g} s")
        else:
            self._timer = self._loop.call_later(left_s, self._check_idle)

    def _fail(self, message: str) -> None:
        self._server.log(f"{self.name}: {_printable(message)}")
        self._close(message)

    def _close(self, error: str | None) -> None:
        """Send what is left and what went wrong, and close; with data unread that would lose what is sent: read on."""
        if self._closing:
            return
        self._closing = True
        self._timer.cancel()
        if self._dropped:
            self._server.log(f"{self.name}: {self._dropped} steps were dropped: the client reads too slowly")
        for judgement in self._outgoing:
            self._write(judgement)
        self._outgoing.clear()
        self._samples.clear()
        self._transport.write(self._wire.farewell(error))
        self._timer = self._loop.call_later(CLOSING_S, self._transport.abort)
        if self._client_ended:
            self._transport.close()
        else:
            self._end_writing()

    def _end_writing(self) -> None:
        try:
            self._transport.write_eof()
        except OSError:  # the client has gone, which is noticed late where nothing is read
            self._transport.abort()
        else:
            self._transport.resume_reading()


def _printable(text: str) -> str:
    """What a client had a part in, harmless on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])
