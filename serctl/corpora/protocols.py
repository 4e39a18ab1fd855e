"""Named evaluation protocols, and the held-out part that training validates on, speaker-disjoint where it can be."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serctl.corpora.base import Utterance

_DRAWS = 200
_ABSENT_FROM_TRAINING = 10.0
_ABSENT_FROM_HELD_OUT = 1.0


@dataclass(frozen=True)
class Fold:
    """One train/test split; both parts are indices into the utterances the protocol was made for."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Protocol:
    """A named, reproducible set of folds.

    speaker_independent tells whether every fold tests on speakers that it never trained on.
    """

    name: str
    speaker_independent: bool
    folds: tuple[Fold, ...]
    description: str


@dataclass(frozen=True)
class Split:
    """Utterances divided in two, as indices; reason says how, and why if the speakers could not be kept apart."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    speaker_disjoint: bool
    reason: str


def protocol_names() -> tuple[str, ...]:
    """The protocols that make_protocol knows; K stands for the number of folds."""
    return (*_FIXED, *(f"{name}:K" for name in _WITH_FOLDS))


def make_protocol(name: str, utterances: Sequence[Utterance], *, seed: int) -> Protocol:
    """The named protocol's folds over these utterances; the same seed gives the same folds.

    Raises CorpusError if the name is unknown, or the utterances do not suffice: one class, unknown speakers, fewer
    speakers than folds, or another corpus than the protocol is for.
    """
    check_protocol(name)
    _require_classes(name, utterances)
    base, _, count = name.partition(":")
    if base in _FIXED:
        return _FIXED[base](utterances)
    return _WITH_FOLDS[base](utterances, int(count), np.random.default_rng(seed))


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
    by_language = _group(range(len(utterances)), [utterance.language or "" for utterance in utterances])
    if len(by_language) < 2:
        raise CorpusError(f"protocol {name} needs at least 2 languages; came {', '.join(by_language)}")
    speakers = {code: {utterances[index].speaker_id for index in indices} for code, indices in by_language.items()}
    shared = sum(map(len, speakers.values())) > len(set().union(*speakers.values()))
    return Protocol(
        name=name,
        speaker_independent=not shared and not any(None in group for group in speakers.values()),
        folds=tuple(_fold(code, test, utterances) for code, test in by_language.items()),
        description=f"leave one language out: {len(by_language)} folds, {', '.join(by_language)}",
    )


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
        raise CorpusError(f"{name} is for RAVDESS alone; came {', '.join(others)}")
    fold_of = _stored_folds("emobox_ravdess_6.csv")
    by_speaker = _indices_by_speaker(name, utterances, at_least=2)
    different = sorted(set(fold_of) ^ {speaker.partition("/")[2] for speaker in by_speaker})
    if different:
        raise CorpusError(
            f"{name} needs exactly the {len(fold_of)} speakers of RAVDESS, 01 to 24; "
            f"absent or unknown: {', '.join(different)}"
        )
    tests: defaultdict[str, list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        tests[fold_of[utterance.speaker or ""]].append(index)
    return Protocol(
        name=name,
        speaker_independent=True,
        folds=tuple(_fold(number, test, utterances) for number, test in sorted(tests.items())),
        description="the six speaker-independent folds of EmoBox for RAVDESS (Ma et al. 2024, arXiv:2406.07162)",
    )


def _stored_folds(file: str) -> dict[str, str]:
    """A stored protocol: the fold of each speaker."""
    stored = (files("serctl.corpora") / "data" / file).read_text(encoding="utf-8")
    return {row["speaker"]: row["fold"] for row in csv.DictReader(stored.splitlines())}


def _random_kfold(utterances: Sequence[Utterance], count: int, rng: np.random.Generator) -> Protocol:
    name = f"random-kfold:{count}"
    if count > len(utterances):
        raise CorpusError(f"{name} needs at least {count} utterances; came {len(utterances)}")
    by_emotion = _group(range(len(utterances)), [utterance.emotion for utterance in utterances])
    dealt = [index for indices in by_emotion.values() for index in rng.permutation(indices).tolist()]
    return Protocol(
        name=name,
        speaker_independent=False,
        folds=tuple(_fold(str(number + 1), dealt[number::count], utterances) for number in range(count)),
        description=f"{count} random folds, stratified by emotion; speakers are in training and test alike",
    )


def _manifest_split(utterances: Sequence[Utterance]) -> Protocol:
    parts = _group(range(len(utterances)), [utterance.split or "no split" for utterance in utterances])
    train, test = parts.pop("train", []), parts.pop("test", [])
    if not train or not test:
        raise CorpusError(
            "protocol split needs a manifest whose split column names both train and test; "
            f"came {len(train)} train and {len(test)} test of {len(utterances)} utterances"
        )
    tested = {utterances[index].speaker_id for index in test}
    left_out = "".join(f", {len(indices)} {part} left out" for part, indices in parts.items())
    return Protocol(
        name="split",
        speaker_independent=None not in tested and tested.isdisjoint(utterances[index].speaker_id for index in train),
        folds=(Fold("split", tuple(train), tuple(test)),),
        description=f"the manifest's split column: {len(train)} train, {len(test)} test{left_out}",
    )


_FIXED: Mapping[str, Callable[[Sequence[Utterance]], Protocol]] = {
    "loso": _leave_one_speaker_out,
    "leave-one-language-out": _leave_one_language_out,
    "emobox-ravdess-6": _emobox_ravdess,
    "split": _manifest_split,
}
_WITH_FOLDS: Mapping[str, Callable[[Sequence[Utterance], int, np.random.Generator], Protocol]] = {
    "speaker-kfold": _speaker_kfold,
    "random-kfold": _random_kfold,
}


def _fold(name: str, test: Sequence[int], utterances: Sequence[Utterance]) -> Fold:
    tested = frozenset(test)
    train = tuple(index for index in range(len(utterances)) if index not in tested)
    return Fold(name=name, train=train, test=tuple(sorted(tested)))


def _require_classes(name: str, utterances: Sequence[Utterance]) -> None:
    classes = sorted({utterance.emotion for utterance in utterances})
    if len(classes) < 2:
        raise CorpusError(f"protocol {name} needs at least two emotions; came {', '.join(classes) or 'no utterance'}")


def _indices_by_speaker(name: str, utterances: Sequence[Utterance], *, at_least: int) -> dict[str, list[int]]:
    speakers = [utterance.speaker_id for utterance in utterances]
    unknown = speakers.count(None)
    if unknown:
        raise CorpusError(
            f"protocol {name} needs the speaker of every utterance; {unknown} of {len(utterances)} have none. "
            "Give a manifest with a speaker column, or use random-kfold:K"
        )
    by_speaker = _group(range(len(utterances)), [speaker for speaker in speakers if speaker is not None])
    if len(by_speaker) < at_least:
        raise CorpusError(f"protocol {name} needs at least {at_least} speakers; came {', '.join(by_speaker)}")
    return by_speaker


def _group(indices: Sequence[int], labels: Sequence[str]) -> dict[str, list[int]]:
    """The indices of each label, labels in sorted order."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, label in zip(indices, labels, strict=True):
        groups[label].append(index)
    return dict(sorted(groups.items()))


def hold_out(utterances: Sequence[Utterance], *, share: float, seed: int, by_speaker: bool = True) -> Split:
    """Hold out about `share` (between 0 and 1) of the utterances, whole speakers at a time, deterministic by seed.

    Every corpus with two or more speakers gives some. Among random draws that one wins whose emotions, genders and
    languages come closest to that share each, so that they are represented on both sides where that is possible.
    Where a speaker is unknown, or no corpus has two, utterances are drawn at random, stratified by corpus and emotion;
    so they are without by_speaker, for a part that is like the test part of a speaker-dependent protocol.
    Raises ConfigError if share is not between 0 and 1, CorpusError if there are fewer than two utterances.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the held-out share must be between 0 and 1, came {share}")
    if len(utterances) < 2:
        raise CorpusError(f"holding out utterances needs at least two of them; came {len(utterances)}")
    rng = np.random.default_rng(seed)
    corpora = _group(range(len(utterances)), [utterance.corpus for utterance in utterances])
    obstacle = _obstacle(utterances) if by_speaker else "the test part has no speakers of its own"
    if obstacle:
        held_out = _draw_utterances(utterances, share, rng)
        return _split(held_out, utterances, speaker_disjoint=False, reason=f"random utterances, since {obstacle}")
    drawn = [_draw_speakers(utterances, indices, share, rng) for indices in corpora.values()]
    undivided = [corpus for corpus, indices in zip(corpora, drawn, strict=True) if not indices]
    reason = "whole speakers"
    if undivided:
        reason += f"; none of {', '.join(undivided)}, which has a single speaker"
    return _split([index for indices in drawn for index in indices], utterances, speaker_disjoint=True, reason=reason)


def _split(held_out: Sequence[int], utterances: Sequence[Utterance], *, speaker_disjoint: bool, reason: str) -> Split:
    fold = _fold("held out", held_out, utterances)
    return Split(train=fold.train, held_out=fold.test, speaker_disjoint=speaker_disjoint, reason=reason)


def _obstacle(utterances: Sequence[Utterance]) -> str | None:
    """Why whole speakers cannot be held out, or None if they can."""
    unknown = sum(utterance.speaker is None for utterance in utterances)
    if unknown:
        return f"{unknown} of {len(utterances)} utterances have no speaker"
    speakers = {(utterance.corpus, utterance.speaker) for utterance in utterances}
    if max(Counter(corpus for corpus, _ in speakers).values()) < 2:
        return "no corpus has two speakers"
    return None


def _draw_utterances(utterances: Sequence[Utterance], share: float, rng: np.random.Generator) -> list[int]:
    strata = _group(range(len(utterances)), [f"{utterance.corpus}/{utterance.emotion}" for utterance in utterances])
    held_out: list[int] = []
    for indices in strata.values():
        wanted = min(max(round(share * len(indices)), 1), len(indices) - 1)
        held_out += rng.permutation(indices)[:wanted].tolist()
    return held_out or rng.permutation(len(utterances))[:1].tolist()


def _draw_speakers(
    utterances: Sequence[Utterance], indices: Sequence[int], share: float, rng: np.random.Generator
) -> list[int]:
    """The utterances of the best drawn set of speakers of one corpus; none if it has a single speaker."""
    by_speaker = _group(indices, [utterances[index].speaker or "" for index in indices])
    if len(by_speaker) < 2:
        return []
    speakers = list(by_speaker)
    counts = _trait_counts(utterances, list(by_speaker.values()))
    sizes = np.array([len(group) for group in by_speaker.values()])
    draws = [_draw(sizes, share, rng) for _ in range(_DRAWS)]
    best = min(draws, key=lambda draw: _imbalance(counts, draw, share))
    return [index for position in best for index in by_speaker[speakers[position]]]


def _trait_counts(utterances: Sequence[Utterance], groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Utterances of each group (row) that have each emotion, gender and language; int, shape (groups, traits)."""
    tallies = [
        Counter(
            trait
            for index in group
            for trait in (
                ("emotion", utterances[index].emotion),
                ("gender", utterances[index].gender or ""),
                ("language", utterances[index].language or ""),
            )
        )
        for group in groups
    ]
    traits = sorted({trait for tally in tallies for trait in tally})
    return np.array([[tally[trait] for trait in traits] for tally in tallies])


def _draw(sizes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Random positions whose sizes sum to about share of all: at least one, never all."""
    order = rng.permutation(len(sizes))
    distance = np.abs(np.cumsum(sizes[order])[:-1] - share * sizes.sum())
    return order[: int(np.argmin(distance)) + 1]


def _imbalance(counts: np.ndarray, drawn: np.ndarray, share: float) -> float:
    """How far a draw is from holding out `share` of every trait; a trait that one side lacks weighs extra."""
    total = counts.sum(axis=0)
    held_out = counts[drawn].sum(axis=0)
    penalty = _ABSENT_FROM_TRAINING * (held_out == total) + _ABSENT_FROM_HELD_OUT * (held_out == 0)
    return float(np.sum(np.abs(held_out / total - share) + penalty))
