"""Run the code of a notebook, cell after cell, in this process.

python docs/notebook.py            run docs/notebooks/python.ipynb; exit 1 if a cell fails
python docs/notebook.py --write    also keep what each cell shows, which the site prints below the cell
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parent / "notebooks" / "python.ipynb"

Cell = dict[str, Any]


def run_notebook(notebook: dict[str, Any]) -> None:
    """Run every code cell and replace its outputs.

    Args:
        notebook: content of the file, changed in place.

    Raises:
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        cell["outputs"] = run_cell("".join(cell["source"]), names, number)
        cell["execution_count"] = number


def run_cell(source: str, names: dict[str, Any], number: int) -> list[Cell]:
    """Run one cell, as Jupyter does: a last line that is an expression is shown.

    Args:
        source: the code.
        names: the variables, changed in place.
        number: of the cell.

    Returns:
        The outputs: what was printed, and the value of the last expression.
    """
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last else None
    outputs: list[Cell] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        shown = {"text/plain": _lines(repr(value))}
        outputs.append(
            {"output_type": "execute_result", "data": shown, "execution_count": number, "metadata": {}},
        )
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the notebook, and write it back if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep what each cell shows")
    args = parser.parse_args()
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    os.chdir(NOTEBOOK.parent)
    run_notebook(notebook)
    if args.write:
        NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
