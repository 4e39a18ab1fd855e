"""How late a stream is judged, and whether its client sends as fast as it speaks."""

from __future__ import annotations

SLOWEST_PACE = 0.5
"""Of real time: a client that sends less holds a place that others wait for."""


class Pace:
    """Keeps the times of one stream: seconds of the clock and of its audio.

    Samples may have waited in the system's buffers, where nobody sees since when. But a client that sends as it speaks
    has sent, since the buffers were last seen empty, as much audio as time has gone by: what of that is not judged is
    late.
    """

    def __init__(self, now: float) -> None:
        self.received_s = 0.0
        self._arrived = self._empty = now
        self._empty_audio_s = 0.0
        self._grain_s = 0.0
        self._is_fresh = True
        self._checked, self._checked_audio_s = now, 0.0

    def arrive(self, now: float, *, waited_for: bool) -> None:
        """Take note of data, before it is received; waited_for: whether the buffers were empty before."""
        self._arrived = now
        self._is_fresh = waited_for
        self._grain_s = -self.received_s if waited_for else self._grain_s

    def use_up(self) -> None:
        """Take note that all of what arrived is received."""
        if self._is_fresh:
            self._empty, self._empty_audio_s = self._arrived, self.received_s
            self._grain_s += self.received_s
            self._is_fresh = False

    def latency_s(self, now: float, audio_s: float) -> float:
        """Seconds from the arrival of the sample at audio_s of the stream until now."""
        seen_s = now - self._arrived
        if self._is_fresh:
            return seen_s
        return max(seen_s, now - self._empty - (audio_s + self._grain_s - self._empty_audio_s))

    def is_too_slow(self, now: float, *, within_s: float) -> bool:
        """Whether less than SLOWEST_PACE of the last within_s seconds was received as audio."""
        elapsed_s, audio_s = now - self._checked, self.received_s - self._checked_audio_s
        if elapsed_s < within_s:
            return False
        self.restart(now)
        return audio_s < SLOWEST_PACE * elapsed_s

    def restart(self, now: float) -> None:
        """Measure the pace from now on."""
        self._checked, self._checked_audio_s = now, self.received_s
