"""The features, the bundled models, each report format and a stream give what was recorded.

A failure means that users get other answers than before. If that is intended, record them anew and say in CHANGELOG.md
what changed: `python tests/golden/test_golden.py`. It refuses to record other features under the same FEATURE_VERSION,
because caches would then hold features of both kinds.
Tolerances allow for other processors and library versions, not for other features or models.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.features import FEATURE_VERSION
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from serctl.cache import Cache

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

FEATURE_SAMPLES = ("emma-angry.wav", "bangla-34-sad.ogg", "marek-neutral.mp3", "tom-sad.flac")
"""Recordings whose features are recorded: stereo WAV, Ogg Vorbis, MP3, FLAC."""

FEATURES = "features.csv"

COMMANDS: dict[str, tuple[str, ...]] = {
    "base.csv": ("predict", "sample_audio"),
    "base.jsonl": ("predict", "sample_audio", "--per", "window"),
    "base.parquet": ("predict", "sample_audio"),
    "fast.csv": ("predict", "sample_audio", "--model", "serctl-fast"),
    "live.csv": ("predict", "sample_audio", "--model", "serctl-live"),
    FEATURES: ("extract", *(f"sample_audio/{name}" for name in FEATURE_SAMPLES), "--deep"),
}
"""Recorded reports and the commands that write them, run in the root of the repository."""

STREAM = ("stream", "sample_audio/bangla-34-angry.ogg")
PROBABILITY_TOLERANCE = 2e-3
FEATURE_TOLERANCE = 1e-3


Runner = Callable[..., str]


def in_a_process(*arguments: object) -> str:
    """Run the command line in the root of the repository and return its standard output."""
    command = [sys.executable, "-m", "serctl", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.fixture
def in_this_process(serctl: Any, shared_cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Does the same, with features that are computed once for all reports."""

    def run(*arguments: object) -> str:
        ended = serctl(*arguments)
        assert ended.code == 0, ended.stderr
        return ended.stdout

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SERCTL_CACHE_DIR", str(shared_cache.folder))
    return run


def write_report(run: Runner, name: str, folder: Path) -> Path:
    output = folder / name
    run(*COMMANDS[name], "-q", "--overwrite", "--jobs", 1, "-o", output)
    return output


def stream_lines(run: Runner) -> list[dict[str, object]]:
    """The lines of the stream without the latencies, which are measured times."""
    lines = [json.loads(line) for line in run(*STREAM).splitlines()]
    return [{name: value for name, value in line.items() if name != "latency_ms"} for line in lines]


def recorded_feature_version() -> int:
    return int((HERE / "feature_version.txt").read_text())


def assert_same_rows(found: list[dict[str, object]], recorded: list[dict[str, object]], tolerance: float) -> None:
    assert [list(row) for row in found] == [list(row) for row in recorded]
    for row, expected in zip(found, recorded, strict=True):
        numbers = [name for name, value in expected.items() if isinstance(value, float)]
        texts = [name for name in expected if name not in numbers]
        assert {name: row[name] for name in texts} == {name: expected[name] for name in texts}
        np.testing.assert_allclose(
            [row[name] for name in numbers], [expected[name] for name in numbers], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_has_the_recorded_rows(name: str, in_this_process: Runner, tmp_path: Path) -> None:
    tolerance = FEATURE_TOLERANCE if name.startswith("features") else PROBABILITY_TOLERANCE
    assert_same_rows(read_report(write_report(in_this_process, name, tmp_path)), read_report(HERE / name), tolerance)


def test_a_stream_has_the_recorded_lines(in_this_process: Runner) -> None:
    recorded = [json.loads(line) for line in (HERE / "stream.jsonl").read_text(encoding="utf-8").splitlines()]
    assert_same_rows(stream_lines(in_this_process), recorded, PROBABILITY_TOLERANCE)


def test_the_features_were_recorded_under_this_version() -> None:
    assert recorded_feature_version() == FEATURE_VERSION


def record() -> None:
    """Record everything anew, in this folder."""
    with TemporaryDirectory() as name:
        reports = [write_report(in_a_process, report, Path(name)) for report in COMMANDS]
        if recorded_feature_version() == FEATURE_VERSION:
            assert_same_features(read_report(Path(name) / FEATURES), read_report(HERE / FEATURES))
        for report in reports:
            shutil.copyfile(report, HERE / report.name)
    lines = "".join(json.dumps(line) + "\n" for line in stream_lines(in_a_process))
    (HERE / "stream.jsonl").write_text(lines, encoding="utf-8")
    (HERE / "feature_version.txt").write_text(f"{FEATURE_VERSION}\n")


def assert_same_features(found: list[dict[str, object]], recorded: list[dict[str, object]]) -> None:
    """Features of these names have these values; new names may have come."""
    known = [{name: row[name] for name in recorded[0]} for row in found]
    assert_same_rows(known, recorded, FEATURE_TOLERANCE)


if __name__ == "__main__":
    record()
