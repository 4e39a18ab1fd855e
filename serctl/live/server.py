"""Serve many streams in one process: raw samples arrive over TCP or WebSocket, predictions return as lines of JSON.

Everything runs in one asyncio loop: a step of a stream takes less than a millisecond. Under overload the newest streams
are ended with an error until the remaining ones keep up.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from serctl.audio.pcm import PcmDecoder
from serctl.errors import ConfigError
from serctl.live.addresses import format_address, resolve
from serctl.live.connection import Connection
from serctl.live.log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from serctl.live.addresses import Address
    from serctl.live.options import ListenOptions
    from serctl.runtime.step import StepRecogniser

DRAINING_S = 2.0
"""Longest time for processing received data after the server was asked to stop."""

OVERLOADED_S = 1.0
"""Lag of a stream above which the server counts as overloaded."""

CHECKED_EVERY_S = 1.0

OVERLOADED = "the server is overloaded: it has more streams than it can process in time"


async def serve(
    recogniser: StepRecogniser,
    options: ListenOptions,
    *,
    started: Callable[[list[Address]], None],
    log: Callable[[str], None],
) -> None:
    """Serve until cancelled; then process what has arrived, end the open streams and wait for them for a few seconds.

    Args:
        recogniser: the streaming model, shared by all streams.
        options: where to listen and what clients send.
        started: called with the addresses that the server listens on.
        log: called with one line for each failure of a connection.

    Raises:
        ConfigError: the format or rate is unsupported, the address cannot be listened on, or other machines could
            connect and there is no token.
    """
    # Checks the format and the rate before any client connects.
    PcmDecoder(sample_format=options.sample_format, rate=options.rate, to_rate=options.rate)
    hosts = await resolve(options)
    server = Server(recogniser, options, log)
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


class Server:
    """Share one network between connections, in turns."""

    def __init__(self, recogniser: StepRecogniser, options: ListenOptions, log: Callable[[str], None]) -> None:
        self.recogniser = recogniser
        self.options = options
        self.log = RateLimitedLog(log)
        self._connections: dict[Connection, None] = {}  # in order of arrival
        self._waiting: asyncio.Queue[Connection] = asyncio.Queue()
        self._closing = False
        self._all_gone = asyncio.Event()
        self._load = _Load(asyncio.get_running_loop().time())

    def connection(self) -> Connection:
        """Create the protocol of a new client."""
        return Connection(self)

    def enter(self, connection: Connection) -> None:
        """Register a new connection, or mark it as rejected."""
        limit = self.options.max_connections
        if sum(not each.rejected_because for each in self._connections) >= limit:
            connection.rejected_because = f"all of the {limit} connections are taken"
        elif self._load.is_too_much:
            connection.rejected_because = OVERLOADED
        self._connections[connection] = None
        crowded = len(self._connections) > 2 * limit  # up to here, rejected clients receive the reason
        if crowded:
            self.log.say(connection.name, f"rejected without a message: {2 * limit} clients are connected")
        if self._closing or crowded:
            connection.abort()

    def leave(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_gone.set()

    def wait(self, connection: Connection) -> None:
        """Queue the connection for a turn."""
        self._waiting.put_nowait(connection)

    async def work(self) -> None:
        """Process queued connections one by one; the sockets are served in between."""
        while True:
            connection = await self._waiting.get()
            connection.work()
            for each in self._load.excess(list(self._connections), asyncio.get_running_loop().time()):
                each.reject(OVERLOADED)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Process what has arrived, then end all connections."""
        self._closing = True
        self._all_gone.clear()
        for connection in list(self._connections):
            connection.drain()
        end = asyncio.get_running_loop().time() + DRAINING_S
        while not self._waiting.empty() and asyncio.get_running_loop().time() < end:
            self._waiting.get_nowait().work()
            await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.end("the server was stopped")
        if self._connections:
            await self._all_gone.wait()


class _Load:
    """Decides how many streams to end: those whose audio exceeds what the server processes in real time."""

    def __init__(self, now: float) -> None:
        self.is_too_much = False
        self._checked = now
        self._processed_s: dict[Connection, float] = {}

    def excess(self, connections: list[Connection], now: float) -> list[Connection]:
        """Return the newest streams, as many as must end for the others to keep up; checked once a second."""
        elapsed_s = now - self._checked
        if elapsed_s < CHECKED_EVERY_S:
            return []
        streams = [each for each in connections if each.is_busy]
        processed_s = sum(each.processed_s() - self._processed_s.get(each, 0.0) for each in streams)
        self._checked, self._processed_s = now, {each: each.processed_s() for each in connections}
        self.is_too_much = any(each.lag_s() > OVERLOADED_S for each in streams)
        share = 1 - processed_s / (len(streams) * elapsed_s) if streams else 0.0
        if not self.is_too_much or share <= 0 or len(streams) == 1:
            return []  # a single stream may be a recording, sent as fast as it is processed
        return streams[-math.ceil(share * len(streams)) :]
