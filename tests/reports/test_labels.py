"""Labels over time are what the programs that read their formats find in them."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
import srt as srt_reader
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid as praat

from serctl.audio.find import Recording
from serctl.errors import ConfigError
from serctl.reports.labels import LABEL_FORMATS, audacity, label_format, rttm, srt, textgrid, track_of, vtt
from serctl.verbs.labels import LabelFolder

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")


def table(path: str = "calls/my call.wav", **columns: Any) -> dict[str, Any]:
    return {
        "path": path,
        "start": [0.0, 1.5, 3.25, 4000.0],
        "end": [1.5, 3.25, 4000.0, 4001.2345],
        "emotion": ["happy", "no-speech", "uncertain", "angry"],
        "confidence": [0.714, NAN, 0.3, 0.9],
        "status": "ok",
        "duration": 4001.5,
        **columns,
    }


TWO_CHANNELS = table(channel=[1, 1, 2, 2], start=[0.0, 1.5, 0.5, 2.0], end=[1.5, 4.0, 2.0, 4.0], duration=4.0)
EVIL = table(emotion=["a --> b\n\n2", "no-speech", '<b>&"', "x\ty"])


def test_srt_is_read_by_its_parser() -> None:
    cues = list(srt_reader.parse(srt(track_of(table()))))
    assert [(cue.start.total_seconds(), cue.end.total_seconds(), cue.content) for cue in cues] == [
        (0, 1.5, "happy 71 %"),
        (3.25, 4000, "uncertain 30 %"),
        (4000, 4001.234, "angry 90 %"),
    ]
    assert [cue.content for cue in srt_reader.parse(srt(track_of(TWO_CHANNELS)))] == [
        "1: happy 71 %",
        "2: uncertain 30 %",
        "2: angry 90 %",
    ]
    assert len(list(srt_reader.parse(srt(track_of(EVIL))))) == 3


def test_vtt_is_read_by_its_parser() -> None:
    cues = webvtt.from_string(vtt(track_of(table())))
    assert [(cue.start, cue.end, cue.text) for cue in cues] == [
        ("00:00:00.000", "00:00:01.500", "happy 71 %"),
        ("00:00:03.250", "01:06:40.000", "uncertain 30 %"),
        ("01:06:40.000", "01:06:41.234", "angry 90 %"),
    ]
    evil = vtt(track_of(EVIL))
    assert len(list(webvtt.from_string(evil))) == 3
    assert '&lt;b&gt;&amp;"' in evil
    assert vtt(track_of(table(emotion="no-speech"))) == "WEBVTT\n"


def read_textgrid(text: str, folder: Path) -> Any:
    (folder / "x.TextGrid").write_text(text, encoding="utf-8")
    return praat.openTextgrid(str(folder / "x.TextGrid"), includeEmptyIntervals=True)


def test_a_textgrid_is_read_by_praatio(tmp_path: Path) -> None:
    grid = read_textgrid(textgrid(track_of(table())), tmp_path)
    assert grid.tierNames == ("emotion",)
    assert [tuple(entry) for entry in grid.getTier("emotion").entries] == [
        (0, 1.5, "happy 71 %"),
        (1.5, 3.25, ""),
        (3.25, 4000, "uncertain 30 %"),
        (4000, 4001.2345, "angry 90 %"),
        (4001.2345, 4001.5, ""),
    ]
    grid = read_textgrid(textgrid(track_of(TWO_CHANNELS)), tmp_path)
    assert grid.tierNames == ("channel 1", "channel 2")
    assert next(tuple(entry) for entry in grid.getTier("channel 2").entries) == (0, 0.5, "")
    assert '<b>&" 30 %' in [entry.label for entry in read_textgrid(textgrid(track_of(EVIL)), tmp_path).tiers[0].entries]
    assert len(read_textgrid(textgrid(track_of(table(emotion="no-speech"))), tmp_path).tiers[0].entries) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=8))
def test_intervals_of_a_textgrid_follow_each_other(spans: list[tuple[int, int]]) -> None:
    spans.sort()
    found = track_of(
        table(
            start=[start / 10 for start, _ in spans],
            end=[(start + length) / 10 for start, length in spans],
            emotion=["happy"] * len(spans),
            confidence=[0.5] * len(spans),
            duration=8.0,
        )
    )
    numbers = re.findall(r"    xm(?:in|ax) = (\S+)\n", textgrid(found))[2:]
    pairs = [(float(start), float(end)) for start, end in zip(numbers[::2], numbers[1::2], strict=True)]
    assert pairs[0][0] == 0
    assert pairs[-1][1] == 8
    assert all(start <= end for start, end in pairs)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(pairs))


def test_rttm_has_the_ten_fields_that_pyannote_reads() -> None:
    names = ["type", "uri", "channel", "start", "duration", "ortho", "stype", "speaker", "confidence", "slat"]
    rows = [dict(zip(names, line.split(" "), strict=True)) for line in rttm(track_of(table())).splitlines()]
    assert [(row["uri"], float(row["start"]), float(row["duration"]), row["speaker"]) for row in rows] == [
        ("my_call", 0, 1.5, "happy"),
        ("my_call", 3.25, 3996.75, "uncertain"),
        ("my_call", 4000, pytest.approx(1.2345, abs=1e-3), "angry"),
    ]
    assert {row["type"] for row in rows} == {"SPEAKER"}
    assert [row["channel"] for row in rows] == ["1", "1", "1"]
    assert [line.split(" ")[2] for line in rttm(track_of(TWO_CHANNELS)).splitlines()] == ["1", "2", "2"]
    assert {len(line.split(" ")) for line in rttm(track_of(EVIL)).splitlines()} == {10}


def test_audacity_labels_are_three_fields_with_tabs() -> None:
    lines = [line.split("\t") for line in audacity(track_of(table())).splitlines()]
    assert [(float(start), float(end), text) for start, end, text in lines] == [
        (0, 1.5, "happy 71 %"),
        (3.25, 4000, "uncertain 30 %"),
        (4000, 4001.2345, "angry 90 %"),
    ]
    assert {len(line.split("\t")) for line in audacity(track_of(EVIL)).splitlines()} == {3}


def test_a_suffix_tells_the_format(tmp_path: Path) -> None:
    assert label_format(tmp_path / "X.textgrid") is LABEL_FORMATS["textgrid"]
    assert label_format(tmp_path / "x.csv") is None


def test_a_folder_has_a_file_for_each_recording(tmp_path: Path) -> None:
    paths = ["calls/a/x.wav", "calls/b/x.wav", "calls/b/y.wav", "calls/b/y.flac", "calls/broken.wav"]
    write = LabelFolder(tmp_path, [Recording(tmp_path / path) for path in paths], LABEL_FORMATS["srt"], overwrite=False)
    for path in paths[:-1]:
        write(table(str(tmp_path / path)))
    write({"path": str(tmp_path / paths[-1]), "status": "error", "error": "no audio"})
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.srt")}
    assert found == {"a/x.srt", "b/x.srt", "b/y.wav.srt", "b/y.flac.srt"}
    with pytest.raises(ConfigError, match=r"x\.srt exists"):
        LabelFolder(tmp_path, [Recording(tmp_path / path) for path in paths], LABEL_FORMATS["srt"], overwrite=False)
