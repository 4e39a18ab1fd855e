"""A claim and how it is judged: its runs, figures against targets, tables, a verdict. A script declares each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import NOT_MEASURED, ROW_TITLES, Comparison, Row, make_parser, parse, print_table, short_commit
from _runs import keep, perform_all, read_metrics

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from _runs import Run

Metrics = dict[str, Any]
Found = Mapping[str, "Metrics | None"]

CLAIMS = ("accuracy", "fusion", "attention", "separable", "classics", "cross_lingual", "low_resource")
"""The scripts, in the order of docs/claims.md."""

RUN_TITLES = (
    *("run", "protocol", "test speakers", "utterances", "parameters"),
    *("UAR % (95 % interval)", "WA %", "macro-F1 %", "seed", "commit"),
)


@dataclass(frozen=True)
class Claim:
    """What is claimed, and what is made of the metrics found.

    name: of the script. text: who claims what, and how it is tried, in Markdown. results: the runs whose metrics are
    read. rows: figures against targets. tables: whatever else is to be shown. images: files beside docs/claims.md, with
    their captions.
    """

    name: str
    title: str
    text: str
    results: tuple[str, ...]
    rows: Callable[[Found], list[Row]]
    tables: Callable[[Found], list[Comparison]]
    images: tuple[tuple[str, str], ...] = ()

    def find(self, *, kept_only: bool = False) -> Found:
        """The metrics of its runs, None where a run is still to be done."""
        return {name: read_metrics(name, kept_only=kept_only) for name in self.results}


def run_claim(claim: Claim, runs: Sequence[Run], doc: str) -> argparse.Namespace:
    """What a script of a claim does: perform the runs if asked to, print figures and verdict; returns its options."""
    args = claim_options(doc)
    if args.dry_run:
        print("\n".join(dict.fromkeys(command for run in runs for command in run.commands())))
        sys.exit()
    failed = perform_all(runs, args.data, threads=args.threads, save=args.save) if args.data else []
    show_claim(claim, save=args.save)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    return args


def show_claim(claim: Claim, *, save: bool) -> None:
    """Print the tables and the verdict; keep the metrics if asked to."""
    if save:
        for name in claim.results:
            keep(name)
    found = claim.find()
    rows = claim.rows(found)
    print_table(*targets_table(rows))
    for table in claim.tables(found):
        print(f"\n{table.caption}\n")
        print_table(table.titles, table.rows)
    print(f"\n{verdict(rows)}")


def targets_table(rows: Sequence[Row]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Titles and cells of the figures against targets; without the peers where there are none."""
    shown = len(ROW_TITLES) if any(row.peer for row in rows) else len(ROW_TITLES) - 1
    return ROW_TITLES[:shown], [row.cells()[:shown] for row in rows]


def claim_options(doc: str, add: Callable[[argparse.ArgumentParser], object] | None = None) -> argparse.Namespace:
    """The options of a claim's script, and those that add defines."""
    parser = make_parser(doc, quick=False)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the corpora; without it nothing is run, only shown"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of TensorFlow; to run scripts side by side")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and do nothing")
    if add:
        add(parser)
    return parse(parser)


def verdict(rows: Sequence[Row]) -> str:
    """One sentence: whether the claim held, from the rows that have a target."""
    verdicts = [row.verdict for row in rows if row.target is not None]
    met, missed = verdicts.count("met"), verdicts.count("missed")
    if not verdicts:
        return "**No figure is claimed.**"
    if not met and not missed:
        return "**Not measured yet.**"
    opening = "Held" if not missed else "Did not hold" if not met else "Held in part"
    open_ones = len(verdicts) - met - missed
    so_far, rest = (" so far", f", {open_ones} not measured yet") if open_ones else ("", "")
    return f"**{opening}{so_far}:** {met} of {len(verdicts)} targets met{rest}."


def percent(metrics: Metrics | None, score: str) -> float | None:
    """A score in per cent, None if it is not measured."""
    return None if metrics is None else 100 * metrics[score]


def gain(metrics: Metrics | None, baseline: Metrics | None, score: str = "uar") -> float | None:
    """Points between two runs, None unless both are measured."""
    ours, theirs = percent(metrics, score), percent(baseline, score)
    return None if ours is None or theirs is None else ours - theirs


def millions(metrics: Metrics | None) -> float | None:
    """Parameters in millions."""
    return None if metrics is None else metrics["parameters"] / 1e6


def with_interval(metrics: Metrics | None, score: str = "uar") -> str:
    """A score in per cent with its interval."""
    if metrics is None:
        return NOT_MEASURED
    interval = metrics["intervals"][score]
    return f"{100 * metrics[score]:.1f} ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"


def runs_table(found: Found, names: Sequence[str], caption: str = "The runs, by their folders.") -> Comparison:
    """A row for each run; its folder in benchmarks/results has all there is to know."""
    return Comparison(caption, RUN_TITLES, tuple(_run_cells(name, found[name]) for name in names))


def _run_cells(name: str, metrics: Metrics | None) -> tuple[str, ...]:
    if metrics is None:
        return (name, NOT_MEASURED, *[""] * (len(RUN_TITLES) - 2))
    return (
        name,
        metrics["protocol"]["name"],
        test_speakers(metrics),
        f"{metrics['n']:,}",
        f"{metrics['parameters'] / 1e6:.2f} M",
        with_interval(metrics),
        f"{100 * metrics['wa']:.1f}",
        f"{100 * metrics['macro_f1']:.1f}",
        str(metrics["seed"]),
        short_commit(metrics["commit"]),
    )


def test_speakers(metrics: Metrics) -> str:
    """Whether the network heard the test speakers in training."""
    if metrics["leakage"]["identical_audio"]:
        return "LEAKY: trained on test recordings"
    if metrics["leakage"]["speakers_shared"]:
        return "also in training (speaker-dependent)"
    return "new; features normalised by speaker (transductive)" if metrics.get("transductive") else "new"
