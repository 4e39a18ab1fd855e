"""Extraction: the full feature set on one core beside openSMILE's eGeMAPS, on the same files in the same run.

Every 12th file of RAVDESS; decoding included, no feature cache, one thread, one core for both. Rounds alternate between
the two, so that a change of the machine's pace meets both; the ratio is that of the medians.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from _common import HERE, Row, find_files, finish, make_parser, parse, say, time_extraction, use_cores

EVERY = 12
EVERY_QUICK = 120
ROUNDS = 3
PEER = "openSMILE eGeMAPS"


def speed(rounds: list[dict[str, Any]]) -> float:
    """Seconds of audio per second, from the median of the rounds."""
    return float(rounds[0]["audio_s"] / statistics.median(each["took_s"] for each in rounds))


def make_rows(ours: list[dict[str, Any]], peers: list[dict[str, Any]]) -> list[Row]:
    """The table: both speeds and, where the peer was measured, their ratio."""
    peer_speed = speed(peers) if peers else None
    title = f"full feature set ({ours[0]['functionals']} functionals) on one core"
    rows = [Row(title, speed(ours), "x real time", peer=PEER, peer_figure=peer_speed)]
    if peer_speed:
        rows.append(Row(f"the same against {PEER}", speed(ours) / peer_speed, "x as fast", 10, at_least=True))
    return rows


def main() -> None:
    """Measure, print, save."""
    args = parse(make_parser(__doc__, data=True, peer=True))
    paths = find_files(args.data / "ravdess")[:: EVERY_QUICK if args.quick else EVERY]
    use_cores(1)
    ours, peers = [], []
    for number in range(1, ROUNDS + 1):
        say(f"round {number} of {ROUNDS}: {len(paths)} files")
        ours.append(time_extraction([sys.executable, str(HERE / "extract_serctl.py")], paths))
        if args.peer_python:
            peers.append(time_extraction([args.peer_python, str(HERE / "peer_opensmile.py")], paths))
    finish("extraction", make_rows(ours, peers), figures={"serctl": ours, PEER: peers}, save=args.save)


if __name__ == "__main__":
    main()
