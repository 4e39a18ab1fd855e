"""A rate-limited log of client errors: of each kind of message, the first few are written and the rest counted."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LINES_AT_ONCE = 5
SECONDS_PER_LINE = 10.0
MOST_KINDS = 32
LONGEST_LINE = 200


@dataclass
class _Kind:
    allowance: float
    since: float
    left_out: int = 0


class RateLimitedLog:
    """Writes lines about clients: of each kind LINES_AT_ONCE, then one every SECONDS_PER_LINE that counts the others.

    Args:
        write: writes one line.
        clock: seconds that only grow.
    """

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def say(self, client: str, message: str) -> None:
        """Write a line, or count it if there were many of its kind (the message up to its first digit or colon)."""
        kind = self._kind(re.split(r"[0-9:]", message)[0])
        if kind.allowance < 1:
            kind.left_out += 1
            return
        kind.allowance -= 1
        more = f" (and {kind.left_out} more of this kind)" if kind.left_out else ""
        kind.left_out = 0
        self._write(f"{client}: {_printable(message)}{more}")

    def _kind(self, name: str) -> _Kind:
        now = self._clock()
        if name not in self._kinds and len(self._kinds) >= MOST_KINDS:
            name = ""  # messages may contain client data, so clients could create kinds without end
        kind = self._kinds.setdefault(name, _Kind(LINES_AT_ONCE, now))
        kind.allowance = min(kind.allowance + (now - kind.since) / SECONDS_PER_LINE, LINES_AT_ONCE)
        kind.since = now
        return kind


def _printable(text: str) -> str:
    """Escape what could control a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_LINE])
