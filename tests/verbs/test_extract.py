from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from serctl.audio.find import Recording
from serctl.audio.segments import read_audio
from serctl.errors import ConfigError
from serctl.features import FeatureConfig, compute_features, functional_names, lld_names
from serctl.reports.tables import read_report
from serctl.run import Run
from serctl.verbs import extract as module
from serctl.verbs.extract import extract
from serctl.verbs.options import ExtractOptions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONFIG = FeatureConfig()


def rows(path: Path, output: Path, **options: Any) -> list[dict[str, Any]]:
    summary = extract([Recording(path)], options=ExtractOptions(**options), output=output, run=Run(jobs=1))
    assert (summary.recordings, summary.failed) == (1, 0)
    return read_report(output)


def test_functionals_of_a_recording_are_those_of_its_samples(samples: Path, tmp_path: Path) -> None:
    path = samples / "tom-sad.flac"
    (row,) = rows(path, tmp_path / "o.parquet")
    with threadpool_limits(1, user_api="blas"):  # as a run computes: more threads round differently
        expected = compute_features(read_audio(path, sample_rate=CONFIG.sample_rate), CONFIG).functionals
    assert list(row) == ["path", "start", "end", "status", "error", "notes", "duration", *functional_names(CONFIG)]
    np.testing.assert_allclose([row[name] for name in functional_names(CONFIG)], expected, rtol=1e-6)
    assert row["end"] == row["duration"] == pytest.approx(3.304, abs=1e-3)


def test_csv_carries_the_same_numbers_as_parquet(samples: Path, tmp_path: Path) -> None:
    text, binary = (rows(samples / "tom-sad.flac", tmp_path / name)[0] for name in ("o.csv", "o.parquet"))
    for name in functional_names(CONFIG):
        assert text[name] == pytest.approx(binary[name], rel=1e-6)


def test_windows_are_rows_and_merge_by_their_frames(samples: Path, tmp_path: Path) -> None:
    path = samples / "jana-sad.flac"
    windows = rows(path, tmp_path / "w.parquet", per="window", window_s=1.0)
    (whole,) = rows(path, tmp_path / "f.parquet", window_s=1.0)
    assert [row["start"] for row in windows] == [0, 1, 2]
    values = [row["level_db_mean"] for row in windows]
    assert min(values) <= whole["level_db_mean"] <= max(values)
    assert len(set(values)) == 3


def test_frames_of_a_recording(samples: Path, tmp_path: Path) -> None:
    path = samples / "tom-sad.flac"
    found = rows(path, tmp_path / "o.parquet", level="frames")
    with threadpool_limits(1, user_api="blas"):
        features = compute_features(read_audio(path, sample_rate=CONFIG.sample_rate), CONFIG)
    assert len(found) == len(features.lld)
    names = lld_names(CONFIG)
    lld = np.array([[np.nan if row[name] is None else row[name] for name in names] for row in found])
    np.testing.assert_allclose(lld, features.lld, rtol=1e-6)
    times = np.array([row["time"] for row in found])
    np.testing.assert_allclose(np.diff(times), CONFIG.hop_s, atol=1e-9)
    assert times[0] == pytest.approx(features.first_frame * CONFIG.hop_s)
    np.testing.assert_allclose(
        [row["mel_01_db"] for row in found], features.log_mel[:, 0].astype(np.float32), rtol=1e-6
    )


def test_frames_of_a_very_long_recording_are_refused(
    speech: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_FOR_FRAMES_S", 5.0)
    soundfile.write(tmp_path / "long.wav", np.tile(speech, 4), 16_000)
    summary = extract(
        [Recording(tmp_path / "long.wav")],
        options=ExtractOptions(level="frames"),
        output=tmp_path / "o.parquet",
        run=Run(jobs=1),
    )
    assert "long.wav' is longer than 5 s, too long for frame-level rows" in summary.failures[0][1]


@pytest.mark.parametrize("output", [None, "o.csv", "o.jsonl"])
def test_frames_go_to_parquet_only(samples: Path, tmp_path: Path, output: str | None) -> None:
    with pytest.raises(ConfigError, match="expected a Parquet file to write"):
        extract(
            [Recording(samples / "tom-sad.flac")],
            options=ExtractOptions(level="frames"),
            output=tmp_path / output if output else None,
        )


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="Received: words"):
        ExtractOptions(level="words")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Received: minute"):
        ExtractOptions(per="minute")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="window"):
        ExtractOptions(window_s=0.0)
