"""Follow many streams in one process: raw samples arrive over TCP or WebSocket, judgements go back as lines of JSON.

Everything happens in one asyncio loop: a step of a stream takes less than a millisecond. When more streams are sent
than can be judged in time, the latest are ended, and say why, until the others are in time again.
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
"""How long what has arrived is still judged after the server was told to stop."""

OVERLOADED_S = 1.0
"""Streams that are judged later than this are too many."""

CHECKED_EVERY_S = 1.0

OVERLOADED = "the server is overloaded: it has more streams than it can judge in time"


async def serve(
    recogniser: StepRecogniser,
    options: ListenOptions,
    *,
    started: Callable[[list[Address]], None],
    log: Callable[[str], None],
) -> None:
    """Serve until cancelled; then judge what has arrived, end the open streams, and wait for them for a few seconds.

    started: told where it listens. log: told, in one line, what went wrong with a connection.
    Raises ConfigError if the format or the rate is not known, if it cannot listen there, or if others than this machine
    could connect and there is no token.
    """
    # Refuses what it does not know, before a client comes.
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
    """The network and the connections that share it, each in its turn."""

    def __init__(self, recogniser: StepRecogniser, options: ListenOptions, log: Callable[[str], None]) -> None:
        self.recogniser = recogniser
        self.options = options
        self.log = RateLimitedLog(log)
        self._connections: dict[Connection, None] = {}  # in the order of their coming
        self._waiting: asyncio.Queue[Connection] = asyncio.Queue()
        self._closing = False
        self._all_gone = asyncio.Event()
        self._load = _Load(asyncio.get_running_loop().time())

    def connection(self) -> Connection:
        """Make the protocol of a new client."""
        return Connection(self)

    def enter(self, connection: Connection) -> None:
        """Count a new connection, or turn it away."""
        limit = self.options.max_connections
        if sum(not each.turned_away for each in self._connections) >= limit:
            connection.turned_away = f"all of the {limit} connections are taken"
        elif self._load.is_too_much:
            connection.turned_away = OVERLOADED
        self._connections[connection] = None
        crowded = len(self._connections) > 2 * limit  # so many are told that they are turned away
        if crowded:
            self.log.say(connection.name, f"turned away without a word: {2 * limit} clients are connected")
        if self._closing or crowded:
            connection.abort()

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_gone.set()

    def wait(self, connection: Connection) -> None:
        """Give the connection its turn, after those that wait already."""
        self._waiting.put_nowait(connection)

    async def work(self) -> None:
        """Give each connection that waits its turn, and between them the sockets theirs."""
        while True:
            connection = await self._waiting.get()
            connection.work()
            for each in self._load.excess(list(self._connections), asyncio.get_running_loop().time()):
                each.turn_away(OVERLOADED)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Judge what has arrived, and end all connections."""
        self._closing = True
        self._all_gone.clear()
        for connection in list(self._connections):
            connection.drain()
        end = asyncio.get_running_loop().time() + DRAINING_S
        while not self._waiting.empty() and asyncio.get_running_loop().time() < end:
            self._waiting.get_nowait().work()
            await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.dismiss("the server was stopped")
        if self._connections:
            await self._all_gone.wait()


class _Load:
    """Tells how many of the streams are too many: whose audio is longer than the time in which it is judged."""

    def __init__(self, now: float) -> None:
        self.is_too_much = False
        self._checked = now
        self._judged_s: dict[Connection, float] = {}

    def excess(self, connections: list[Connection], now: float) -> list[Connection]:
        """The latest of the streams: as many as have to end for the others to be judged in time; once a second."""
        elapsed_s = now - self._checked
        if elapsed_s < CHECKED_EVERY_S:
            return []
        streams = [each for each in connections if each.is_busy]
        judged_s = sum(each.judged_s() - self._judged_s.get(each, 0.0) for each in streams)
        self._checked, self._judged_s = now, {each: each.judged_s() for each in connections}
        self.is_too_much = any(each.lateness_s() > OVERLOADED_S for each in streams)
        share = 1 - judged_s / (len(streams) * elapsed_s) if streams else 0.0
        if not self.is_too_much or share <= 0 or len(streams) == 1:
            return []  # one stream alone may be a recording, which is sent as fast as it is judged
        return streams[-math.ceil(share * len(streams)) :]
