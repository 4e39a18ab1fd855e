from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from serctl.api import Model
from serctl.audio.find import Recording
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.cache import Cache
from serctl.errors import AudioError, ConfigError
from serctl.reports.schema import values_of
from serctl.run import Run
from serctl.verbs.moments import Prediction, merge
from serctl.verbs.options import Per, PredictOptions
from serctl.verbs.predict import Job, columns, predict, predict_recording

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle


def prediction(start_s: float, happy: float, frames: int) -> Prediction:
    return Prediction(start_s, start_s + 1, np.array([happy, 1 - happy]), frames)


@pytest.fixture(scope="module")
def base() -> Bundle:
    return load_bundle(DEFAULT_MODEL)


def test_consecutive_predictions_merge_by_their_speech() -> None:
    merged = merge([prediction(0, 0.9, 30), prediction(1, 0.1, 10), prediction(2, 0.0, 0)])
    assert (merged.start_s, merged.end_s, merged.speech_frames) == (0, 3, 40)
    np.testing.assert_allclose(merged.probabilities, [0.7, 0.3])


def test_silent_predictions_merge_to_none_and_do_not_count() -> None:
    silent = merge([prediction(2, 0.5, 0), prediction(3, 0.5, 0)])
    assert np.isnan(silent.probabilities).all()
    spoken = merge([prediction(0, 0.8, 20), silent, prediction(4, 1, 5)])
    np.testing.assert_allclose(spoken.probabilities, [0.84, 0.16])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"per": "minute"}, "expected per one of file, window, segment. Received: minute"),
        ({"hop_s": 0.05}, "expected hop_s at least 0.1. Received: 0.05"),
        ({"moments": True, "per": "window"}, "moments describe whole recordings: expected per file. Received: window"),
        ({"window_s": 0.4}, "expected window_s at least 0.5 and at most 3600. Received: 0.4"),
        ({"window_s": 3601.0}, "at most 3600. Received: 3601"),
        ({"window_s": float("nan")}, "at most 3600. Received: nan"),
        ({"min_confidence": 1.1}, "at least 0 and at most 1. Received: 1.1"),
        ({"min_confidence": -0.1}, "at most 1. Received: -0.1"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PredictOptions(**values)


def test_a_table_has_the_columns_of_the_report(tiny_bundle: Bundle, samples: Path) -> None:
    table = predict_recording(
        samples / "tom-sad.flac",
        job=Job(tiny_bundle.folder, tiny_bundle.digest, PredictOptions(), None),
    )
    assert {*table, "error"} - {"channel"} == {column.name for column in columns(tiny_bundle)}


def test_windows_longer_than_the_models_own_cover_the_recording(tiny_bundle: Bundle, samples: Path) -> None:
    def spans(window_s: float) -> list[tuple[float, float]]:
        tables: list[dict[str, Any]] = []
        predict(
            [Recording(samples / "jana-sad.flac")],
            model=tiny_bundle,
            options=PredictOptions(per="window", window_s=window_s),
            on_table=tables.append,
        )
        return list(zip(tables[0]["start"], tables[0]["end"], strict=True))

    duration = spans(3600)[0][1]
    assert duration == pytest.approx(3.47, abs=0.01)
    assert [start for start, _ in spans(1)] == [0, 1, 2]
    assert spans(1)[-1][1] == duration


def test_what_cannot_be_judged_raises(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="does not exist"):
        predict_recording(
            tmp_path / "no.wav",
            job=Job(tiny_bundle.folder, tiny_bundle.digest, PredictOptions(), None),
        )


def test_novelty_is_a_column_only_where_it_is_asked_for(tiny_bundle: Bundle, samples: Path) -> None:
    found = {}
    for wanted in (False, True):
        tables: list[dict[str, Any]] = []
        options = PredictOptions(novelty=wanted)
        recordings = [Recording(samples / "tom-sad.flac"), Recording(samples / "jana-sad.flac")]
        predict(recordings, model=tiny_bundle, options=options, run=Run(jobs=1), on_table=tables.append)
        assert ("novelty" in {column.name for column in columns(tiny_bundle, options)}) == wanted
        found[wanted] = tables
    values = [table.pop("novelty")[0] for table in found[True]]
    assert found[True] == found[False]
    assert all(0 <= value <= 1 for value in values)


def test_noise_is_newer_than_a_training_recording(tiny_bundle: Bundle, samples: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000) * (np.arange(32_000) // 4_000 % 2)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    model = Model(tiny_bundle)
    known, new = (
        model.predict(path, options=PredictOptions(novelty=True))
        for path in (samples / "tom-sad.flac", tmp_path / "noise.wav")
    )
    assert known.novelty < new.novelty <= 1
    assert new.windows[0].novelty == new.novelty
    assert np.isnan(model.predict(samples / "tom-sad.flac").novelty)


@pytest.fixture
def call(samples: Path, tmp_path: Path) -> tuple[Path, list[Path]]:
    """A call of two people on a channel each, and what either of them says by itself."""
    talk = [soundfile.read(samples / name)[0][:30_000] for name in ("tom-sad.flac", "emma-happy.flac")]
    alone = [tmp_path / "left.wav", tmp_path / "right.wav"]
    for path, voice in zip(alone, talk, strict=True):
        soundfile.write(path, voice, 16_000)
    soundfile.write(tmp_path / "call.wav", np.stack(talk, axis=1), 16_000)
    return tmp_path / "call.wav", alone


def answers(path: Path, bundle: Bundle, channels: str, per: Per = "file") -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = []
    options = PredictOptions(channels=channels, per=per, window_s=1.0 if per == "window" else None)
    summary = predict([Recording(path)], model=bundle, options=options, run=Run(jobs=1), on_table=tables.append)
    assert summary.failed == 0, summary.failures
    (table,) = tables
    names = [column.name for column in columns(bundle, options)]
    rows = len(table["start"])
    return [dict(zip(names, row, strict=True)) for row in zip(*(values_of(n, table, rows) for n in names), strict=True)]


@pytest.mark.parametrize("per", ["file", "window"])
def test_each_channel_is_judged_by_itself(tiny_bundle: Bundle, call: tuple[Path, list[Path]], per: Per) -> None:
    path, alone = call
    found = answers(path, tiny_bundle, "each", per)
    expected = [
        row | {"channel": number}
        for number, each in enumerate(alone, 1)
        for row in answers(each, tiny_bundle, "1", per)
    ]
    assert [row["channel"] for row in found] == sorted(row["channel"] for row in found)
    for ours, theirs in zip(found, expected, strict=True):
        same = {name for name in theirs if name not in ("path", "channels")}
        assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


@pytest.mark.parametrize(("channels", "number"), [("left", 1), ("1", 1), ("right", 2), ("2", 2)])
def test_one_channel_is_picked(tiny_bundle: Bundle, call: tuple[Path, list[Path]], channels: str, number: int) -> None:
    (row,) = answers(call[0], tiny_bundle, channels)
    assert row["channel"] == number
    assert row == answers(call[0], tiny_bundle, "each")[number - 1]


def test_channels_do_not_share_a_cache_entry(
    tiny_bundle: Bundle, call: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    mixed, each, again = (
        predict_recording(
            call[0],
            job=Job(tiny_bundle.folder, tiny_bundle.digest, PredictOptions(channels=channels), cache),
        )
        for channels in ("mix", "each", "each")
    )
    assert each == again
    assert mixed["p_sad"][0] not in each["p_sad"]


def test_a_channel_that_is_not_there_is_an_error_row(tiny_bundle: Bundle, call: tuple[Path, list[Path]]) -> None:
    options = PredictOptions(channels="right")
    summary = predict([Recording(call[1][0])], model=tiny_bundle, options=options, run=Run(jobs=1))
    assert "has 1 channel(s): there is no channel 2" in summary.failures[0][1]


@pytest.mark.parametrize("channels", ["", "0", "-1", "both", "1.5"])
def test_unknown_channels_are_refused(channels: str) -> None:
    with pytest.raises(ConfigError, match="expected channels mix, each, left, right or a number from 1"):
        PredictOptions(channels=channels)


@pytest.fixture
def talk(samples: Path, tmp_path: Path) -> Path:
    """A quiet recording, 3 s of silence, and a loud clipped one."""
    quiet, loud = (soundfile.read(samples / name)[0] for name in ("tom-sad.flac", "emma-happy.flac"))
    soundfile.write(tmp_path / "talk.wav", np.r_[quiet, np.zeros(48_000), (20 * loud).clip(-1, 1)], 16_000)
    return tmp_path / "talk.wav"


def rows_of(path: Path, model: Bundle, cache: Cache | None = None, **values: Any) -> list[dict[str, Any]]:
    options = PredictOptions(**values)
    tables: list[dict[str, Any]] = []
    summary = predict(
        [Recording(path)], model=model, options=options, run=Run(jobs=1, cache=cache), on_table=tables.append
    )
    assert summary.failed == 0, summary.failures
    names = [column.name for column in columns(model, options)]
    count = len(tables[0]["start"])
    assert set(tables[0]) <= {*names, "channel"}
    return [dict(zip(names, row, strict=True)) for row in zip(*(values_of(n, tables[0], count) for n in names))]  # noqa: B905


def test_windows_overlap_by_the_hop(base: Bundle, talk: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    apart, overlapping, again = (
        rows_of(talk, base, cache, per="window", window_s=2.0, hop_s=hop) for hop in (None, 0.5, 0.5)
    )
    assert [row["start"] for row in apart][:3] == [0, 2, 4]
    assert [row["start"] for row in overlapping][:3] == [0, 0.5, 1]
    assert overlapping[-1]["end"] == apart[-1]["end"]
    assert str(overlapping) == str(again)  # nan equals nan
    assert overlapping[0]["p_sad"] == pytest.approx(apart[0]["p_sad"], abs=1e-5)
    assert overlapping[4]["p_sad"] == pytest.approx(apart[1]["p_sad"], abs=1e-5)


def test_segments_differ_from_their_neighbours_and_meet_in_pauses(base: Bundle, talk: Path) -> None:
    rows = rows_of(talk, base, per="segment", window_s=1.0, hop_s=0.25)
    duration = rows[0]["duration"]
    assert [row["start"] for row in rows] == [0, *(row["end"] for row in rows[:-1])]
    assert rows[-1]["end"] == duration
    emotions = [row["emotion"] for row in rows]
    assert all(before != after for before, after in itertools.pairwise(emotions))
    assert emotions.count("no-speech") == 1
    silent = rows[emotions.index("no-speech")]
    assert silent["confidence"] != silent["confidence"]
    assert [row["start"] for row in rows_of(talk, base, per="segment")] != [0]  # by half windows


def test_the_quality_of_a_row_is_that_of_its_own_sound(base: Bundle, talk: Path) -> None:
    (whole,) = rows_of(talk, base)
    for per in ("window", "segment"):
        rows = rows_of(talk, base, per=per, window_s=1.0)
        assert rows[0]["clipping"] == 0
        assert rows[-1]["clipping"] > whole["clipping"] > 0
        assert max(row["silence"] for row in rows) == 1


def test_the_row_of_a_recording_has_its_moments_where_asked_for(base: Bundle, talk: Path) -> None:
    (plain,) = rows_of(talk, base, window_s=1.0)
    (row,) = rows_of(talk, base, window_s=1.0, moments=True)
    assert {name: row[name] for name in plain if plain[name] == plain[name]} == plain
    assert sum(row[f"share_{label}"] for label in base.facts.labels) == pytest.approx(1)
    assert row["peak_emotion"] in base.facts.labels
    assert 0 < row["peak_time"] < row["duration"]
    assert row["changes"] >= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop_s": 3.5}, "expected a hop of at most the window, 3 s. Received: 3.5"),
        ({"window_s": 1.0, "hop_s": 1.5}, "at most the window, 1 s"),
        ({"window_s": 6.0, "hop_s": 1.0}, "expected a window of at most 3 s with a hop. Received: 6"),
    ],
)
def test_a_hop_that_does_not_suit_the_window_is_refused(
    base: Bundle, talk: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        predict([Recording(talk)], model=base, options=PredictOptions(**values))


def test_long_windows_make_segments_without_overlap(base: Bundle, talk: Path) -> None:
    rows = rows_of(talk, base, per="segment", window_s=4.0)
    assert rows[-1]["end"] == rows[0]["duration"]
