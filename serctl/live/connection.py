"""One client of a server of streams: its wire, its stream, and the judgements that wait for it.

Memory is bounded on each side. What arrives: no more is read from a socket while anything of it is left to be judged,
or while the client does not take what is sent. What goes: if the client does not read, the oldest of QUEUED_STEPS
judgements makes room for the latest, and is counted as dropped.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from serctl.audio.pcm import PCM_FORMATS, PcmDecoder
from serctl.errors import AudioError, ConfigError, SerctlError
from serctl.live.addresses import format_address
from serctl.live.pace import SLOWEST_PACE, Pace
from serctl.live.stream import SpeechStream
from serctl.live.wires import TcpWire, WebSocketWire, is_http

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serctl.live.server import Server
    from serctl.live.stream import Judgement
    from serctl.live.wires import Wire

PIECE_S = 0.1
"""So much of a stream is judged before it is another's turn."""

WIRE_BYTES = 8_192
"""So much of what arrived is taken apart before it is another's turn: a thousand of the smallest messages."""

QUEUED_STEPS = 64
"""Judgements that wait for a client that does not read."""

WRITE_BYTES = 16_384
SEND_BUFFER_BYTES = 65_536
"""Of the process, and of the system, for each connection: what is in there is too late to be dropped."""

UNTAKEN_BYTES = 65_536
"""Replies of the protocol that wait for a client that does not read; with more, nothing more is read from it."""

OPENING_S = 5.0
"""How long a client may take to begin its stream, if it may not be silent for less."""

CLOSING_S = 2.0
"""How long a client may take to read the rest and to close its side."""


class Connection(asyncio.Protocol):
    """One client: its wire, its stream, the judgements that wait for it.

    At most one read's worth of data is at hand; while any of it is left, the socket is not read.
    """

    def __init__(self, server: Server) -> None:
        self.turned_away = ""
        self._server = server
        self._options = server.options
        self._loop = asyncio.get_running_loop()
        self._wire: Wire = self._make_wire(TcpWire)
        self._greeting: bytes | None = b""
        self._decoder: PcmDecoder | None = None
        self._at_hand = memoryview(b"")
        self._samples = bytearray()
        self._piece_bytes = 0
        self._pace = Pace(time.monotonic())
        self._bytes_per_s = 1
        self._judged_s = 0.0
        self._is_waiting = True
        self._is_held = False
        self._is_draining = False
        self._outgoing: deque[Judgement] = deque()
        self._dropped = 0
        self._said: str | None = None
        self._write_paused = False
        self._client_ended = False
        self._closing = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn the client away."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.name = format_address(self._transport.get_extra_info("peername") or ("unknown", 0))
        self._touched = self._loop.time()
        self._timer = self._loop.call_later(self._patience_s, self._check_idle)
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, and read no more until it is worked on."""
        if self._closing:
            return
        self._pace.arrive(time.monotonic(), waited_for=self._is_waiting)
        self._is_waiting = False
        if self._decoder:  # before that, it has to get on with the opening
            self._touched = self._loop.time()
        self._at_hand = memoryview(data)
        self._transport.pause_reading()
        self._server.wait(self)

    def eof_received(self) -> bool:
        """Finish what arrived; the side of the server stays open until then."""
        if self._closing:
            return False
        self._client_ended = True
        self._server.wait(self)
        return True

    def pause_writing(self) -> None:
        """Keep the judgements back: the client does not read."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Send what was kept back, and go on reading."""
        self._write_paused = False
        self._send()
        if self._is_held:
            self._is_held = False
            self._server.wait(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the client."""
        self._closing = True
        self._timer.cancel()
        self._server.leave(self)

    # What the server calls.

    @property
    def is_busy(self) -> bool:
        """Whether anything that arrived can be worked on."""
        return bool(self._samples or self._at_hand) and not self._closing and not self._is_held

    def lateness_s(self) -> float:
        """By how many seconds the stream is judged too late; 0 if all that arrived is judged."""
        return self._pace.latency_s(time.monotonic(), self._judged_s) if self.is_busy else 0.0

    def judged_s(self) -> float:
        """Seconds of audio that have been judged."""
        return self._judged_s

    def work(self) -> None:
        """Get on with a bounded piece of what arrived, and wait for another turn if there is more."""
        if self._closing or self._is_held:
            return
        try:
            self._work()
        except SerctlError as error:
            self._fail(str(error))

    def drain(self) -> None:
        """Read nothing more."""
        self._is_draining = True
        if not self._closing:
            self._transport.pause_reading()

    def dismiss(self, reason: str) -> None:
        """Send what is judged and the reason, and close."""
        self._close(reason)

    def turn_away(self, reason: str) -> None:
        """Close as with an error, in the protocol that the client speaks."""
        self._fail(reason)

    def abort(self) -> None:
        """Close without a word."""
        self._transport.abort()

    # Samples in.

    def _work(self) -> None:
        if not self._samples:
            data, self._at_hand = bytes(self._at_hand[:WIRE_BYTES]), self._at_hand[WIRE_BYTES:]
            self._take(data)
        self._judge_piece()
        ended = self._client_ended or self._wire.ended
        if self._transport.get_write_buffer_size() > UNTAKEN_BYTES and not ended:
            self._is_held = True
        elif self._samples or (self._at_hand and not ended):
            self._server.wait(self)
        elif ended:
            self._finish()
        elif not self._is_draining:
            self._read_on()

    def _read_on(self) -> None:
        self._pace.use_up()
        self._is_waiting = False
        self._transport.resume_reading()
        # What the system has already is handed over in the next round of the loop, before the second call.
        self._loop.call_soon(self._loop.call_soon, self._note_empty, self._pace.received_s)

    def _note_empty(self, received_s: float) -> None:
        self._is_waiting = not self._at_hand and not self._samples and received_s == self._pace.received_s

    def _take(self, data: bytes) -> None:
        """Take bytes off the wire, of which the first tell what kind it is."""
        if self._greeting is not None:
            data = self._greeting = self._greeting + data
            speaks_http = is_http(data)
            if speaks_http is None and not self._client_ended:
                return
            if speaks_http:
                self._wire = self._make_wire(WebSocketWire)
            self._greeting = None
            if self.turned_away:
                raise ConfigError(self.turned_away)
        if data:
            received = self._wire.receive(data)
            self._samples += received
            self._pace.received_s += len(received) / self._bytes_per_s
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
        self._bytes_per_s = rate * PCM_FORMATS[sample_format][0].itemsize
        self._piece_bytes = round(PIECE_S * rate) * PCM_FORMATS[sample_format][0].itemsize
        self._pace.restart(time.monotonic())

    def _judge_piece(self) -> None:
        if self._decoder and self._samples:
            piece = bytes(self._samples[: self._piece_bytes])
            del self._samples[: self._piece_bytes]
            self._judged_s += len(piece) / self._bytes_per_s
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
                latency_s = self._pace.latency_s(time.monotonic(), judgement.time_s)
                self._queue(replace(judgement, latency_s=latency_s))
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
        if self.is_busy:
            left_s = self._patience_s  # it is the server who is late
            self._pace.restart(time.monotonic())
        if left_s <= 0:
            self._fail(f"nothing came for {self._patience_s:g} s")
        elif self._is_held:
            self._fail("the client does not take what is sent")
        elif self._decoder and self._pace.is_too_slow(time.monotonic(), within_s=self._patience_s):
            self._fail(f"less than {SLOWEST_PACE:.0%} of a stream's samples arrived in {self._patience_s:g} s")
        else:
            self._timer = self._loop.call_later(left_s, self._check_idle)

    def _fail(self, message: str) -> None:
        self._server.log.say(self.name, message)
        self._close(message)

    def _close(self, error: str | None) -> None:
        """Send what is left and what went wrong, and close; with data unread that would lose what is sent: read on."""
        if self._closing:
            return
        self._closing = True
        self._timer.cancel()
        if self._dropped:
            self._server.log.say(self.name, f"the client reads too slowly: {self._dropped} steps were dropped")
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
