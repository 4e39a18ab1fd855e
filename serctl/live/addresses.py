"""Addresses of the stream server: parsing, formatting, and whether other machines can reach them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from serctl.errors import ConfigError, Remedy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.live.options import ListenOptions

    Address = tuple[str, int]


def parse_address(text: str) -> Address:
    """Parse HOST:PORT, or [HOST]:PORT for IPv6. Raises ConfigError if it is neither."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()):
        raise ConfigError(f"expected HOST:PORT, such as 127.0.0.1:7700, received {text}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def format_address(address: Sequence[object]) -> str:
    """Format an address as HOST:PORT, or [HOST]:PORT for IPv6."""
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolve(options: ListenOptions) -> list[str]:
    """Resolve the host. Raises ConfigError if other machines can reach it and there is no token."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"expected a host to listen on, received {options.host}: {error}") from error
    hosts = list(dict.fromkeys(str(each[4][0]) for each in found))
    if options.token is None and not all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts):
        raise ConfigError(
            f"{options.host} can be reached from other machines: expected a token, or a loopback address such as "
            "127.0.0.1",
            Remedy.TOKEN,
        )
    return hosts
