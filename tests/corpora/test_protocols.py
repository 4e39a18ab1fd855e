from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serctl.corpora import Utterance, hold_out, make_protocol, protocol_names
from serctl.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable

EMOTIONS = ("angry", "happy", "sad")
EMOBOX = {
    "1": {"01", "11", "20", "21"},
    "2": {"04", "10", "12", "14"},
    "3": {"08", "09", "19", "23"},
    "4": {"03", "05", "07", "24"},
    "5": {"02", "15", "16", "18"},
    "6": {"06", "13", "17", "22"},
}


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


def speakers(utterances: list[Utterance], indices: Iterable[int]) -> set[str | None]:
    return {utterances[index].speaker for index in indices}


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:3", "random-kfold:4", "emobox-ravdess-6"])
def test_every_utterance_is_tested_once_and_never_trained_on_then(name: str) -> None:
    utterances = corpus_of([3] * 24, "ravdess")
    folds = make_protocol(name, utterances, seed=1).folds
    assert sorted(index for fold in folds for index in fold.test) == list(range(len(utterances)))
    for fold in folds:
        assert sorted((*fold.train, *fold.test)) == list(range(len(utterances)))


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:3", "emobox-ravdess-6"])
def test_speakers_are_never_in_training_and_test(name: str) -> None:
    utterances = corpus_of([3] * 24, "ravdess")
    protocol = make_protocol(name, utterances, seed=1)
    assert protocol.speaker_independent
    for fold in protocol.folds:
        assert speakers(utterances, fold.train).isdisjoint(speakers(utterances, fold.test))


def test_loso_has_a_fold_for_each_speaker_of_each_corpus() -> None:
    utterances = corpus_of([3, 3], "a") + corpus_of([3], "b")
    names = [fold.name for fold in make_protocol("loso", utterances, seed=1).folds]
    assert names == ["speaker a/01", "speaker a/02", "speaker b/01"]


def test_speaker_folds_are_balanced_in_utterances() -> None:
    utterances = corpus_of([90, 50, 40, 30, 30, 30, 20, 10])
    sizes = [len(fold.test) for fold in make_protocol("speaker-kfold:3", utterances, seed=3).folds]
    assert sorted(sizes) == [100, 100, 100]


@pytest.mark.parametrize("name", ["speaker-kfold:3", "random-kfold:3"])
def test_the_seed_alone_decides(name: str) -> None:
    utterances = corpus_of([6] * 9)
    assert make_protocol(name, utterances, seed=5) == make_protocol(name, utterances, seed=5)
    assert make_protocol(name, utterances, seed=5) != make_protocol(name, utterances, seed=6)


def test_random_folds_are_stratified_and_stamped_speaker_dependent() -> None:
    utterances = corpus_of([30, 30])
    protocol = make_protocol("random-kfold:5", utterances, seed=1)
    assert not protocol.speaker_independent
    for fold in protocol.folds:
        assert Counter(utterances[index].emotion for index in fold.test) == dict.fromkeys(EMOTIONS, 4)


def test_emobox_folds_are_the_published_ones() -> None:
    utterances = corpus_of([3] * 24, "ravdess")
    folds = make_protocol("emobox-ravdess-6", utterances, seed=1).folds
    assert {fold.name: speakers(utterances, fold.test) for fold in folds} == EMOBOX


def test_the_manifests_split_is_used() -> None:
    utterances = [
        replace(utterance, split=split)
        for utterance, split in zip(corpus_of([1] * 5), ("train", "train", "test", "validation", None), strict=True)
    ]
    utterances = [replace(utterance, emotion=EMOTIONS[n % 3]) for n, utterance in enumerate(utterances)]
    protocol = make_protocol("split", utterances, seed=1)
    (fold,) = protocol.folds
    assert (fold.train, fold.test) == ((0, 1), (2,))
    assert protocol.speaker_independent
    assert protocol.description.endswith("2 train, 1 test, 1 no split left out, 1 validation left out")


def test_a_manifests_split_with_shared_speakers_is_stamped() -> None:
    first, second = corpus_of([2])
    utterances = [replace(first, split="train"), replace(second, split="test")]
    assert not make_protocol("split", utterances, seed=1).speaker_independent


def in_languages(*codes: str | None) -> list[Utterance]:
    """Three utterances of one speaker for each language."""
    return [
        replace(utterance, language=code, speaker=f"{number:02}")
        for number, code in enumerate(codes, start=1)
        for utterance in corpus_of([3])
    ]


def test_a_language_is_left_out_in_each_fold() -> None:
    utterances = in_languages("pl", "de", "pl", "am")
    protocol = make_protocol("leave-one-language-out", utterances, seed=1)
    assert [fold.name for fold in protocol.folds] == ["am", "de", "pl"]
    for fold in protocol.folds:
        assert {utterances[index].language for index in fold.test} == {fold.name}
        assert fold.name not in {utterances[index].language for index in fold.train}
        assert sorted((*fold.train, *fold.test)) == list(range(12))
    assert protocol.speaker_independent
    assert protocol.description == "leave one language out: 3 folds, am, de, pl"


@pytest.mark.parametrize("speaker", ["01", None])
def test_a_speaker_of_two_languages_or_none_known_is_stamped(speaker: str | None) -> None:
    utterances = in_languages("pl", "de")
    utterances[-1] = replace(utterances[-1], speaker=speaker)
    assert not make_protocol("leave-one-language-out", utterances, seed=1).speaker_independent


def test_languages_have_to_be_known_and_several() -> None:
    with pytest.raises(CorpusError, match="needs the language of every utterance; 3 of 6 have none"):
        make_protocol("leave-one-language-out", in_languages("pl", None), seed=1)
    with pytest.raises(CorpusError, match="needs at least 2 languages; came pl"):
        make_protocol("leave-one-language-out", in_languages("pl", "pl"), seed=1)


@pytest.mark.parametrize(
    ("name", "utterances", "message"),
    [
        ("loco", corpus_of([3, 3]), "unknown protocol 'loco': expected one of loso, leave-one-language-out, emobox"),
        ("speaker-kfold", corpus_of([3, 3]), "unknown protocol 'speaker-kfold'"),
        ("speaker-kfold:1", corpus_of([3, 3]), "with K from 2 up"),
        ("random-kfold:x", corpus_of([3, 3]), "unknown protocol"),
        ("loso:3", corpus_of([3, 3]), "unknown protocol 'loso:3'"),
        ("loso", corpus_of([3]), "loso needs at least 2 speakers; came mine/01"),
        ("speaker-kfold:3", corpus_of([3, 3]), "at least 3 speakers; came mine/01, mine/02"),
        ("random-kfold:7", corpus_of([3, 3]), "at least 7 utterances; came 6"),
        ("loso", corpus_of([1, 1]), "at least two emotions; came angry"),
        ("random-kfold:2", [], "at least two emotions; came no utterance"),
        ("emobox-ravdess-6", corpus_of([3] * 24), "for RAVDESS alone; came mine"),
        ("emobox-ravdess-6", corpus_of([3] * 23, "ravdess"), "absent or unknown: 24"),
        ("emobox-ravdess-6", corpus_of([3] * 25, "ravdess"), "absent or unknown: 25"),
        ("split", corpus_of([3, 3]), "came 0 train and 0 test of 6"),
    ],
)
def test_a_protocol_that_cannot_be_made_is_an_error(name: str, utterances: list[Utterance], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        make_protocol(name, utterances, seed=1)


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:2", "emobox-ravdess-6"])
def test_unknown_speakers_are_an_error(name: str) -> None:
    utterances = corpus_of([3] * 24, "ravdess")
    utterances[0] = replace(utterances[0], speaker=None)
    with pytest.raises(CorpusError, match="1 of 72 have none"):
        make_protocol(name, utterances, seed=1)


def test_protocol_names_are_listed() -> None:
    assert protocol_names() == (
        *("loso", "leave-one-language-out", "emobox-ravdess-6", "split"),
        *("speaker-kfold:K", "random-kfold:K"),
    )


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
        for utterances in (corpus_of([1, 1]), corpus_of([2]), corpus_of([20, 1])):
            split = hold_out(utterances, share=share, seed=1)
            assert split.train
            assert split.held_out


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 20.0])
def test_a_share_outside_0_to_1_is_an_error(share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        hold_out(corpus_of([3, 3]), share=share, seed=1)


def test_one_utterance_cannot_be_divided() -> None:
    with pytest.raises(CorpusError, match="at least two of them; came 1"):
        hold_out(corpus_of([1]), share=0.2, seed=1)
