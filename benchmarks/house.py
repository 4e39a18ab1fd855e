"""The shape of the code: how long modules and functions are, and how many paths lead through a function.

python benchmarks/house.py [FOLDER]     print the figures of the package; exit 1 if one is over its limit

The length of a function is its lines outside signature, docstring and blank lines. The complexity is McCabe's (1976,
doi:10.1109/TSE.1976.233837): one, and one more for each branch, loop, handler, case and boolean operator.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = Path(__file__).resolve().parents[1] / "serctl"
MOST_MODULE_LINES = 400
MOST_MEDIAN_LINES = 6
MOST_P90_LINES = 20
MOST_COMPLEXITY = 12

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


@dataclass(frozen=True)
class Function:
    """A function: its place (file:line and name), lines and complexity."""

    place: str
    lines: int
    complexity: int


def count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, source: Sequence[str]) -> int:
    """Count the lines of a function outside its signature, docstring and blank lines."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        return 0
    return sum(bool(line.strip()) for line in source[body[0].lineno - 1 : body[-1].end_lineno])


def count_paths(function: ast.AST) -> int:
    """Compute McCabe's complexity of a function; functions inside it count for themselves."""
    return 1 + sum(_branches(node) for node in _own_nodes(function))


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own_nodes(node)


def _branches(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(isinstance(node, BRANCHES))


def find_functions(module: Path) -> list[Function]:
    """Find the functions and methods of a module."""
    text = module.read_text(encoding="utf-8")
    source = text.splitlines()
    return [
        Function(f"{module.name}:{node.lineno} {node.name}", count_lines(node, source), count_paths(node))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, FUNCTIONS)
    ]


def measure(folder: Path) -> tuple[dict[Path, int], list[Function]]:
    """Measure a folder: the lines of each module, and every function."""
    modules = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(folder.rglob("*.py"))}
    return modules, [function for path in modules for function in find_functions(path)]


def find_excess(modules: dict[Path, int], functions: Sequence[Function]) -> list[str]:
    """Say what is over a limit."""
    median, p90 = typical_lines(functions)
    return [
        *(f"{path}: {lines} lines" for path, lines in modules.items() if lines > MOST_MODULE_LINES),
        *(f"{each.place}: complexity {each.complexity}" for each in functions if each.complexity > MOST_COMPLEXITY),
        *([f"functions: median of {median:g} lines"] if median > MOST_MEDIAN_LINES else []),
        *([f"functions: 90th percentile of {p90:g} lines"] if p90 > MOST_P90_LINES else []),
    ]


def typical_lines(functions: Sequence[Function]) -> tuple[float, float]:
    """Compute the median and the 90th percentile of the lengths."""
    lengths = [function.lines for function in functions]
    return statistics.median(lengths), statistics.quantiles(lengths, n=10)[-1]


def main() -> None:
    """Print the figures, and what is over a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=PACKAGE, metavar="FOLDER", help="default: the package")
    folder = parser.parse_args().folder
    modules, functions = measure(folder)
    if len(functions) < 2:
        sys.exit(f"{folder}: expected a folder of Python modules with functions")
    median, p90 = typical_lines(functions)
    most = max(function.complexity for function in functions)
    print(f"modules: {len(modules)}, longest {max(modules.values())} lines (at most {MOST_MODULE_LINES})")
    print(
        f"functions: {len(functions)}, median {median:g} lines (at most {MOST_MEDIAN_LINES}), 90th percentile {p90:g} "
        f"(at most {MOST_P90_LINES}), complexity at most {most} (at most {MOST_COMPLEXITY})",
        flush=True,
    )
    if excess := find_excess(modules, functions):
        sys.exit("\n".join(["over the limits:", *excess]))


if __name__ == "__main__":
    main()
