"""The saved results tell nothing of the machine's folders."""

from __future__ import annotations

import re
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
ABSOLUTE = re.compile(r"(?<![\w.:/*<-])(?:/[\w.@+-]+){2,}|\b[A-Z]:\\\\")
"""A path of Linux or macOS with two parts or more, or one of Windows as JSON writes it; not the path of a URL."""


def test_no_result_holds_an_absolute_path() -> None:
    files = [*RESULTS.rglob("*.json")]
    assert len(files) > 40
    found = {
        str(path.relative_to(RESULTS)): match[0]
        for path in files
        if (match := ABSOLUTE.search(path.read_text(encoding="utf-8")))
    }
    assert found == {}
