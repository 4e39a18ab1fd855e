"""Throughput: `serctl predict` of the RAVDESS folder end to end on 2 cores, and the extraction stage from the cache.

End to end means a new process: start-up, decoding, features, model, report. The first run has an empty feature cache,
the second a filled one; median of 3. The extraction stage is timed by itself, in one process, with an empty and a
filled cache. The peer is openSMILE's eGeMAPS alone (no model, no report) on every 12th file, a process on each core.
`--before SERCTL` names the command of an earlier version, installed elsewhere; its bundled model runs in turn.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import (
    HERE,
    Row,
    find_files,
    finish,
    make_parser,
    model_options,
    parse,
    read_model,
    run,
    say,
    serctl,
    time_extraction,
    use_cores,
)

if TYPE_CHECKING:
    import argparse

CORES = 2
PEER_EVERY = 12
PEER = "openSMILE eGeMAPS"

Figures = dict[str, Any]


def predict(corpus: Path, folder: Path, name: str, options: list[str], *, program: str = "") -> Figures:
    """One run over the corpus with the cache in the folder: wall time, and facts from the summary and the report."""
    report, summary = folder / f"{name}.csv", folder / f"{name}.json"
    outputs = ["-o", str(report), "--summary-json", str(summary), "--cache-dir", str(folder / "cache")]
    command = [program or serctl(), "predict", str(corpus), "--quiet", "--jobs", str(CORES), *outputs, *options]
    wall_s = run(command).wall_s
    facts = json.loads(summary.read_text())
    return {
        "wall_s": wall_s,
        "audio_s": facts["audio_s"],
        "succeeded": facts["succeeded"],
        "model": read_model(report),
    }


def time_predictions(corpus: Path, options: list[str], rounds: int) -> tuple[list[Figures], list[Figures]]:
    """Runs with an empty cache, and the runs that followed each of them with the cache it had filled."""
    empty, filled = [], []
    for number in range(1, rounds + 1):
        say(f"serctl predict, round {number} of {rounds}: empty cache, then filled")
        with tempfile.TemporaryDirectory() as folder:
            empty.append(predict(corpus, Path(folder), "empty", options))
            filled.append(predict(corpus, Path(folder), "filled", options))
    return empty, filled


def time_models(corpus: Path, before: str, rounds: int) -> dict[str, list[Figures]]:
    """Runs with an empty cache of each bundled model, and of an earlier version's where it is given, in turn."""
    ways = {"serctl-base": ("", ["--model", "serctl-base"]), "serctl-fast": ("", ["--model", "serctl-fast"])}
    if before:
        ways = {"before": (before, []), **ways}
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, (program, options) in ways.items():
            say(f"{name}, round {number} of {rounds}")
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(predict(corpus, Path(folder), name, options, program=program))
    return found


def time_stage(paths: list[Path]) -> tuple[Figures, Figures]:
    """The extraction stage with an empty and with a filled cache."""
    say(f"the extraction stage alone, {len(paths)} files: empty cache, then filled")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE / "extract_serctl.py"), "--cache-dir", folder]
        return time_extraction(command, paths), time_extraction(command, paths)


def time_peer(python: str, paths: list[Path]) -> Figures:
    """The peer in one process for each core, each with its share of the files; the slower one counts."""
    say(f"{PEER}, {len(paths)} files")
    command = [python, str(HERE / "peer_opensmile.py")]
    with ThreadPoolExecutor(CORES) as pool:
        shares = list(pool.map(lambda first: time_extraction(command, paths[first::CORES]), range(CORES)))
    return {"wall_s": max(share["took_s"] for share in shares), "audio_s": sum(share["audio_s"] for share in shares)}


def speed(runs: list[Figures]) -> float:
    """Seconds of audio per second of wall time, from the median of the runs."""
    return float(runs[0]["audio_s"] / statistics.median(each["wall_s"] for each in runs))


def measure(args: argparse.Namespace) -> Figures:
    """All figures."""
    corpus = args.data / "ravdess"
    paths = find_files(corpus)
    if args.quick:
        corpus = paths[0].parent
        paths = find_files(corpus)
    empty, filled = time_predictions(corpus, model_options(args), rounds=1 if args.quick else 3)
    if empty[0]["succeeded"] != len(paths):
        sys.exit(f"expected {len(paths)} recordings to succeed, {empty[0]['succeeded']} did")
    stage_empty, stage_filled = time_stage(paths)
    return {
        "cores": CORES,
        "files": len(paths),
        "predict, empty cache": empty,
        "predict, filled cache": filled,
        "extraction, empty cache": stage_empty,
        "extraction, filled cache": stage_filled,
        "bundled models, empty cache": time_models(corpus, args.before, rounds=1 if args.quick else 3),
        "peer": time_peer(args.peer_python, paths[:: 1 if args.quick else PEER_EVERY]) if args.peer_python else None,
    }


def make_rows(figures: Figures) -> list[Row]:
    """The table of the figures."""
    empty, filled = (figures[f"extraction, {state} cache"]["took_s"] for state in ("empty", "filled"))
    return [
        Row(
            f"`serctl predict` of {figures['files']:,} files on {CORES} cores, end to end",
            speed(figures["predict, empty cache"]),
            "x real time",
            400,
            at_least=True,
            peer=f"{PEER}, features only",
            peer_figure=speed([figures["peer"]]) if figures["peer"] else None,
        ),
        Row("the same again, from the feature cache", speed(figures["predict, filled cache"]), "x real time"),
        *_bundled_rows(figures["bundled models, empty cache"]),
        Row("extraction stage, cache against computing", empty / filled, "x as fast", 5, at_least=True),
    ]


def _bundled_rows(found: dict[str, list[Figures]]) -> list[Row]:
    before = speed(found["before"]) if "before" in found else None
    rows = []
    for name, least in (("serctl-base", 1.0), ("serctl-fast", 2.0)):
        if before is None:
            rows.append(Row(f"the same with {name}", speed(found[name]), "x real time"))
        else:
            ratio = speed(found[name]) / before
            rows.append(Row(f"{name} against serctl-base of serctl 0.1", ratio, "x as fast", least, at_least=True))
    return rows


def main() -> None:
    """Measure, print, save."""
    parser = make_parser(__doc__, data=True, peer=True, model=True)
    parser.add_argument("--before", default="", metavar="SERCTL", help="command of an earlier version")
    args = parse(parser)
    if use_cores(CORES) != CORES:
        say(f"the figures are not for {CORES} cores")
    figures = measure(args)
    finish("throughput", make_rows(figures), figures=figures, save=args.save)


if __name__ == "__main__":
    main()
