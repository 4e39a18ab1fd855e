"""Latency of a stream, and whether its client sends in real time."""

from __future__ import annotations

SLOWEST_PACE = 0.5
"""Share of real time: a slower client is disconnected, as it occupies a connection."""


class Pace:
    """Tracks one stream in clock time and in audio time.

    The time that samples spent in the system's buffers cannot be observed. A client that sends in real time has sent as
    much audio as time has passed since the buffers were last seen empty, so the unprocessed part of it is the lag.
    """

    def __init__(self, now: float) -> None:
        self.received_s = 0.0
        self._arrived = self._empty = now
        self._empty_audio_s = 0.0
        self._grain_s = 0.0
        self._is_fresh = True
        self._checked, self._checked_audio_s = now, 0.0

    def arrive(self, now: float, *, waited_for: bool) -> None:
        """Note the arrival of data, before it is parsed; waited_for: whether the buffers were empty before."""
        self._arrived = now
        self._is_fresh = waited_for
        self._grain_s = -self.received_s if waited_for else self._grain_s

    def use_up(self) -> None:
        """Note that all data that arrived is parsed."""
        if self._is_fresh:
            self._empty, self._empty_audio_s = self._arrived, self.received_s
            self._grain_s += self.received_s
            self._is_fresh = False

    def latency_s(self, now: float, audio_s: float) -> float:
        """Return the seconds from the arrival of the sample at audio_s of the stream until now."""
        seen_s = now - self._arrived
        if self._is_fresh:
            return seen_s
        return max(seen_s, now - self._empty - (audio_s + self._grain_s - self._empty_audio_s))

    def is_too_slow(self, now: float, *, within_s: float) -> bool:
        """Return whether less than SLOWEST_PACE of the last within_s seconds was received as audio."""
        elapsed_s, audio_s = now - self._checked, self.received_s - self._checked_audio_s
        if elapsed_s < within_s:
            return False
        self.restart(now)
        return audio_s < SLOWEST_PACE * elapsed_s

    def restart(self, now: float) -> None:
        """Measure the pace from now on."""
        self._checked, self._checked_audio_s = now, self.received_s
