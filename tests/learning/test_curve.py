"""The learning curve: nested parts of the training data, and the score of each on the same held-out part."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serctl.corpora import Utterance
from serctl.learning.curve import nested_parts
from serctl.learning.dataset import Sample
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle

EMOTIONS = ("happy", "sad")


def sample(number: int, speaker: str | None) -> Sample:
    path, emotion = Path(f"{number}.wav"), EMOTIONS[number % 2]
    return Sample(Utterance(path, emotion, corpus="c", speaker=speaker), f"digest-{number}", (), ())


@pytest.mark.parametrize("speakers", [16, 1, 0])
def test_parts_are_nested_and_hold_every_class(speakers: int) -> None:
    samples = [sample(number, f"s{number // 2 % speakers}" if speakers else None) for number in range(64)]
    parts = nested_parts(samples, classes=EMOTIONS, seed=0)
    assert [len(part) for part in parts] == [8, 16, 32]
    for smaller, larger in itertools.pairwise([*parts, samples]):
        assert {each.digest for each in smaller} < {each.digest for each in larger}
    if speakers > 1:
        for part in parts:
            inside = {each.utterance.speaker for each in part}
            assert part == [each for each in samples if each.utterance.speaker in inside]
    assert all({each.utterance.emotion for each in part} == set(EMOTIONS) for part in parts)
    assert parts == nested_parts(samples, classes=EMOTIONS, seed=0)
    assert parts != nested_parts(samples, classes=EMOTIONS, seed=1)


def test_a_class_of_one_speaker_is_in_every_part() -> None:
    samples = [sample(0 if speaker else 1, f"s{speaker}") for speaker in range(16)]
    parts = nested_parts(samples, classes=EMOTIONS, seed=0)
    assert all("s0" in {each.utterance.speaker for each in part} for part in parts)


def test_the_curve_lies_beside_the_model(mfcc_bundle: Bundle) -> None:
    rows = read_report(mfcc_bundle.folder / "learning-curve.csv")
    assert [(row["speakers"], row["utterances"]) for row in rows] == [(1, 4), (2, 8), (3, 12)]
    assert rows[-1]["uar"] == pytest.approx(mfcc_bundle.facts.metrics["validation"].uar, abs=1e-3)
    assert all(0 <= row["low"] <= row["uar"] <= row["high"] <= 1 for row in rows)
    assert (mfcc_bundle.folder / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
