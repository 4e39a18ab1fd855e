from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.audio.find import Recording
from serctl.errors import AudioError, ConfigError
from serctl.verbs.options import PredictOptions
from serctl.verbs.predict import Prediction, columns, merge, merge_groups, predict, predict_recording

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle


def prediction(start_s: float, happy: float, frames: int) -> Prediction:
    return Prediction(start_s, start_s + 1, np.array([happy, 1 - happy]), frames)


def test_consecutive_predictions_merge_by_their_speech() -> None:
    merged = merge([prediction(0, 0.9, 30), prediction(1, 0.1, 10), prediction(2, 0.0, 0)])
    assert (merged.start_s, merged.end_s, merged.speech_frames) == (0, 3, 40)
    np.testing.assert_allclose(merged.probabilities, [0.7, 0.3])


def test_groups_merge_and_merge_again() -> None:
    first, silent, last = merge_groups(
        [
            prediction(0, 0.9, 10),
            prediction(1, 0.7, 10),
            prediction(2, 0.5, 0),
            prediction(3, 0.5, 0),
            prediction(4, 1, 5),
        ],
        2,
    )
    assert [(each.start_s, each.end_s) for each in (first, silent, last)] == [(0, 2), (2, 4), (4, 5)]
    assert np.isnan(silent.probabilities).all()
    np.testing.assert_allclose(merge([first, silent, last]).probabilities, [0.84, 0.16])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"per": "minute"}, "expected per one of file, window. Received: minute"),
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
        folder=tiny_bundle.folder,
        digest=tiny_bundle.digest,
        options=PredictOptions(),
        cache=None,
    )
    assert {*table, "error"} == {column.name for column in columns(tiny_bundle)}


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
            folder=tiny_bundle.folder,
            digest=tiny_bundle.digest,
            options=PredictOptions(),
            cache=None,
        )
