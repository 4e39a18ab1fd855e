"""No module is ever imported from the current folder: a folder of downloads may hold files of any name."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot leave out the current folder")

SCRIPT = "import sys; from serctl.cli import main; main()"


@pytest.fixture
def trap(tmp_path: Path, samples: Path) -> Path:
    """A folder of 40 recordings and a module for each name that could be imported; each leaves a file when it is."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    code = "import os\nos.open(os.path.join({!r}, __name__), os.O_CREAT)\n".format(str(tmp_path / "imported"))
    (tmp_path / "imported").mkdir()
    for name in {*sys.stdlib_module_names, *packages_distributions(), "sitecustomize", "usercustomize"} - {"serctl"}:
        (folder / f"{name}.py").write_text(code)
    sources = sorted(path for path in samples.iterdir() if path.suffix in (".wav", ".flac"))
    for number in range(40):
        source = sources[number % len(sources)]
        (folder / f"{number}{source.suffix}").symlink_to(source)
    return folder


def _loaded_before_any_code(folder: Path) -> set[str]:
    """The modules that `python -m` itself needs, from the current folder if they are there; `python -P -m` does not."""
    (folder / "probe.py").write_text("import sys; print(*sys.modules)")
    return set(subprocess.check_output([sys.executable, "-m", "probe"], cwd=folder, text=True).split())


@pytest.mark.parametrize("started_as", ["script", "module"])
def test_nothing_is_imported_from_the_current_folder(trap: Path, tmp_path: Path, started_as: str) -> None:
    script = tmp_path / "bin" / "serctl"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    start = [str(script)] if started_as == "script" else ["-m", "serctl"]
    if started_as == "module":
        for name in _loaded_before_any_code(script.parent):
            (trap / f"{name}.py").unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    command = [sys.executable, *start, "extract", ".", "-o", str(tmp_path / "o.csv"), "--jobs", "2"]
    ended = subprocess.run(command, cwd=trap, env=environment, capture_output=True, text=True, check=False)
    assert sorted(each.name for each in (tmp_path / "imported").iterdir()) == []
    assert (ended.returncode, "Extracted 40 of 40" in ended.stderr) == (0, True), ended.stderr


def test_the_environment_is_as_before_after_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    from serctl.backends.loky import map_unordered

    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert len(list(map_unordered(abs, range(64), jobs=2))) == 64
    assert "PYTHONSAFEPATH" not in os.environ
