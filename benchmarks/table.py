"""Make the tables of the project's documents from benchmarks/results/.

python benchmarks/table.py                      print them
python benchmarks/table.py --write FILE...      put them between the markers in these files
python benchmarks/table.py --check FILE...      exit 1 if what is between the markers is not what would be written

`<!-- NAME:start -->` and `<!-- NAME:end -->` stand around a table. The names: benchmarks, every measurement
(docs/benchmarks.md); claims, the claims about networks (docs/claims.md); unseen, accuracy and speed, the summaries
(README.md).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accuracy
from _claims import CLAIMS, targets_table, verdict, with_interval
from _common import HERE, RESULTS, ROW_TITLES, Row, short_commit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _claims import Claim, Found

DOCS = HERE.parent / "docs"
SECTIONS = {
    "unseen": "Corpora never heard",
    "adaptation": "Adaptation to a part of a corpus",
    "startup": "Start-up",
    "extraction": "Extracting features",
    "throughput": "Predicting many files",
    "memory": "Memory",
    "accuracy": "Accuracy",
    "export": "Small models",
    "live": "One stream",
    "streams": "Many streams",
    "early": "Accuracy by seconds of speech",
    "text": "Words and voice",
    "federated": "Many parties, one model",
}
"""The results in the order of docs/benchmarks.md, with their titles there."""

CORPORA = {
    "ravdess": "RAVDESS (English)",
    "emodb": "EMO-DB (German)",
    "ased": "ASED (Amharic)",
    "nemo": "nEMO (Polish)",
    "emovo": "EMOVO (Italian)",
    "banglaser": "BanglaSER (Bengali)",
}
BUNDLE = HERE.parent / "serctl" / "pretrained" / "serctl-base" / "bundle.json"
SPEED = (
    ("startup", "`serctl --help`", "`serctl --help`"),
    ("startup", "`serctl predict` of one 4 s file, new process", "`serctl predict` of one 4 s file, new process"),
    ("startup", "its peak memory", "its peak memory"),
    (
        "throughput",
        "`serctl predict` of 1,440 files on 2 cores, end to end",
        "`serctl predict` of 1,440 files",
    ),
    ("throughput", "the same again, from the feature cache", "the same again, from the feature cache"),
    ("memory", "`serctl predict` of one file of 3 hours", "peak memory for one file of 3 hours"),
    ("live", "the same, p99, 60 minutes in real time on one core", "`serctl stream`: delay of a line, 99th percentile"),
)
"""The rows of the README's table of speed: result, measure, title."""


def load_result(name: str) -> dict[str, Any] | None:
    """The saved result of a script, None if there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of text cells."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def render_measurements() -> str:
    """What docs/benchmarks.md shows: a section for each result."""
    return "\n\n".join(_measurement(result, SECTIONS[name]) for name in SECTIONS if (result := load_result(name)))


def _measurement(result: dict[str, Any], title: str) -> str:
    parts = [f"## {title}"]
    if result["rows"]:
        parts.append(markdown_table(ROW_TITLES, [Row(**row).cells() for row in result["rows"]]))
    if comparison := result["comparison"]:
        parts += [comparison["caption"], markdown_table(comparison["titles"], comparison["rows"])]
    return "\n\n".join([*parts, f"Script: `benchmarks/{result['name']}.py`. Measured {_origin(result)}"])


def render_accuracy() -> str:
    """The README's table of new speakers: UAR on each corpus."""
    found = accuracy.CLAIM.find(kept_only=True)
    ours = f"{accuracy.SPEECH}: UAR % (95 % interval)"
    titles = ("corpus", "emotions", ours, accuracy.ARCHITECTURE, accuracy.BASELINE)
    return markdown_table(titles, [_accuracy_row(found, corpus) for corpus in accuracy.SPEECH_CORPORA])


def _accuracy_row(found: Found, corpus: str) -> tuple[str, ...]:
    _, _, baseline = accuracy.SPEECH_CORPORA[corpus]
    speech = found[f"{corpus}-{accuracy.SPEECH}"]
    hybrid = found.get(f"{corpus}-{accuracy.ARCHITECTURE}")
    emotions = str(len(speech["classes"])) if speech else ""
    peers = with_interval(hybrid) if hybrid else "", f"{baseline:.1f}" if baseline else ""
    return CORPORA[corpus], emotions, with_interval(speech), *peers


def render_unseen() -> str:
    """The README's first table: the recipe of the bundled model on corpora that were left out of its training."""
    metrics = json.loads(BUNDLE.read_text(encoding="utf-8"))["metrics"]
    plain, adapted = (metrics[name]["per_corpus"] for name in ("left_out", "left_out_adapted"))
    rows = [
        (CORPORA[corpus], f"{scores['n']:,}", *(_unseen_cell(each) for each in (scores, adapted[corpus])))
        for corpus, scores in plain.items()
    ]
    means = [f"{100 * _mean(part, 'uar'):.1f} ({_mean(part, 'ece'):.2f})" for part in (plain, adapted)]
    titles = ("corpus left out of training", "recordings", "UAR % (ECE)", "with `--adapt auto`")
    return markdown_table(titles, [*rows, ("mean", "", *means)])


def _unseen_cell(scores: dict[str, float]) -> str:
    return f"{100 * scores['uar']:.1f} ({scores['ece']:.2f})"


def _mean(part: dict[str, dict[str, float]], name: str) -> float:
    return sum(scores[name] for scores in part.values()) / len(part)


def render_speed() -> str:
    """The README's table: a few measurements of speed and memory."""
    return markdown_table(("measure", "serctl", "for comparison"), [_speed_row(*chosen) for chosen in SPEED])


def _speed_row(name: str, measure: str, title: str) -> tuple[str, str, str]:
    rows = (Row(**row) for row in (load_result(name) or {"rows": []})["rows"])
    found = next((row for row in rows if row.measure == measure), Row(measure, None, ""))
    _, figure, _, peer = found.cells()
    return title, figure, peer


def render_claims() -> str:
    """What docs/claims.md shows."""
    return "\n\n".join(_section(importlib.import_module(name).CLAIM) for name in CLAIMS)


def _section(claim: Claim) -> str:
    """A claim, its verdict, and all that the verdict rests on."""
    found = claim.find(kept_only=True)
    rows = claim.rows(found)
    parts = [f"## {claim.title}", claim.text, verdict(rows), markdown_table(*targets_table(rows))]
    for table in claim.tables(found):
        parts += [table.caption, markdown_table(table.titles, table.rows)]
    parts += [f"![{caption}]({name})" for name, caption in claim.images if (DOCS / name).exists()]
    return "\n\n".join([*parts, f"Script: `benchmarks/{claim.name}.py`.", *_claim_origins(found)])


def _claim_origins(found: Found) -> list[str]:
    """The versions that the runs were made with; each run's commit is in its row or its caption."""
    names: dict[str, list[str]] = {}
    for name, metrics in found.items():
        if metrics:
            packages = metrics["packages"]
            versions = ", ".join(f"{each} {packages[each]}" for each in ("keras", "tensorflow", "numpy", "python"))
            names.setdefault(f"serctl {metrics['package_version']}, {versions}.", []).append(name)
    if len(names) == 1:
        return [f"Origin: {next(iter(names))}"]
    return [f"Origin ({', '.join(group)}): {versions}" for versions, group in names.items()]


def _origin(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["packages"]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "scipy", "ai-edge-litert", "tensorflow"))
    commit = short_commit(result["commit"]) + (" with local changes" if result["modified"] else "")
    return (
        f"on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, {shown}; serctl {versions['serctl']}, commit {commit}, {result['date']}."
    )


BLOCKS = {
    "benchmarks": render_measurements,
    "claims": render_claims,
    "unseen": render_unseen,
    "accuracy": render_accuracy,
    "speed": render_speed,
}


def replace_blocks(text: str) -> str:
    """The text with what belongs between its markers. Raises ValueError unless it has a pair of them, once each."""
    names = [name for name in BLOCKS if _marker(name, "start") in text or _marker(name, "end") in text]
    if not names:
        raise ValueError(
            f"expected the markers of {' or '.join(BLOCKS)}, such as {_marker(next(iter(BLOCKS)), 'start')}"
        )
    for name in names:
        text = _replace_block(text, _marker(name, "start"), _marker(name, "end"), BLOCKS[name]())
    return text


def _marker(name: str, edge: str) -> str:
    return f"<!-- {name}:{edge} -->"


def _replace_block(text: str, start: str, end: str, block: str) -> str:
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"expected one {start} and, after it, one {end}")
    before, rest = text.split(start)
    return f"{before}{start}\n\n{block}\n\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Print, write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    files = {"type": Path, "nargs": "+", "metavar": "FILE", "default": []}
    action.add_argument("--write", **files, help="replace what is between the markers in these files")
    action.add_argument("--check", **files, help="exit 1 if one of these files is not up to date")
    args = parser.parse_args()
    if not args.write and not args.check:
        print("\n\n".join(render() for render in BLOCKS.values()))
    stale = [path for path in (*args.write, *args.check) if _update(path, write=bool(args.write))]
    if stale and args.check:
        names = " ".join(map(str, stale))
        sys.exit(f"not up to date: {names}; python benchmarks/table.py --write {names}")


def _update(path: Path, *, write: bool) -> bool:
    """Whether the file is not up to date; writes it if asked to."""
    text = path.read_text(encoding="utf-8")
    try:
        expected = replace_blocks(text)
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    if write and text != expected:
        path.write_text(expected, encoding="utf-8")
    return text != expected


if __name__ == "__main__":
    main()
