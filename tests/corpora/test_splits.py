from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serctl.corpora import Utterance, hold_out, marked_split
from serctl.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable

EMOTIONS = ("angry", "happy", "sad")


def corpus_of(sizes: Iterable[int], corpus: str = "mine") -> list[Utterance]:
    """Speakers 01, 02, ... with that many utterances each; odd ones male, emotions in turn."""
    return [
        Utterance(
            Path(f"{corpus}/{speaker:02}/{number}.wav"),
            EMOTIONS[number % 3],
            corpus,
            speaker=f"{speaker:02}",
            gender="male" if speaker % 2 else "female",
        )
        for speaker, size in enumerate(sizes, start=1)
        for number in range(size)
    ]


def copies_of(utterances: Iterable[Utterance]) -> list[Utterance]:
    """An augmented copy of each, as a manifest lists it; the digest of its source is the source's path."""
    return [
        replace(each, path=each.path.with_suffix(".aug1.wav"), source=str(each.path), is_copy=True)
        for each in utterances
    ]


def with_copies(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Originals whose digests are known, and a copy of each."""
    known = [replace(each, source=str(each.path)) for each in utterances]
    return [*known, *copies_of(known)]


def speakers(utterances: list[Utterance], indices: Iterable[int]) -> set[str | None]:
    return {utterances[index].speaker for index in indices}


def test_whole_speakers_are_held_out_of_each_corpus() -> None:
    utterances = corpus_of([30] * 10, "a") + corpus_of([10] * 10, "b")
    split = hold_out(utterances, share=0.2, seed=1)
    held_out = {utterances[index].speaker_id for index in split.held_out}
    assert split.speaker_disjoint
    assert held_out.isdisjoint(utterances[index].speaker_id for index in split.train)
    assert Counter(utterances[index].corpus for index in split.held_out) == {"a": 60, "b": 20}
    assert sorted((*split.train, *split.held_out)) == list(range(len(utterances)))


def test_held_out_speakers_are_of_both_genders_and_cover_the_classes() -> None:
    # Only speakers 01 and 02 are ever sad: one of them, not both, has to be held out.
    utterances = [
        replace(utterance, emotion="happy")
        if utterance.emotion == "sad" and utterance.speaker not in {"01", "02"}
        else utterance
        for utterance in corpus_of([30] * 10)
    ]
    for seed in range(10):
        split = hold_out(utterances, share=0.2, seed=seed)
        held_out = [utterances[index] for index in split.held_out]
        assert {utterance.gender for utterance in held_out} == {"male", "female"}
        assert {utterance.emotion for utterance in held_out} == set(EMOTIONS)
        assert {utterances[index].emotion for index in split.train} == set(EMOTIONS)


def test_the_training_keeps_a_class_that_one_speaker_alone_has() -> None:
    utterances = [
        replace(utterance, emotion="happy") if utterance.emotion == "sad" and utterance.speaker != "02" else utterance
        for utterance in corpus_of([30] * 5)
    ]
    for seed in range(10):
        assert "02" not in speakers(utterances, hold_out(utterances, share=0.2, seed=seed).held_out)


def test_holding_out_depends_on_the_seed_alone() -> None:
    utterances = corpus_of([9] * 30)
    assert hold_out(utterances, share=0.2, seed=1) == hold_out(utterances, share=0.2, seed=1)
    assert hold_out(utterances, share=0.2, seed=1) != hold_out(utterances, share=0.2, seed=2)


def test_a_corpus_of_one_speaker_stays_in_training_beside_others() -> None:
    utterances = corpus_of([30] * 5, "a") + corpus_of([30], "b")
    split = hold_out(utterances, share=0.2, seed=1)
    assert {utterances[index].corpus for index in split.held_out} == {"a"}
    assert split.speaker_disjoint
    assert split.reason == "whole speakers; none of b, which has a single speaker"


@pytest.mark.parametrize(
    ("utterances", "reason"),
    [
        (corpus_of([30]), "random utterances, since no corpus has two speakers"),
        (
            [replace(utterance, speaker=None) for utterance in corpus_of([15, 15])],
            "random utterances, since 30 of 30 utterances have no speaker",
        ),
    ],
)
def test_without_two_speakers_utterances_are_drawn_by_class(utterances: list[Utterance], reason: str) -> None:
    split = hold_out(utterances, share=0.2, seed=1)
    assert not split.speaker_disjoint
    assert split.reason == reason
    assert Counter(utterances[index].emotion for index in split.held_out) == dict.fromkeys(EMOTIONS, 2)
    assert sorted((*split.train, *split.held_out)) == list(range(30))


def test_for_a_protocol_that_shares_speakers_utterances_are_drawn_by_class() -> None:
    utterances = corpus_of([30] * 10)
    split = hold_out(utterances, share=0.2, seed=1, by_speaker=False)
    assert not split.speaker_disjoint
    assert split.reason == "random utterances, since the test part has no speakers of its own"
    assert Counter(utterances[index].emotion for index in split.held_out) == dict.fromkeys(EMOTIONS, 20)
    assert len(speakers(utterances, split.held_out)) > 2


def test_something_is_always_held_out_and_something_kept() -> None:
    for share in (0.01, 0.99):
        for utterances in (corpus_of([1, 1]), corpus_of([20, 1]), corpus_of([30])):
            split = hold_out(utterances, share=share, seed=1)
            assert split.train
            assert split.held_out


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 20.0])
def test_a_share_outside_0_to_1_is_an_error(share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        hold_out(corpus_of([3, 3]), share=share, seed=1)


def test_one_utterance_cannot_be_divided() -> None:
    with pytest.raises(CorpusError, match=r"at least two recordings. Found: 1 utterances"):
        hold_out(corpus_of([1]), share=0.2, seed=1)


# Augmented copies


@pytest.mark.parametrize("known", [True, False], ids=["speakers known", "speakers unknown"])
def test_a_recording_and_its_copies_are_never_on_both_sides(known: bool) -> None:
    utterances = with_copies(corpus_of([20] * 4))
    if not known:
        utterances = [replace(utterance, speaker=None) for utterance in utterances]
    for seed in range(5):
        split = hold_out(utterances, share=0.25, seed=seed)
        held_out = {utterances[index].source for index in split.held_out}
        assert len(split.held_out) == 20
        assert held_out.isdisjoint(utterances[index].source for index in split.train)
        assert not any(utterances[index].is_copy for index in split.held_out)
        assert len(split.train) == 120
        assert split.reason.endswith("; 20 copies of held-out recordings are left out")


def test_the_copies_of_a_held_out_speaker_are_left_out_though_their_originals_are_not_there() -> None:
    originals = corpus_of([20] * 4)
    elsewhere = [replace(each, path=Path("other") / each.path) for each in originals]
    utterances = [*originals, *copies_of(elsewhere)]
    split = hold_out(utterances, share=0.25, seed=1)
    assert speakers(utterances, split.held_out).isdisjoint(speakers(utterances, split.train))
    assert any(utterances[index].is_copy for index in split.train)


def test_copies_alone_are_held_out_by_recording() -> None:
    originals = [replace(utterance, speaker=None) for utterance in corpus_of([30])]
    utterances = [*copies_of(originals), *copies_of(originals)]
    split = hold_out(utterances, share=0.2, seed=1)
    held_out = {utterances[index].source for index in split.held_out}
    assert (len(held_out), len(split.held_out), len(split.train)) == (6, 12, 48)
    assert held_out.isdisjoint(utterances[index].source for index in split.train)


def test_copies_of_one_recording_cannot_be_divided() -> None:
    with pytest.raises(CorpusError, match="at least two recordings"):
        hold_out(copies_of(corpus_of([1])) * 3, share=0.2, seed=1)


def test_copies_do_not_change_what_is_drawn() -> None:
    for originals in (corpus_of([20] * 4), [replace(each, speaker=None) for each in corpus_of([20] * 4)]):
        alone = hold_out(originals, share=0.25, seed=2)
        assert hold_out(with_copies(originals), share=0.25, seed=2).held_out == alone.held_out


# A marked validation part


def test_what_is_marked_validation_is_held_out() -> None:
    utterances = [
        replace(utterance, split="validation" if utterance.speaker == "02" else "train")
        for utterance in corpus_of([6, 6, 6])
    ]
    split = marked_split(utterances)
    assert split is not None
    assert speakers(utterances, split.held_out) == {"02"}
    assert speakers(utterances, split.train) == {"01", "03"}
    assert split.speaker_disjoint
    assert split.reason == "marked as validation by the manifest or the folders' names"
    assert marked_split(corpus_of([6])) is None


def test_copies_of_marked_recordings_are_in_neither_part() -> None:
    originals = [replace(each, source=str(each.path)) for each in corpus_of([6, 6, 6])]
    marked = [replace(each, split="validation" if each.speaker == "02" else None) for each in originals]
    utterances = [*marked, *copies_of(marked), *copies_of(originals)]
    split = marked_split(utterances)
    assert split is not None
    assert (len(split.train), len(split.held_out)) == (36, 6)
    assert "02" not in speakers(utterances, split.train)


def test_a_class_that_is_marked_for_validation_alone_is_an_error() -> None:
    utterances = [
        replace(utterance, split="validation" if utterance.emotion == "sad" else "train")
        for utterance in corpus_of([9])
    ]
    with pytest.raises(CorpusError, match=r"no training example of sad: .*\(marked as validation"):
        marked_split(utterances)


def test_a_class_that_no_training_speaker_has_is_an_error() -> None:
    sad, *others = corpus_of([1, 9])
    utterances = [replace(sad, emotion="sad"), *(replace(each, emotion="happy") for each in others)]
    with pytest.raises(CorpusError, match="no training example of"):
        hold_out(utterances, share=0.2, seed=1)
