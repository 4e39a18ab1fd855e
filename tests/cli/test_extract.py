from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from serctl.features import FeatureConfig, functional_names
from serctl.features.deep import deep_names
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from pathlib import Path


def test_a_corpus_becomes_a_table_of_features(serctl: Any, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    result = serctl("extract", samples, "-o", output, "--jobs", 1)
    assert (result.code, result.stdout) == (0, "")
    assert "Extracted 16 of 16 recordings" in result.stderr
    rows = read_report(output)
    assert len(rows) == 16
    assert list(rows[0]) == [
        "path",
        "start",
        "end",
        "status",
        "error",
        "notes",
        "duration",
        *functional_names(FeatureConfig()),
    ]


def test_deep_features_follow_the_hand_made_ones(serctl: Any, samples: Path, tmp_path: Path) -> None:
    for name, flags in (("plain", ()), ("deep", ("--deep",))):
        assert serctl("extract", samples / "tom-sad.flac", "-o", tmp_path / f"{name}.parquet", *flags).code == 0
    (plain,), (deep,) = (read_report(tmp_path / f"{name}.parquet") for name in ("plain", "deep"))
    assert [name for name in deep if name not in plain] == list(
        deep_names(FeatureConfig(voice_encoder=True, speech_encoder=True))
    )
    assert {name: deep[name] for name in plain} == plain
    refused = serctl("extract", samples, "--deep", "--level", "frames", "-o", tmp_path / "o.parquet")
    assert (refused.code, "expected the level functionals" in refused.stderr) == (2, True)


def test_workers_and_cache_change_nothing(serctl: Any, samples: Path, tmp_path: Path, own_cache: Path) -> None:
    assert serctl("extract", samples, "-o", tmp_path / "1.csv", "--jobs", 1, "--no-cache").code == 0
    assert not own_cache.exists()
    for name, jobs in (("2.csv", 2), ("3.csv", 1)):
        assert serctl("extract", samples, "-o", tmp_path / name, "--jobs", jobs).code == 0
        assert (tmp_path / name).read_bytes() == (tmp_path / "1.csv").read_bytes()
    assert len(list(own_cache.rglob("*.entry"))) == 16


def test_a_cache_folder_can_be_chosen(serctl: Any, samples: Path, tmp_path: Path, own_cache: Path) -> None:
    assert serctl("extract", samples / "tom-sad.flac", "--cache-dir", tmp_path / "here", "-q").code == 0
    assert list((tmp_path / "here").rglob("*.entry"))
    assert not own_cache.exists()


def test_stdout_is_csv_and_nothing_else(serctl: Any, samples: Path) -> None:
    result = serctl("extract", samples / "tom-sad.flac", "-o", "-", "--per", "window", "--window", 1)
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["start"] for row in rows] == ["0.000", "1.000", "2.000"]


def test_frames_need_parquet(serctl: Any, samples: Path, tmp_path: Path) -> None:
    result = serctl("extract", samples, "--level", "frames", "-o", tmp_path / "o.csv")
    assert (result.code, "-o NAME.parquet writes one" in result.stderr) == (2, True)
    assert serctl("extract", samples / "tom-sad.flac", "--level", "frames", "-o", tmp_path / "o.parquet").code == 0
    assert len(read_report(tmp_path / "o.parquet")) > 200


def test_a_run_stopped_by_a_failure_is_resumed(serctl: Any, samples: Path, tmp_path: Path) -> None:
    for name in ("a.flac", "c.flac"):
        (tmp_path / name).symlink_to(samples / "tom-sad.flac")
    (tmp_path / "b.wav").touch()
    output = tmp_path / "out" / "o.csv"
    common = ("extract", tmp_path / "a.flac", tmp_path / "b.wav", tmp_path / "c.flac", "-o", output, "--jobs", 1)
    stopped = serctl(*common, "--fail-fast")
    assert (stopped.code, "keeps what is finished: --resume continues it" in stopped.stderr) == (3, True)
    assert not output.exists()
    resumed = serctl(*common, "--resume")
    assert (resumed.code, "1 of them was finished in an earlier run" in resumed.stderr) == (3, True)
    assert serctl(*common).code == 2
