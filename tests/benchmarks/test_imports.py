"""What the benchmarks import of serctl is there: most of them run for too long to be run by a test."""

from __future__ import annotations

import ast
from pathlib import Path

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


class Imports(ast.NodeVisitor):
    """Module and name of what a script imports of serctl, within functions too, but not what mypy alone needs."""

    def __init__(self) -> None:
        self.found: set[tuple[str, str]] = set()

    def visit_If(self, node: ast.If) -> None:
        """Leave out `if TYPE_CHECKING`."""
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note the names."""
        if node.module and node.module.startswith("serctl"):
            self.found |= {(node.module, each.name) for each in node.names}


def test_every_name_that_a_benchmark_imports_is_there() -> None:
    imports = Imports()
    for script in SCRIPTS:
        imports.visit(ast.parse(script.read_text("utf-8")))
    assert len(imports.found) > 100
    missing = [
        f"{module}.{name}"
        for module, name in sorted(imports.found)
        if not hasattr(__import__(module, fromlist=[name]), name)
    ]
    assert missing == []
