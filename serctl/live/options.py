"""Options of streams and of the stream server; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from serctl.errors import ConfigError
from serctl.options import check_options, option

LONGEST_TOKEN = 512
"""Longest token in characters; a longer first line is refused."""


@dataclass(frozen=True)
class StreamOptions:
    """How often a stream is predicted and how steady the answer is.

    Args:
        window_s: the network's outputs of the last so many seconds are averaged.
        hop_s: seconds from one answer to the next.
        hysteresis: how much likelier another emotion must be to take over from the present one.

    Raises:
        ConfigError: a value is out of range.
    """

    window_s: float = option(0.5, "Seconds of network outputs that an answer averages, from the hop to 60.")
    hop_s: float = option(0.1, "Seconds from one answer to the next, at least 0.05.")
    hysteresis: float = option(
        0.0, "How much higher another emotion's probability must be to take over.", low=0, below=1
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not 0.05 <= self.hop_s <= self.window_s <= 60:
            raise ConfigError(
                f"expected 0.05 s <= hop <= window <= 60 s. Received: {self.hop_s} s and {self.window_s} s"
            )


@dataclass(frozen=True)
class ListenOptions:
    """Where to listen, what clients send, and what is allowed.

    Args:
        host: name or address to listen on.
        port: 0 takes a free one.
        stream: how each stream is predicted.
        sample_format: of raw samples over TCP; a WebSocket may name its own.
        rate: of raw samples over TCP, in Hz; a WebSocket may name its own.
        every: a line for every step, or only where the emotion changes.
        token: what each client must send; None for no token.
        max_connections: open connections at a time.
        idle_s: seconds without data after which a connection is closed; less if its stream has not begun.

    Raises:
        ConfigError: a value cannot be used.
    """

    host: str = "127.0.0.1"
    port: int = 0
    stream: StreamOptions = field(default_factory=StreamOptions)
    sample_format: str = option(
        "s16le",
        "Format of raw samples on stdin or from clients. Default: s16le.",
        name="format",
        choices=("s16le", "s32le", "f32le"),
        unset=True,
        group="Raw samples",
    )
    rate: int = option(
        16_000, "Rate of raw samples, mono, in Hz, 4000 to 384000. Default: 16000.", unset=True, group="Raw samples"
    )
    every: Literal["step", "change"] = option(
        "step",
        "A line for every step, or only where the emotion changes.",
        choices=("step", "change"),
        group="Answers",
    )
    token: str | None = option(
        None,
        "Token that clients must send; required unless HOST is a loopback address. Other users of this machine can see "
        "the option, but not the variable.",
        kind=str,
        envvar="SERCTL_TOKEN",
        secret=True,
    )
    max_connections: int = option(64, "Maximum number of clients at the same time.", low=1)
    idle_s: float = option(
        30.0,
        "Disconnect a client after this many seconds without data, or with less than half of a stream's; above 0.",
        above=0,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"expected a port from 0 to 65535. Received: {self.port}")
        if self.token is not None and not _is_token(self.token):
            raise ConfigError(f"expected a token of 1 to {LONGEST_TOKEN} ASCII characters without blanks")
        if self.idle_s == float("inf"):
            raise ConfigError("expected a finite idle time. Received: inf")


def _is_token(text: str) -> bool:
    return 0 < len(text) <= LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text
