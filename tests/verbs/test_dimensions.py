from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.audio.find import Recording
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.errors import ConfigError
from serctl.run import Run
from serctl.verbs.dimensions import COORDINATES, dimensions_of
from serctl.verbs.options import PredictOptions
from serctl.verbs.predict import columns, predict

if TYPE_CHECKING:
    from pathlib import Path


def test_a_certain_emotion_has_its_own_coordinates() -> None:
    labels = list(COORDINATES)
    found = dimensions_of(np.eye(len(labels)), labels)
    assert list(zip(found["arousal"], found["valence"], strict=True)) == list(COORDINATES.values())
    assert all(-1 <= each <= 1 for pair in COORDINATES.values() for each in pair)


def test_they_are_the_mean_by_probability_and_missing_in_silence() -> None:
    found = dimensions_of(np.array([[0.5, 0.25, 0.25], [np.nan] * 3]), ("happy", "angry", "neutral"))
    assert found["arousal"][0] == pytest.approx(0.5 * 0.51 + 0.25 * 0.59)
    assert found["valence"][0] == pytest.approx(0.5 * 0.81 - 0.25 * 0.51)
    assert np.isnan([found["arousal"][1], found["valence"][1]]).all()


def test_an_emotion_without_coordinates_is_refused() -> None:
    with pytest.raises(ConfigError, match="no arousal and valence are known of amused"):
        dimensions_of(np.ones((1, 2)) / 2, ("amused", "happy"))


def test_a_report_has_them_where_asked_for(samples: Path) -> None:
    model, tables = load_bundle(DEFAULT_MODEL), []
    options = PredictOptions(dimensions=True, per="window", window_s=1.0)
    predict(
        [Recording(samples / "tom-sad.flac")], model=model, options=options, run=Run(jobs=1), on_table=tables.append
    )
    assert [each.name for each in columns(model, options)][12:14] == ["arousal", "valence"]
    shares = np.array([tables[0][f"p_{label}"] for label in model.facts.labels]).T
    expected = shares @ np.array([COORDINATES[label] for label in model.facts.labels])
    np.testing.assert_allclose(np.array([tables[0]["arousal"], tables[0]["valence"]]).T, expected)
