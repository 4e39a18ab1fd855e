"""Named evaluation protocols: which utterances are trained on and which are tested, fold by fold."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from serctl.corpora.splits import group, sources, testable, training_beside
from serctl.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from serctl.corpora.base import Utterance

_RAVDESS_SPEECH = re.compile(r"03-01-(?:01-01|0[2-8]-0[12])-0[12]-0[12]-(?:0[1-9]|1\d|2[0-4])")
_RAVDESS_SPEECH_COUNT = 1440


@dataclass(frozen=True)
class Fold:
    """One train/test split; both parts are indices into the utterances the protocol was made for.

    No recording is in both, nor an augmented copy of one; copies are never tested. classes: those that the answers are
    chosen among in the test, where the training part has others as well; None: all.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Protocol:
    """A named, reproducible set of folds.

    speaker_independent tells whether every fold tests on speakers that it never trained on.
    """

    name: str
    speaker_independent: bool
    folds: tuple[Fold, ...]
    description: str


def protocol_names() -> tuple[str, ...]:
    """List the protocols that make_protocol knows; K stands for the number of folds."""
    return (*_FIXED, *(f"{name}:K" for name in _WITH_FOLDS))


def make_protocol(name: str, utterances: Sequence[Utterance], *, seed: int) -> Protocol:
    """Divide the utterances into the folds of a protocol.

    Augmented copies, and recordings that are there twice, train only; the description counts them.

    Args:
        name: one of `protocol_names`.
        utterances: labelled utterances; their audio is not opened.
        seed: the same seed gives the same folds.

    Returns:
        The protocol, its folds as indices into utterances.

    Raises:
        CorpusError: the name is unknown, or the utterances do not suffice: one class, nothing but copies, unknown
            speakers, fewer speakers than folds, or other recordings than the protocol is for.
    """
    check_protocol(name)
    _require_classes(name, utterances)
    tested = testable(utterances)
    if not tested:
        raise CorpusError(f"protocol {name} needs original recordings to test on. Found: augmented copies alone")
    base, _, count = name.partition(":")
    if base in _FIXED:
        protocol = _FIXED[base](utterances)
    else:
        protocol = _WITH_FOLDS[base](utterances, int(count), np.random.default_rng(seed))
    train_only = len(utterances) - len(tested)
    stamp = f"; {train_only} augmented copies or repeated recordings train only" if train_only else ""
    folds = tuple(fold for fold in protocol.folds if fold.test)
    return replace(protocol, folds=folds, description=protocol.description + stamp)


def check_protocol(name: str) -> None:
    """Raise CorpusError, listing what there is, for a name that no protocol has."""
    base, colon, count = name.partition(":")
    fixed = base in _FIXED and not colon
    if not fixed and not (base in _WITH_FOLDS and count.isdecimal() and int(count) > 1):
        raise CorpusError(f"unknown protocol {name!r}: expected one of {', '.join(protocol_names())}, with K from 2 up")


def _leave_one_speaker_out(utterances: Sequence[Utterance]) -> Protocol:
    by_speaker = _indices_by_speaker("loso", utterances, at_least=2)
    return Protocol(
        name="loso",
        speaker_independent=True,
        folds=tuple(_fold(f"speaker {speaker}", test, utterances) for speaker, test in by_speaker.items()),
        description=f"leave one speaker out: {len(by_speaker)} folds, one per speaker",
    )


def _leave_one_language_out(utterances: Sequence[Utterance]) -> Protocol:
    name = "leave-one-language-out"
    unknown = sum(utterance.language is None for utterance in utterances)
    if unknown:
        raise CorpusError(
            f"protocol {name} needs the language of every utterance; {unknown} of {len(utterances)} have none. "
            "Give a manifest with a language column"
        )
    by_language = group(range(len(utterances)), [utterance.language or "" for utterance in utterances])
    if len(by_language) < 2:
        raise CorpusError(f"protocol {name} needs at least 2 languages. Found: {', '.join(by_language)}")
    return Protocol(
        name=name,
        speaker_independent=_speakers_apart(by_language.values(), utterances),
        folds=tuple(_fold(code, members, utterances) for code, members in by_language.items()),
        description=f"leave one language out: {len(by_language)} folds, {', '.join(by_language)}",
    )


def _leave_one_corpus_out(utterances: Sequence[Utterance]) -> Protocol:
    name = "leave-one-corpus-out"
    by_corpus = group(range(len(utterances)), [utterance.corpus for utterance in utterances])
    if len(by_corpus) < 2:
        raise CorpusError(f"protocol {name} needs at least 2 corpora. Found: {', '.join(by_corpus)}")
    emotions = {corpus: {utterances[index].emotion for index in members} for corpus, members in by_corpus.items()}
    numeric = _numeric(utterances)
    folds = [
        _fold(corpus, members, utterances, classes=None if numeric else _shared_emotions(name, corpus, emotions))
        for corpus, members in by_corpus.items()
    ]
    listed = ", ".join(
        f"{fold.name} ({'' if numeric else f'{len(fold.classes or ())} classes, '}{len(fold.test)} utterances)"
        for fold in folds
    )
    what = "" if numeric else ", tested on the classes that it shares with the others"
    return Protocol(
        name=name,
        speaker_independent=_speakers_apart(by_corpus.values(), utterances),
        folds=tuple(folds),
        description=f"leave one corpus out{what}: {listed}",
    )


def _shared_emotions(name: str, corpus: str, emotions: Mapping[str, set[str]]) -> tuple[str, ...]:
    trained = set[str]().union(*(emotions[other] for other in emotions if other != corpus))
    shared = sorted(emotions[corpus] & trained)
    if len(shared) < 2:
        raise CorpusError(
            f"protocol {name} needs at least 2 emotions that {corpus} shares with the other corpora. "
            f"Found: {', '.join(shared) or 'none'}"
        )
    return tuple(shared)


def _speakers_apart(groups: Iterable[Sequence[int]], utterances: Sequence[Utterance]) -> bool:
    """Whether every speaker is known and in one group only."""
    speakers = [{utterances[index].speaker_id for index in members} for members in groups]
    every = set[str | None]().union(*speakers)
    return None not in every and sum(map(len, speakers)) == len(every)


def _speaker_kfold(utterances: Sequence[Utterance], count: int, rng: np.random.Generator) -> Protocol:
    name = f"speaker-kfold:{count}"
    by_speaker = _indices_by_speaker(name, utterances, at_least=count)
    speakers = [list(by_speaker)[index] for index in rng.permutation(len(by_speaker))]
    tests: list[list[int]] = [[] for _ in range(count)]
    # Largest speakers first, each to the fold that has least: the classic greedy balance, with ties broken by the seed.
    for speaker in sorted(speakers, key=lambda speaker: -len(by_speaker[speaker])):
        min(tests, key=len).extend(by_speaker[speaker])
    return Protocol(
        name=name,
        speaker_independent=True,
        folds=tuple(_fold(str(number), test, utterances) for number, test in enumerate(tests, start=1)),
        description=f"{count} folds of whole speakers, balanced in utterances",
    )


def _emobox_ravdess(utterances: Sequence[Utterance]) -> Protocol:
    name = "emobox-ravdess-6"
    others = sorted({utterance.corpus for utterance in utterances} - {"ravdess"})
    if others:
        raise CorpusError(f"{name} is for RAVDESS alone. Found: {', '.join(others)}")
    fold_of = _stored_folds("emobox_ravdess_6.csv")
    by_speaker = _indices_by_speaker(name, utterances, at_least=2)
    different = sorted(set(fold_of) ^ {speaker.partition("/")[2] for speaker in by_speaker})
    if different:
        raise CorpusError(
            f"{name} needs exactly the {len(fold_of)} speakers of RAVDESS, 01 to 24; "
            f"absent or unknown: {', '.join(different)}"
        )
    found = _check_ravdess_speech(name, utterances)
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        members[fold_of[utterance.speaker or ""]].append(index)
    complete = found == _RAVDESS_SPEECH_COUNT
    stamp = "" if complete else f"; incomplete, so not comparable: {found} of its {_RAVDESS_SPEECH_COUNT} recordings"
    return Protocol(
        name=name,
        speaker_independent=True,
        folds=tuple(_fold(number, indices, utterances) for number, indices in sorted(members.items())),
        description="the six speaker-independent folds of EmoBox for RAVDESS (Ma et al. 2024, arXiv:2406.07162)"
        + stamp,
    )


def _check_ravdess_speech(name: str, utterances: Sequence[Utterance]) -> int:
    """Count the recordings of the protocol. Raises CorpusError if there are others, or one is there twice."""
    takes = Counter(utterance.path.stem for utterance in utterances if not utterance.is_copy)
    others = sorted(take for take in takes if not _RAVDESS_SPEECH.fullmatch(take))
    if others:
        raise CorpusError(
            f"{name} is for the {_RAVDESS_SPEECH_COUNT} audio-only speech recordings of RAVDESS, named 03-01-...: "
            f"{len(others)} others are there (song, or the sound of the videos?), such as {others[0]}"
        )
    twice = sorted(take for take, count in takes.items() if count > 1)
    if twice:
        raise CorpusError(f"{name} needs every recording once; {len(twice)} are there twice, such as {twice[0]}")
    return len(takes)


def _stored_folds(file: str) -> dict[str, str]:
    """A stored protocol: the fold of each speaker."""
    stored = (files("serctl.corpora") / "data" / file).read_text(encoding="utf-8")
    return {row["speaker"]: row["fold"] for row in csv.DictReader(stored.splitlines())}


def _random_kfold(utterances: Sequence[Utterance], count: int, rng: np.random.Generator) -> Protocol:
    name = f"random-kfold:{count}"
    tested = testable(utterances)
    if count > len(tested):
        raise CorpusError(f"{name} needs at least {count} recordings. Found: {len(tested)}")
    by_emotion = group(tested, [utterances[index].emotion for index in tested])
    dealt = [index for indices in by_emotion.values() for index in rng.permutation(indices).tolist()]
    return Protocol(
        name=name,
        speaker_independent=False,
        folds=tuple(_fold(str(number + 1), dealt[number::count], utterances) for number in range(count)),
        description=f"{count} random folds, stratified by emotion; speakers are in training and test alike",
    )


def _marked_split(utterances: Sequence[Utterance]) -> Protocol:
    parts = group(range(len(utterances)), [utterance.split or "no split" for utterance in utterances])
    marked_train, marked_test = parts.pop("train", []), parts.pop("test", [])
    test = sorted(set(marked_test).intersection(testable(utterances)))
    train = sorted(set(marked_train).intersection(training_beside(test, utterances)))
    if not train or not test:
        raise CorpusError(
            "protocol split needs utterances marked train and others marked test, by the split column of a manifest or "
            f"by folders of these names. Found: {len(train)} train and {len(test)} test of {len(utterances)} utterances"
        )
    tested = {utterances[index].speaker_id for index in test}
    left_out = "".join(f", {len(indices)} {part} left out" for part, indices in parts.items())
    shared = len(marked_train) - len(train)
    if shared:
        left_out += f", {shared} marked train left out since they are of tested recordings"
    return Protocol(
        name="split",
        speaker_independent=None not in tested and tested.isdisjoint(utterances[index].speaker_id for index in train),
        folds=(Fold("split", tuple(train), tuple(test)),),
        description=f"the split that is marked in the corpus: {len(train)} train, {len(test)} test{left_out}",
    )


_FIXED: Mapping[str, Callable[[Sequence[Utterance]], Protocol]] = {
    "loso": _leave_one_speaker_out,
    "leave-one-language-out": _leave_one_language_out,
    "emobox-ravdess-6": _emobox_ravdess,
    "leave-one-corpus-out": _leave_one_corpus_out,
    "split": _marked_split,
}
_WITH_FOLDS: Mapping[str, Callable[[Sequence[Utterance], int, np.random.Generator], Protocol]] = {
    "speaker-kfold": _speaker_kfold,
    "random-kfold": _random_kfold,
}


def _fold(
    name: str, members: Iterable[int], utterances: Sequence[Utterance], classes: tuple[str, ...] | None = None
) -> Fold:
    """Test the members that can be tested (of the classes, where given); train on all that has nothing to do with them.

    Members are left out of the training, copies and other classes included.
    """
    out = set(members)
    candidates = out.intersection(testable(utterances))
    test = sorted(index for index in candidates if classes is None or utterances[index].emotion in classes)
    names = sources(utterances)
    excluded = {names[index] for index in out}
    train = tuple(index for index, source in enumerate(names) if index not in out and source not in excluded)
    return Fold(name=name, train=train, test=tuple(test), classes=classes)


def _numeric(utterances: Sequence[Utterance]) -> bool:
    """Whether the utterances are labelled with numbers instead of emotions."""
    return any(utterance.value is not None for utterance in utterances)


def _require_classes(name: str, utterances: Sequence[Utterance]) -> None:
    classes = sorted({utterance.emotion for utterance in utterances})
    if len(classes) < 2 and not _numeric(utterances):
        raise CorpusError(f"protocol {name} needs at least two emotions. Found: {', '.join(classes) or 'no utterance'}")


def _indices_by_speaker(name: str, utterances: Sequence[Utterance], *, at_least: int) -> dict[str, list[int]]:
    speakers = [utterance.speaker_id for utterance in utterances]
    unknown = speakers.count(None)
    if unknown:
        raise CorpusError(
            f"protocol {name} needs the speaker of every utterance; {unknown} of {len(utterances)} have none. "
            "Give a manifest with a speaker column, or use random-kfold:K"
        )
    by_speaker = group(range(len(utterances)), [speaker for speaker in speakers if speaker is not None])
    if len(by_speaker) < at_least:
        raise CorpusError(f"protocol {name} needs at least {at_least} speakers. Found: {', '.join(by_speaker)}")
    return by_speaker
