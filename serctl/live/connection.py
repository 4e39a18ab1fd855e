"""One client of the stream server: its protocol, its stream and its queue of outgoing predictions.

Memory is bounded in both directions. Incoming: the socket is not read while received data is unprocessed, or while the
client does not read what is sent. Outgoing: if the client does not read, the oldest of QUEUED_STEPS predictions is
dropped, and counted, when a new one is queued.
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
    from serctl.live.stream import StepPrediction
    from serctl.live.wires import Wire

PIECE_S = 0.1
"""Seconds of a stream that are processed in one turn."""

WIRE_BYTES = 8_192
"""Received bytes that are parsed in one turn: a thousand of the smallest messages."""

QUEUED_STEPS = 64
"""Predictions queued for a client that does not read."""

WRITE_BYTES = 16_384
SEND_BUFFER_BYTES = 65_536
"""Send buffers of the process and of the system, for each connection: what they hold can no longer be dropped."""

UNTAKEN_BYTES = 65_536
"""Unsent protocol replies above which a client is not read from until it reads."""

OPENING_S = 5.0
"""Longest time from connecting to the first sample; the idle limit applies where it is shorter."""

CLOSING_S = 2.0
"""Longest time for a client to read the rest and close its side."""


class Connection(asyncio.Protocol):
    """One client, as an asyncio protocol.

    It holds the data of at most one read; the socket is not read again until all of it is processed.
    """

    def __init__(self, server: Server) -> None:
        self.rejected_because = ""
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
        self._processed_s = 0.0
        self._is_waiting = True
        self._is_held = False
        self._is_draining = False
        self._outgoing: deque[StepPrediction] = deque()
        self._dropped = 0
        self._said: str | None = None
        self._write_paused = False
        self._client_ended = False
        self._closing = False

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the connection and register it with the server."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.name = format_address(self._transport.get_extra_info("peername") or ("unknown", 0))
        self._touched = self._loop.time()
        self._timer = self._loop.call_later(self._patience_s, self._check_idle)
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        """Store received data and stop reading until it is processed."""
        if self._closing:
            return
        self._pace.arrive(time.monotonic(), waited_for=self._is_waiting)
        self._is_waiting = False
        if self._decoder:  # until the stream is open, data does not extend the time limit
            self._touched = self._loop.time()
        self._at_hand = memoryview(data)
        self._transport.pause_reading()
        self._server.wait(self)

    def eof_received(self) -> bool:
        """Process what arrived; the server's side stays open until then."""
        if self._closing:
            return False
        self._client_ended = True
        self._server.wait(self)
        return True

    def pause_writing(self) -> None:
        """Hold predictions back: the client does not read."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Send what was held back and continue reading."""
        self._write_paused = False
        self._send()
        if self._is_held:
            self._is_held = False
            self._server.wait(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Remove the client from the server."""
        self._closing = True
        self._timer.cancel()
        self._server.leave(self)

    # Called by the server.

    @property
    def is_busy(self) -> bool:
        """Whether received data can be processed now."""
        return bool(self._samples or self._at_hand) and not self._closing and not self._is_held

    def lag_s(self) -> float:
        """Return by how many seconds processing lags behind arrival; 0 if everything received is processed."""
        return self._pace.latency_s(time.monotonic(), self._processed_s) if self.is_busy else 0.0

    def processed_s(self) -> float:
        """Return the seconds of audio that have been processed."""
        return self._processed_s

    def work(self) -> None:
        """Process a bounded amount of received data and queue for another turn if there is more."""
        if self._closing or self._is_held:
            return
        try:
            self._work()
        except SerctlError as error:
            self._fail(str(error))

    def drain(self) -> None:
        """Stop reading; what has arrived is still processed."""
        self._is_draining = True
        if not self._closing:
            self._transport.pause_reading()

    def end(self, reason: str) -> None:
        """Send the queued predictions and the reason, then close."""
        self._close(reason)

    def reject(self, reason: str) -> None:
        """Refuse the client with an error in its own protocol, then close."""
        self._fail(reason)

    def abort(self) -> None:
        """Close without a message."""
        self._transport.abort()

    # Incoming samples.

    def _work(self) -> None:
        if not self._samples:
            data, self._at_hand = bytes(self._at_hand[:WIRE_BYTES]), self._at_hand[WIRE_BYTES:]
            self._take(data)
        self._predict_piece()
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
        # Data already in the system's buffer is delivered in the next iteration of the loop, before the second call.
        self._loop.call_soon(self._loop.call_soon, self._note_empty, self._pace.received_s)

    def _note_empty(self, received_s: float) -> None:
        self._is_waiting = not self._at_hand and not self._samples and received_s == self._pace.received_s

    def _take(self, data: bytes) -> None:
        """Parse received bytes; the first ones select TCP or WebSocket."""
        if self._greeting is not None:
            data = self._greeting = self._greeting + data
            speaks_http = is_http(data)
            if speaks_http is None and not self._client_ended:
                return
            if speaks_http:
                self._wire = self._make_wire(WebSocketWire)
            self._greeting = None
            if self.rejected_because:
                raise ConfigError(self.rejected_because)
        if data:
            received = self._wire.receive(data)
            self._samples += received
            self._pace.received_s += len(received) / self._bytes_per_s
            self._transport.write(self._wire.replies())

    def _make_wire(self, kind: type[TcpWire | WebSocketWire]) -> Wire:
        options = self._options
        return kind(token=options.token, sample_format=options.sample_format, rate=options.rate, opened=self._open)

    def _open(self, sample_format: str, rate: int) -> None:
        """Start the stream. Raises ConfigError for an unsupported format or rate."""
        recogniser = self._server.recogniser
        to_rate = recogniser.bundle.facts.features.sample_rate
        self._decoder = PcmDecoder(sample_format=sample_format, rate=rate, to_rate=to_rate)
        self._touched = self._loop.time()
        self._stream = SpeechStream(recogniser, self._options.stream)
        self._bytes_per_s = rate * PCM_FORMATS[sample_format][0].itemsize
        self._piece_bytes = round(PIECE_S * rate) * PCM_FORMATS[sample_format][0].itemsize
        self._pace.restart(time.monotonic())

    def _predict_piece(self) -> None:
        if self._decoder and self._samples:
            piece = bytes(self._samples[: self._piece_bytes])
            del self._samples[: self._piece_bytes]
            self._processed_s += len(piece) / self._bytes_per_s
            self._predict(self._decoder.decode(piece))

    def _finish(self) -> None:
        """Predict what is left and close. Raises AudioError for half a sample or no stream."""
        if self._decoder is None:
            raise AudioError("the connection ended before its first sample")
        self._predict(self._decoder.finish())
        self._close(None)

    # Outgoing predictions.

    def _predict(self, samples: NDArray[np.float32]) -> None:
        for prediction in self._stream.push(samples):
            changed, self._said = prediction.emotion != self._said, prediction.emotion
            if changed or self._options.every == "step":
                latency_s = self._pace.latency_s(time.monotonic(), prediction.time_s)
                self._queue(replace(prediction, latency_s=latency_s))
        self._send()

    def _queue(self, prediction: StepPrediction) -> None:
        if len(self._outgoing) == QUEUED_STEPS:
            self._outgoing.popleft()
            self._dropped += 1
        self._outgoing.append(prediction)

    def _send(self) -> None:
        while self._outgoing and not self._write_paused:
            self._write(self._outgoing.popleft())

    def _write(self, prediction: StepPrediction) -> None:
        line = prediction.to_dict(self._server.recogniser.bundle.facts.labels)
        if self._dropped:
            line["dropped"] = self._dropped
        self._transport.write(self._wire.line(json.dumps(line)))

    # Closing.

    @property
    def _patience_s(self) -> float:
        """Longest silence of the client: shorter until its stream is open, as it occupies a connection."""
        return self._options.idle_s if self._decoder else min(self._options.idle_s, OPENING_S)

    def _check_idle(self) -> None:
        left_s = self._touched + self._patience_s - self._loop.time()
        if self.is_busy:
            left_s = self._patience_s  # the server is behind, not the client
            self._pace.restart(time.monotonic())
        if left_s <= 0:
            self._fail(f"no data received for {self._patience_s:g} s")
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
        """Send what is queued and the error, then close; reads on, as closing with unread data would reset."""
        if self._closing:
            return
        self._closing = True
        self._timer.cancel()
        if self._dropped:
            self._server.log.say(self.name, f"the client reads too slowly: {self._dropped} steps were dropped")
        for prediction in self._outgoing:
            self._write(prediction)
        self._outgoing.clear()
        self._samples.clear()
        self._transport.write(self._wire.close_message(error))
        self._timer = self._loop.call_later(CLOSING_S, self._transport.abort)
        if self._client_ended:
            self._transport.close()
        else:
            self._end_writing()

    def _end_writing(self) -> None:
        try:
            self._transport.write_eof()
        except OSError:  # the client disconnected while nothing was read
            self._transport.abort()
        else:
            self._transport.resume_reading()
