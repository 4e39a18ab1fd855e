"""Adaptation: what is measured of recordings, which profile is kept, and what predictions make of either."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serctl.audio.find import find_recordings
from serctl.backends.loky import map_unordered
from serctl.errors import ConfigError, RunInterrupted
from serctl.features.adaptation import Statistics
from serctl.reports.tables import read_report
from serctl.run import Run
from serctl.verbs.adapt import find_adaptation, measure, save_profile
from serctl.verbs.predict import PredictOptions, predict, predict_recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.audio.find import Recording
    from serctl.bundle.store import Bundle
    from serctl.cache import Cache

    Report = Callable[..., list[dict[str, object]]]


@pytest.fixture
def run(shared_cache: Cache) -> Run:
    return Run(cache=shared_cache, jobs=1)


@pytest.fixture
def report(mfcc_bundle: Bundle, run: Run, tmp_path: Path) -> Report:
    """Predicts recordings and reads the report."""

    def make(place: Path, adapt: str | Path, run: Run = run) -> list[dict[str, object]]:
        output = tmp_path / "report.parquet"
        options = PredictOptions(adapt=str(adapt))
        predict(
            find_recordings([place]),
            model=mfcc_bundle,
            options=options,
            output=output,
            run=replace(run, overwrite=True),
        )
        return read_report(output)

    return make


def probabilities(rows: list[dict[str, object]]) -> np.ndarray:
    names = [name for name in rows[0] if name.startswith("p_")]
    return np.array([[row[name] for name in names] for row in rows], dtype=float)


def test_adapted_answers_differ_and_say_so(samples: Path, report: Report) -> None:
    plain, adapted = report(samples, "none"), report(samples, "recordings")
    assert {row["adaptation"] for row in plain} == {"none"}
    assert {row["adaptation"] for row in adapted} == {"recordings, 16 recordings"}
    assert np.abs(probabilities(plain) - probabilities(adapted)).max() > 0.01


def test_one_recording_alone_is_not_adapted(samples: Path, report: Report) -> None:
    alone = report(samples / "tom-sad.flac", "recordings")
    assert alone[0]["adaptation"] == "none"
    np.testing.assert_array_equal(probabilities(alone), probabilities(report(samples / "tom-sad.flac", "none")))


def test_auto_balances_the_emotions(samples: Path, report: Report) -> None:
    even, balanced = report(samples, "recordings"), report(samples, "auto")
    assert {row["adaptation"] for row in balanced} == {"auto, 16 recordings"}
    assert np.abs(probabilities(even) - probabilities(balanced)).max() > 1e-6


def test_auto_leaves_a_few_recordings_as_they_are(samples: Path, report: Report, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(samples.glob("tom-*")):
        (few / path.name).symlink_to(path)
    assert {row["adaptation"] for row in report(few, "auto")} == {"none"}
    assert {row["adaptation"] for row in report(few, "recordings")} == {"recordings, 4 recordings"}


def test_the_wall_time_covers_both_passes(samples: Path, mfcc_bundle: Bundle, run: Run) -> None:
    passes = []

    def slow_at_first(function: Any, items: Any, *, jobs: int) -> Any:
        passes.append(time.monotonic())
        time.sleep(0.0 if len(passes) > 1 else 0.3)
        return map_unordered(function, items, jobs=jobs)

    options = PredictOptions(adapt="recordings")
    summary = predict(
        find_recordings([samples]), model=mfcc_bundle, options=options, run=replace(run, backend=slow_at_first)
    )
    first, second = passes
    assert summary.wall_s > second - first
    assert summary.new_audio_s == summary.audio_s > 0


@pytest.mark.parametrize(
    ("names", "mode", "note"),
    [
        ("tom-sad.*", "auto", "'auto' needs at least 10 recordings with speech. Received: 1"),
        ("tom-*", "auto", "'auto' needs at least 10 recordings with speech. Received: 4"),
        ("tom-sad.*", "recordings", "'recordings' needs at least 2 recordings with speech. Received: 1"),
        ("tom-*", "recordings", None),
        ("tom-sad.*", "none", None),
    ],
)
def test_too_few_recordings_to_adapt_to_are_said(
    samples: Path, mfcc_bundle: Bundle, run: Run, names: str, mode: str, note: str | None
) -> None:
    options = PredictOptions(adapt=mode)
    summary = predict(find_recordings(sorted(samples.glob(names))), model=mfcc_bundle, options=options, run=run)
    assert summary.notes == ([f"not adapted: {note}"] if note else [])
    assert summary.to_dict()["notes"] == summary.notes


def test_recordings_without_speech_are_too_few_to_adapt_to(
    samples: Path, mfcc_bundle: Bundle, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_text("no audio")
    (tmp_path / "good.flac").symlink_to(samples / "tom-sad.flac")
    options = PredictOptions(adapt="recordings")
    summary = predict(find_recordings([tmp_path]), model=mfcc_bundle, options=options, run=run)
    assert summary.notes == [
        "not adapted: 'recordings' needs at least 2 recordings with speech. Received: 1 among 2",
    ]


def test_a_profile_gives_the_same_answers_every_night(
    samples: Path, report: Report, mfcc_bundle: Bundle, run: Run, tmp_path: Path
) -> None:
    profile = tmp_path / "line.profile"
    save_profile(find_recordings([samples]), profile, model=mfcc_bundle, run=run, balanced=False)
    everything, alone = report(samples, "recordings"), report(samples / "tom-sad.flac", profile)
    (row,) = [each for each in everything if str(each["path"]).endswith("tom-sad.flac")]
    np.testing.assert_array_equal(probabilities(alone), probabilities([row]))
    assert alone[0]["adaptation"] == "line.profile, 16 recordings"


def test_the_number_of_workers_does_not_matter(samples: Path, mfcc_bundle: Bundle, run: Run) -> None:
    recordings = find_recordings([samples]) * 3
    one, two = (measure(recordings, model=mfcc_bundle, run=replace(run, jobs=jobs)) for jobs in (1, 2))
    assert one is not None
    assert two is not None
    assert one.digest == two.digest


@given(done=st.integers(0, 15), order=st.permutations(range(16)))
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_depends_neither_on_the_order_nor_on_an_interruption(
    done: int, order: list[int], samples: Path, mfcc_bundle: Bundle, run: Run, tmp_path: Path
) -> None:
    found = find_recordings([samples])

    def answers(recordings: list[Recording], backend: Any, *, resume: bool = False) -> dict[str, np.ndarray]:
        changed = replace(run, backend=backend, resume=resume, overwrite=not resume)
        output = tmp_path / "o.parquet"
        predict(recordings, model=mfcc_bundle, options=PredictOptions(adapt="recordings"), output=output, run=changed)
        return {str(row["path"]): probabilities([row])[0] for row in read_report(output)}

    def interrupted(function: Any, items: Any, *, jobs: int) -> Any:
        predicting = function.func is predict_recording
        for number, result in enumerate(run.map(function, items)):
            if predicting and number == done:
                raise KeyboardInterrupt
            yield result

    whole = answers(found, run.backend)
    shuffled = [found[index] for index in order]
    with pytest.raises(RunInterrupted):
        answers(shuffled, interrupted)
    resumed = answers(shuffled, run.backend, resume=True)
    assert whole.keys() == resumed.keys()
    for path, row in whole.items():
        np.testing.assert_allclose(resumed[path], row, atol=1e-5)


def test_what_cannot_be_read_does_not_count(samples: Path, mfcc_bundle: Bundle, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    found = measure(find_recordings([samples, tmp_path / "bad.wav"]), model=mfcc_bundle, run=run)
    assert found is not None
    assert found.recordings == 16


def test_a_profile_of_nothing_is_refused(mfcc_bundle: Bundle, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(ConfigError, match="expected speech to measure"):
        save_profile(find_recordings([tmp_path / "bad.wav"]), tmp_path / "p", model=mfcc_bundle, run=run)
    assert not (tmp_path / "p").exists()


def test_a_profile_of_other_features_is_refused(
    samples: Path, mfcc_bundle: Bundle, tiny_bundle: Bundle, run: Run, tmp_path: Path
) -> None:
    save_profile(find_recordings([samples]), tmp_path / "p", model=mfcc_bundle, run=run)
    with pytest.raises(ConfigError, match="features of this model"):
        find_adaptation([], str(tmp_path / "p"), model=tiny_bundle, run=run)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a profile"])
def test_a_damaged_profile_is_refused(content: bytes, mfcc_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ConfigError, match="expected a profile"):
        Statistics.load(tmp_path / "p", config=mfcc_bundle.facts.features)


def test_a_profile_with_numbers_that_are_not_finite_is_refused(mfcc_bundle: Bundle, tmp_path: Path) -> None:
    values = np.ones(3)
    Statistics(values * np.nan, values, 2).save(tmp_path / "p", config=mfcc_bundle.facts.features)
    with pytest.raises(ConfigError, match="finite"):
        Statistics.load(tmp_path / "p", config=mfcc_bundle.facts.features)
