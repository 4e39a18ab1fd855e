"""Make the README's benchmark tables from benchmarks/results/*.json.

python benchmarks/table.py                      print them
python benchmarks/table.py --write README.md    put them between the markers in that file
python benchmarks/table.py --check README.md    exit 1 if what is between the markers is not what would be written
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import RESULTS, ROW_TITLES, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

START = "<!-- benchmarks:start -->"
END = "<!-- benchmarks:end -->"
ORDER = ("startup", "extraction", "throughput", "memory", "accuracy")


def load_results(folder: Path) -> list[dict[str, Any]]:
    """The saved results in the order of the tables."""
    paths = [path for name in ORDER if (path := folder / f"{name}.json").exists()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of text cells."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def render(results: Sequence[dict[str, Any]]) -> str:
    """Everything between the markers."""
    rows = [Row(**row).cells() for result in results for row in result["rows"]]
    parts = [markdown_table(ROW_TITLES, rows)]
    for comparison in (result["comparison"] for result in results if result["comparison"]):
        parts += [comparison["caption"], markdown_table(comparison["titles"], comparison["rows"])]
    return "\n\n".join([*parts, *_origins(results)])


def _origins(results: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each machine and commit: which figures come from there."""
    names: dict[str, list[str]] = {}
    for result in results:
        names.setdefault(_origin(result), []).append(result["name"])
    return [f"Measured ({', '.join(group)}) {origin}" for origin, group in names.items()]


def _origin(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["packages"]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "scipy", "ai-edge-litert", "tensorflow"))
    commit = (result["commit"] or "unknown")[:10] + (" with local changes" if result["modified"] else "")
    return (
        f"on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, {shown}; serctl {versions['serctl']}, commit {commit}, {result['date']}."
    )


def replace_block(text: str, block: str) -> str:
    """The text with the block between its markers. Raises ValueError unless it has both, once each."""
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"expected one {START} and, after it, one {END}")
    before, rest = text.split(START)
    return f"{before}{START}\n\n{block}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Print, write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="FILE", help="replace what is between the markers in this file")
    action.add_argument("--check", type=Path, metavar="FILE", help="exit 1 if this file is not up to date")
    args = parser.parse_args()
    results = load_results(RESULTS)
    if not results:
        sys.exit("no results yet: run_all.py --save makes them")
    path = args.write or args.check
    if path is None:
        print(render(results))
        return
    text = path.read_text(encoding="utf-8")
    try:
        expected = replace_block(text, render(results))
    except ValueError as error:
        sys.exit(f"{path}: {error}")
    if args.write:
        path.write_text(expected, encoding="utf-8")
    elif text != expected:
        sys.exit(f"{path} is not up to date: python benchmarks/table.py --write {path}")


if __name__ == "__main__":
    main()
