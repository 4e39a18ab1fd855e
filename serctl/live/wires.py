"""The protocols of a live stream, without sockets: samples in, lines of JSON out, over TCP and WebSocket."""

from __future__ import annotations

import hmac
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from serctl.errors import AudioError, ConfigError
from serctl.live.options import LONGEST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    Opened = Callable[[str, int], None]
    """Called with the format and rate of the samples; raises ConfigError for unsupported ones."""

_GREETINGS = (
    *(b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE ", b"PRI * HTTP"),
    b"\x16\x03\x01",  # TLS
)
"""First bytes of HTTP, WebSocket handshakes included, and of TLS; raw samples are very unlikely to start with them."""

LARGEST_MESSAGE = 2**20
"""Bytes of one WebSocket message."""

_LOOPBACK_ORIGIN = re.compile(r"https?://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


def is_http(beginning: bytes) -> bool | None:
    """Return whether a client that starts with these bytes speaks HTTP; None if more bytes are needed."""
    if beginning.startswith(_GREETINGS):
        return True
    return None if any(greeting.startswith(beginning) for greeting in _GREETINGS) else False


def error_line(message: str) -> str:
    """Return an error as one line of JSON, sent before the connection is closed."""
    return json.dumps({"error": message})


class Wire(Protocol):
    """The server's side of a protocol, bytes in and out; ended: the client said that no more samples follow."""

    ended: bool

    def receive(self, data: bytes) -> bytes:
        """Return the raw samples in received bytes. Raises ConfigError or AudioError for unexpected data."""
        ...

    def replies(self) -> bytes:
        """Return what the protocol itself has to send after receive."""
        ...

    def line(self, text: str) -> bytes:
        """Encode a line of text."""
        ...

    def close_message(self, error: str | None = None) -> bytes:
        """Return the last bytes to send: pending replies and the error, if any."""
        ...


class TcpWire:
    """Raw samples in, lines out; the token, if there is one, is the first line.

    Args:
        token: what the first line must be; None for no token.
        sample_format: format of the samples, a key of PCM_FORMATS.
        rate: sample rate in Hz.
        opened: called once, before the first samples are returned.
    """

    def __init__(self, *, token: str | None, sample_format: str, rate: int, opened: Opened) -> None:
        self.ended = False
        self._token = token
        self._open = partial(opened, sample_format, rate)
        self._opening: bytes | None = b""

    def receive(self, data: bytes) -> bytes:
        """Return the samples in received bytes. Raises ConfigError if the first line is not the token."""
        if self._opening is None:
            return data
        self._opening += data
        if self._token is None:
            samples = self._opening
        else:
            line, end, samples = self._opening.partition(b"\n")
            if not end and len(line) <= LONGEST_TOKEN:
                return b""
            _check_token(line.strip(), self._token, "the first line")
        self._opening = None
        self._open()
        return samples

    def replies(self) -> bytes:
        """Return nothing: TCP has no replies of its own."""
        return b""

    def line(self, text: str) -> bytes:
        """Encode the text with its line end."""
        return text.encode() + b"\n"

    def close_message(self, error: str | None = None) -> bytes:
        """Return the error as a line."""
        return b"" if error is None else self.line(error_line(error))


class WebSocketWire:
    """Binary messages of samples in, text messages out; the text message `end` requests the remaining predictions.

    A refused handshake is answered with HTTP 403 and the error as its body.

    Args:
        token: as for TcpWire; sent as a bearer token or in the query of the address.
        sample_format: default format; the query of the address may name another.
        rate: default sample rate in Hz; the query of the address may name another.
        opened: called once, after the handshake.
    """

    def __init__(self, *, token: str | None, sample_format: str, rate: int, opened: Opened) -> None:
        self.ended = False
        self._token = token
        self._defaults = {"format": sample_format, "rate": str(rate)}
        self._opened = opened
        self._protocol = ServerProtocol(max_size=LARGEST_MESSAGE)

    def receive(self, data: bytes) -> bytes:
        """Return the samples in received bytes.

        Raises:
            ConfigError: the handshake is refused.
            AudioError: a message is too large, is not a WebSocket message, or is a text other than `end`.
        """
        self._protocol.receive_data(data)
        samples = []
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._shake_hands(event)
            elif isinstance(event, Frame):
                samples.append(self._samples_in(event))
        if self._protocol.handshake_exc is not None:
            raise ConfigError(f"expected a WebSocket handshake: {self._protocol.handshake_exc}")
        if self._protocol.parser_exc is not None:
            raise AudioError(f"expected WebSocket messages of up to 1 MiB: {self._protocol.parser_exc}")
        return b"".join(samples)

    def _shake_hands(self, request: Request) -> None:
        query = {name: values[-1] for name, values in parse_qs(request.path.partition("?")[2]).items()}
        if self._token is None:
            self._check_origin(request)
        else:
            received = _bearer(request) or query.get("token", "")
            _check_token(received.encode(errors="backslashreplace"), self._token, "Authorization: Bearer")
        if unknown := query.keys() - {"format", "rate", "token"}:
            raise ConfigError(f"expected format and rate in the address, received {', '.join(sorted(unknown))}")
        response = self._protocol.accept(request)
        if response.status_code == 101:
            terms = {**self._defaults, **query}
            self._opened(terms["format"], _rate(terms["rate"]))
        self._protocol.send_response(response)

    def _check_origin(self, request: Request) -> None:
        """Refuse web pages of other sites: a browser lets any page connect to this machine, and names its origin."""
        for origin in request.headers.get_all("Origin"):
            if not _LOOPBACK_ORIGIN.fullmatch(origin):
                raise ConfigError(f"pages from {origin} are refused: expected one from this machine, or a token")

    def _samples_in(self, frame: Frame) -> bytes:
        if frame.opcode is Opcode.CLOSE:
            self.ended = True
        elif frame.opcode is Opcode.TEXT:
            if not frame.fin or bytes(frame.data) != b"end":
                raise AudioError("expected binary messages of samples, or the text end")
            self.ended = True
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT) and not self.ended:
            return bytes(frame.data)
        return b""

    def replies(self) -> bytes:
        """Return the response to the handshake, pongs and the reply to a close frame."""
        return b"".join(self._protocol.data_to_send())

    def line(self, text: str) -> bytes:
        """Encode the text as a message; nothing once the connection is closing."""
        if self._protocol.state is not State.OPEN:
            return b""
        self._protocol.send_text(text.encode())
        return self.replies()

    def close_message(self, error: str | None = None) -> bytes:
        """Return the error as a message and a close frame, or as the response to the handshake."""
        state = self._protocol.state
        if state is State.OPEN:
            said = b"" if error is None else self.line(error_line(error))
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE if error is None else CloseCode.POLICY_VIOLATION)
            return said + self.replies()
        if error is None:
            return self.replies()
        if state is State.CONNECTING:
            if not self._protocol.eof_sent:
                self._protocol.send_response(self._protocol.reject(403, error_line(error) + "\n"))
            # The protocol has no response to data that is not HTTP.
            return self.replies() or error_line(error).encode() + b"\n"
        # The protocol has queued its own close frame; the message must precede it.
        return Frame(Opcode.TEXT, error_line(error).encode()).serialize(mask=False) + self.replies()


def _bearer(request: Request) -> str:
    headers = request.headers.get_all("Authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""


def _check_token(received: bytes, expected: str, place: str) -> None:
    if not hmac.compare_digest(received, expected.encode()):
        raise ConfigError(f"expected the server's token in {place}")


def _rate(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ConfigError(f"expected a rate in Hz, received {text}")
    return int(text)
