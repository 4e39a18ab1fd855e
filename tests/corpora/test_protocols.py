from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serctl.corpora import Utterance, make_protocol, protocol_names
from serctl.corpora.filename import BY_NAME
from serctl.errors import CorpusError
from serctl.learning.options import PROTOCOL_HELP

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


def ravdess(per_speaker: int = 60) -> list[Utterance]:
    """RAVDESS speech, or the first recordings of each speaker, as its file names tell it."""
    codes = [
        f"{emotion}-{intensity}-{statement}-{repetition}"
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]
    names = [
        f"03-01-{'-'.join(f'0{digit}' for digit in code.split('-'))}-{actor:02}.wav"
        for actor in range(1, 25)
        for code in codes[:: 60 // per_speaker]
    ]
    read = [BY_NAME["ravdess"].read(Path("/ravdess") / name) for name in names]
    return [utterance for utterance in read if utterance]


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


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:3", "random-kfold:4", "emobox-ravdess-6"])
def test_every_utterance_is_tested_once_and_never_trained_on_then(name: str) -> None:
    utterances = ravdess(4)
    folds = make_protocol(name, utterances, seed=1).folds
    assert sorted(index for fold in folds for index in fold.test) == list(range(len(utterances)))
    for fold in folds:
        assert sorted((*fold.train, *fold.test)) == list(range(len(utterances)))


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:3", "emobox-ravdess-6"])
def test_speakers_are_never_in_training_and_test(name: str) -> None:
    utterances = ravdess(4)
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
    utterances = ravdess(4)
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
        replace(utterance, path=Path(f"{number:02}") / utterance.path, language=code, speaker=f"{number:02}")
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
    with pytest.raises(CorpusError, match=r"needs at least 2 languages. Found: pl"):
        make_protocol("leave-one-language-out", in_languages("pl", "pl"), seed=1)


@pytest.mark.parametrize(
    ("name", "utterances", "message"),
    [
        ("loco", corpus_of([3, 3]), "unknown protocol 'loco': expected one of loso, leave-one-language-out, emobox"),
        ("speaker-kfold", corpus_of([3, 3]), "unknown protocol 'speaker-kfold'"),
        ("speaker-kfold:1", corpus_of([3, 3]), "with K from 2 up"),
        ("random-kfold:x", corpus_of([3, 3]), "unknown protocol"),
        ("loso:3", corpus_of([3, 3]), "unknown protocol 'loso:3'"),
        ("loso", corpus_of([3]), "loso needs at least 2 speakers. Found: mine/01"),
        ("speaker-kfold:3", corpus_of([3, 3]), "at least 3 speakers. Found: mine/01, mine/02"),
        ("random-kfold:7", corpus_of([3, 3]), "at least 7 recordings. Found: 6"),
        ("loso", corpus_of([1, 1]), "at least two emotions. Found: angry"),
        ("random-kfold:2", [], "at least two emotions. Found: no utterance"),
        ("emobox-ravdess-6", corpus_of([3] * 24), "for RAVDESS alone. Found: mine"),
        ("emobox-ravdess-6", corpus_of([3] * 23, "ravdess"), "absent or unknown: 24"),
        ("emobox-ravdess-6", corpus_of([3] * 25, "ravdess"), "absent or unknown: 25"),
        ("split", corpus_of([3, 3]), "Found: 0 train and 0 test of 6"),
    ],
)
def test_a_protocol_that_cannot_be_made_is_an_error(name: str, utterances: list[Utterance], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        make_protocol(name, utterances, seed=1)


@pytest.mark.parametrize("name", ["loso", "speaker-kfold:2", "emobox-ravdess-6"])
def test_unknown_speakers_are_an_error(name: str) -> None:
    utterances = ravdess(4)
    utterances[0] = replace(utterances[0], speaker=None)
    with pytest.raises(CorpusError, match="1 of 96 have none"):
        make_protocol(name, utterances, seed=1)


# Augmented copies and repeated recordings


NAMES = ("loso", "speaker-kfold:3", "random-kfold:4", "leave-one-corpus-out", "leave-one-language-out", "split")


def marked_and_spoken(utterance: Utterance) -> Utterance:
    """The utterance with a language and a split, so that every protocol can be made."""
    language = {"a": "de", "b": "pl"}[utterance.corpus]
    return replace(utterance, language=language, split="test" if utterance.speaker == "01" else "train")


@pytest.mark.parametrize("name", NAMES)
def test_copies_train_only_and_never_beside_their_source(name: str) -> None:
    originals = [marked_and_spoken(each) for each in corpus_of([6] * 5, "a") + corpus_of([6] * 4, "b")]
    utterances = with_copies(originals)
    protocol = make_protocol(name, utterances, seed=1)
    assert "54 augmented copies or repeated recordings train only" in protocol.description
    for fold in protocol.folds:
        tested = [utterances[index] for index in fold.test]
        assert tested
        assert not any(utterance.is_copy for utterance in tested)
        assert {each.source for each in tested}.isdisjoint(utterances[index].source for index in fold.train)
        assert any(utterances[index].is_copy for index in fold.train)
    alone = make_protocol(name, originals, seed=1)
    assert [fold.test for fold in protocol.folds] == [fold.test for fold in alone.folds]


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_that_is_there_twice_is_tested_once(name: str) -> None:
    originals = [replace(marked_and_spoken(each), source=str(each.path)) for each in corpus_of([6] * 5, "a")]
    others = [replace(marked_and_spoken(each), source=str(each.path)) for each in corpus_of([6] * 4, "b")]
    again = [replace(each, path=Path("again") / each.path) for each in originals]
    utterances = [*originals, *others, *again]
    for fold in make_protocol(name, utterances, seed=1).folds:
        tested = [utterances[index].source for index in fold.test]
        assert len(tested) == len(set(tested))
        assert set(tested).isdisjoint(utterances[index].source for index in fold.train)


def test_copies_alone_are_no_test() -> None:
    with pytest.raises(CorpusError, match=r"needs original recordings to test on. Found: augmented copies alone"):
        make_protocol("random-kfold:2", copies_of(corpus_of([6, 6])), seed=1)


# EmoBox


def test_the_stamp_of_emobox_tells_whether_it_is_all_there() -> None:
    assert "comparable" not in make_protocol("emobox-ravdess-6", ravdess(), seed=1).description
    part = make_protocol("emobox-ravdess-6", ravdess(30), seed=1).description
    assert part.endswith("incomplete, so not comparable: 720 of its 1440 recordings")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03-02-06-01-02-01-12", r"1 others are there \(song, or the sound of the videos\?\), such as 03-02-06"),
        ("01-01-06-01-02-01-12", "such as 01-01-06-01-02-01-12"),
        ("copy/03-01-06-01-02-01-12", "every recording once; 1 are there twice, such as 03-01-06-01-02-01-12"),
    ],
    ids=["song", "sound of a video", "twice"],
)
def test_emobox_takes_no_other_recording_of_ravdess_and_none_twice(name: str, message: str) -> None:
    other = BY_NAME["ravdess"].read(Path(f"/ravdess/{name}.wav"))
    assert other is not None
    with pytest.raises(CorpusError, match=message):
        make_protocol("emobox-ravdess-6", [*ravdess(), other], seed=1)


# A corpus left out


def test_a_corpus_is_left_out_and_tested_on_the_classes_that_it_shares() -> None:
    bored = [replace(each, emotion="boredom") if each.emotion == "sad" else each for each in corpus_of([6, 6], "b")]
    utterances = corpus_of([6, 6], "a") + bored + corpus_of([6], "c")
    protocol = make_protocol("leave-one-corpus-out", utterances, seed=1)
    assert [(fold.name, fold.classes, len(fold.test), len(fold.train)) for fold in protocol.folds] == [
        ("a", ("angry", "happy", "sad"), 12, 18),
        ("b", ("angry", "happy"), 8, 18),
        ("c", ("angry", "happy", "sad"), 6, 24),
    ]
    for fold in protocol.folds:
        assert {utterances[index].corpus for index in fold.test} == {fold.name}
        assert fold.name not in {utterances[index].corpus for index in fold.train}
    assert protocol.speaker_independent
    assert protocol.description.endswith(
        "a (3 classes, 12 utterances), b (2 classes, 8 utterances), c (3 classes, 6 utterances)"
    )


def test_a_corpus_of_unknown_speakers_is_stamped() -> None:
    utterances = corpus_of([6], "a") + [replace(each, speaker=None) for each in corpus_of([6], "b")]
    assert not make_protocol("leave-one-corpus-out", utterances, seed=1).speaker_independent


def test_leaving_a_corpus_out_needs_two_that_share_two_classes() -> None:
    with pytest.raises(CorpusError, match=r"at least 2 corpora. Found: a"):
        make_protocol("leave-one-corpus-out", corpus_of([6], "a"), seed=1)
    other = [replace(each, emotion="boredom") for each in corpus_of([6], "b")]
    with pytest.raises(CorpusError, match=r"2 emotions that a shares with the other corpora. Found: none"):
        make_protocol("leave-one-corpus-out", [*corpus_of([6], "a"), *other], seed=1)


def test_the_help_names_every_protocol() -> None:
    assert [name for name in protocol_names() if name not in PROTOCOL_HELP] == []


def test_protocol_names_are_listed() -> None:
    assert protocol_names() == (
        *("loso", "leave-one-language-out", "emobox-ravdess-6", "leave-one-corpus-out", "split"),
        *("speaker-kfold:K", "random-kfold:K"),
    )
