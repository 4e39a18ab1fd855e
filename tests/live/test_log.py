from __future__ import annotations

from serctl.live.log import LINES_AT_ONCE, MOST_KINDS, RateLimitedLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_of_one_kind_are_limited_and_counted() -> None:
    lines: list[str] = []
    clock = Clock()
    log = RateLimitedLog(lines.append, clock=clock)
    for number in range(1000):
        log.say(f"127.0.0.1:{number}", f"turned away: {number} clients")
    assert lines == [f"127.0.0.1:{number}: turned away: {number} clients" for number in range(LINES_AT_ONCE)]
    log.say("127.0.0.1:1", "another kind")
    assert lines[-1] == "127.0.0.1:1: another kind"
    clock.now = 10.0
    log.say("127.0.0.1:2", "turned away: 7 clients")
    assert lines[-1] == "127.0.0.1:2: turned away: 7 clients (and 995 more of this kind)"


def test_kinds_that_clients_make_up_share_one_limit() -> None:
    lines: list[str] = []
    log = RateLimitedLog(lines.append, clock=Clock())
    for number in range(10_000):
        log.say("127.0.0.1:1", "unexpected " + "x" * number)
    assert len(lines) == MOST_KINDS + LINES_AT_ONCE
    assert max(map(len, lines)) < 250


def test_a_line_is_one_line_without_control_characters() -> None:
    lines: list[str] = []
    RateLimitedLog(lines.append).say("127.0.0.1:1", "evil\n\x1b[2J")
    assert lines == ["127.0.0.1:1: evil??[2J"]
