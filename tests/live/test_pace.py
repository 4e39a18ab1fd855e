"""The latency of a stream whose client sends as it speaks, in pieces of 0.1 s from time 100 on."""

from __future__ import annotations

import pytest

from serctl.live.pace import Pace

START = 100.0


def follow(pace: Pace, first_s: float, last_s: float) -> None:
    """Receive everything from first_s to last_s of the stream, each piece when it is spoken."""
    for tenth in range(round(10 * first_s), round(10 * last_s)):
        pace.arrive(START + (tenth + 1) / 10, waited_for=True)
        pace.received_s += 0.1
        pace.use_up()


@pytest.fixture
def pace() -> Pace:
    """That of a stream of which 10 s were processed in time."""
    made = Pace(START)
    follow(made, 0, 10)
    return made


def test_fresh_samples_are_as_late_as_they_have_been_here(pace: Pace) -> None:
    pace.arrive(START + 10.1, waited_for=True)
    pace.received_s += 0.1
    assert pace.latency_s(START + 10.12, 10.1) == pytest.approx(0.02)


def test_samples_that_waited_unseen_are_as_late_as_they_are(pace: Pace) -> None:
    # Spoken from 10 to 14 s, but read at 15 s only.
    pace.arrive(START + 15, waited_for=False)
    pace.received_s += 4
    assert pace.latency_s(START + 15.01, 14.0) == pytest.approx(0.91)
    assert pace.latency_s(START + 15.01, 11.0) == pytest.approx(3.91)


def test_lateness_ends_when_the_buffers_are_empty(pace: Pace) -> None:
    pace.arrive(START + 15, waited_for=False)
    pace.received_s += 5
    pace.use_up()
    follow(pace, 15, 15.1)
    pace.arrive(START + 15.2, waited_for=True)
    assert pace.latency_s(START + 15.25, 15.2) == pytest.approx(0.05)


def test_a_pause_of_the_client_is_no_lateness(pace: Pace) -> None:
    pace.arrive(START + 60, waited_for=True)
    pace.received_s += 0.1
    pace.use_up()
    assert pace.latency_s(START + 60.02, 10.1) == pytest.approx(0.02)


def test_a_recording_that_is_sent_at_once_is_as_late_as_it_has_been_here(pace: Pace) -> None:
    pace.arrive(START + 10.5, waited_for=False)
    pace.received_s += 60
    assert pace.latency_s(START + 10.6, 30.0) == pytest.approx(0.1)


def test_a_client_slower_than_half_its_speech_is_too_slow() -> None:
    pace = Pace(START)
    pace.received_s = 14
    assert not pace.is_too_slow(START + 29, within_s=30)
    assert pace.is_too_slow(START + 30, within_s=30)
    pace.received_s += 16
    assert not pace.is_too_slow(START + 60, within_s=30)
