"""From a corpus to adapted predictions by the command line: train --arch speech, adapt, predict, evaluate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from pathlib import Path


def test_a_profile_is_measured_used_and_named(serctl: Any, samples: Path, tmp_path: Path) -> None:
    noise, model = tmp_path / "noise", tmp_path / "model"
    noise.mkdir()
    (noise / "voices.flac").symlink_to(samples / "tom-sad.flac")
    quick = ("--epochs", 1, "--classes", "happy,sad", "-q")
    done = serctl("train", samples, "-o", model, "--arch", "speech", "--noise-dir", noise, *quick)
    assert done.code == 0, done.stderr
    facts = json.loads((model / "bundle.json").read_text())
    assert facts["training"]["augmentation"]["noise_files"] == ["voices.flac"]
    assert facts["training"]["fit"]["adapted_share"] == 0.5
    profile, report = tmp_path / "line.profile", tmp_path / "report.csv"
    done = serctl("adapt", samples, "-m", model, "-o", profile)
    assert done.code == 0, done.stderr
    assert "16 of 16 recordings" in done.stderr
    assert serctl("adapt", samples, "-m", model, "-o", profile).code == 2
    done = serctl("predict", samples / "tom-sad.flac", "-m", model, "--adapt", profile, "-o", report, "-q")
    assert done.code == 0, done.stderr
    assert read_report(report)[0]["adaptation"] == "line.profile, 16 recordings"


def test_an_adapted_evaluation_says_so(serctl: Any, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    done = serctl("evaluate", samples, "-m", "serctl-fast", "-o", output, "--adapt", "-q")
    assert done.code == 0, done.stderr
    assert json.loads((output / "metrics.json").read_text())["adapted"] is True
    assert "adapted: each corpus was normalised by its own recordings" in (output / "report.md").read_text()


def test_a_profile_that_is_not_there_is_wrong_usage(serctl: Any, samples: Path, tmp_path: Path) -> None:
    done = serctl("predict", samples / "tom-sad.flac", "--adapt", tmp_path / "none.profile")
    assert done.code == 2
    assert "or the file of a profile" in done.stderr
    (tmp_path / "none.profile").write_text("text")
    done = serctl("predict", samples / "tom-sad.flac", "--adapt", tmp_path / "none.profile")
    assert done.code == 2
    assert done.stderr.count("none.profile") == 1
