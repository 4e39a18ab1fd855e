"""Hold out a part of the utterances: whole speakers where that is possible, and never a recording on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from serctl.corpora.base import Utterance

_DRAWS = 200
_ABSENT_FROM_TRAINING = 10.0
_ABSENT_FROM_HELD_OUT = 1.0


@dataclass(frozen=True)
class Split:
    """Utterances divided in two, as indices; reason says how, and why if the speakers could not be kept apart.

    Augmented copies of what is held out are in neither part.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    speaker_disjoint: bool
    reason: str


def group(indices: Iterable[int], labels: Sequence[str]) -> dict[str, list[int]]:
    """Group indices by label.

    Args:
        indices: positions of utterances.
        labels: one for each index.

    Returns:
        The indices of each label, labels in sorted order.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, label in zip(indices, labels, strict=True):
        groups[label].append(index)
    return dict(sorted(groups.items()))


def sources(utterances: Sequence[Utterance]) -> list[str]:
    """Name the recording that each utterance comes from: the same for a recording and its augmented copies."""
    return [each.source or f"{each.path}@{each.start_s}-{each.end_s}" for each in utterances]


def testable(utterances: Sequence[Utterance]) -> list[int]:
    """Return the indices of what may be tested: each recording once, and no augmented copy."""
    first: dict[str, int] = {}
    for index, source in enumerate(sources(utterances)):
        if not utterances[index].is_copy:
            first.setdefault(source, index)
    return sorted(first.values())


def training_beside(tested: Collection[int], utterances: Sequence[Utterance]) -> tuple[int, ...]:
    """Return the indices of the utterances that are not tested, nor come from a recording that is."""
    names = sources(utterances)
    excluded = {names[index] for index in tested}
    return tuple(index for index, name in enumerate(names) if name not in excluded)


def hold_out(utterances: Sequence[Utterance], *, share: float, seed: int, by_speaker: bool = True) -> Split:
    """Hold out about a share of the utterances, whole speakers at a time.

    Every corpus with two or more speakers gives some. Among random draws that one wins whose emotions, genders and
    languages come closest to that share each, so that they are represented on both sides where that is possible.
    Where a speaker is unknown, or no corpus has two, recordings are drawn at random, stratified by corpus and emotion.

    A recording and its augmented copies are never on both sides, and copies are only trained on, unless there is
    nothing else.

    Args:
        utterances: labelled utterances.
        share: of the utterances to hold out, between 0 and 1.
        seed: the same seed gives the same split.
        by_speaker: False draws recordings at random, for a part that is like the test part of a speaker-dependent
            protocol.

    Returns:
        The split; both of its parts hold something.

    Raises:
        ConfigError: share is not between 0 and 1.
        CorpusError: there are fewer than two recordings, or a class would have no training example.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the held-out share must be between 0 and 1. Received: {share}")
    items = _items(utterances)
    if len(set(sources(utterances))) < 2:
        raise CorpusError(f"holding out utterances needs at least two recordings. Found: {len(utterances)} utterances")
    rng = np.random.default_rng(seed)
    obstacle = _obstacle(utterances) if by_speaker else "the test part has no speakers of its own"
    if obstacle:
        held_out = _draw_recordings(utterances, items, share, rng)
        return _split(held_out, utterances, speaker_disjoint=False, reason=f"random utterances, since {obstacle}")
    corpora = group(items, [utterances[index].corpus for index in items])
    drawn = [_draw_speakers(utterances, indices, share, rng) for indices in corpora.values()]
    undivided = [corpus for corpus, indices in zip(corpora, drawn, strict=True) if not indices]
    reason = "whole speakers"
    if undivided:
        reason += f"; none of {', '.join(undivided)}, which has a single speaker"
    return _split([index for indices in drawn for index in indices], utterances, speaker_disjoint=True, reason=reason)


def marked_split(utterances: Sequence[Utterance]) -> Split | None:
    """Hold out what a manifest, or the name of a folder, marks as validation.

    Returns:
        The split, or None if nothing is marked so.

    Raises:
        CorpusError: a class has no training example.
    """
    marked = {index for index, utterance in enumerate(utterances) if utterance.split == "validation"}
    if not marked:
        return None
    held_out = sorted(marked.intersection(_items(utterances)) or marked)
    speakers = {utterances[index].speaker_id for index in marked} - {None}
    rest = [utterance for index, utterance in enumerate(utterances) if index not in marked]
    disjoint = speakers.isdisjoint(utterance.speaker_id for utterance in rest)
    reason = "marked as validation by the manifest or the folders' names"
    return _split(held_out, utterances, speaker_disjoint=disjoint, reason=reason, neither=marked)


def _items(utterances: Sequence[Utterance]) -> list[int]:
    """What may be held out: the testable ones, or all where there are only copies."""
    found = testable(utterances)
    return found if len(found) > 1 else list(range(len(utterances)))


def _split(
    held_out: Sequence[int],
    utterances: Sequence[Utterance],
    *,
    speaker_disjoint: bool,
    reason: str,
    neither: Collection[int] = (),
) -> Split:
    """Train on all that has nothing to do with the held-out utterances, and is not in neither part."""
    heard = {utterances[index].speaker_id for index in held_out} if speaker_disjoint else set()
    train = [
        index
        for index in training_beside(held_out, utterances)
        if index not in neither and (utterances[index].speaker_id or "") not in heard
    ]
    dropped = len(utterances) - len(train) - len(held_out)
    if dropped:
        reason += f"; {dropped} copies of held-out recordings are left out"
    lost = sorted({each.emotion for each in utterances} - {utterances[index].emotion for index in train})
    if lost:
        raise CorpusError(
            f"no training example of {', '.join(lost)}: every utterance of it is held out ({reason}). "
            "Add recordings of other speakers, or leave the class out"
        )
    return Split(tuple(train), tuple(sorted(held_out)), speaker_disjoint, reason)


def _obstacle(utterances: Sequence[Utterance]) -> str | None:
    """Why whole speakers cannot be held out, or None if they can."""
    unknown = sum(utterance.speaker is None for utterance in utterances)
    if unknown:
        return f"{unknown} of {len(utterances)} utterances have no speaker"
    speakers = {(utterance.corpus, utterance.speaker) for utterance in utterances}
    if max(Counter(corpus for corpus, _ in speakers).values()) < 2:
        return "no corpus has two speakers"
    return None


def _draw_recordings(
    utterances: Sequence[Utterance], items: Sequence[int], share: float, rng: np.random.Generator
) -> list[int]:
    """All items of the recordings drawn, of each corpus and emotion about the share."""
    names = sources(utterances)
    by_source = group(items, [names[index] for index in items])
    first = sorted(indices[0] for indices in by_source.values())
    strata = group(first, [f"{utterances[index].corpus}/{utterances[index].emotion}" for index in first])
    drawn: list[int] = []
    for indices in strata.values():
        wanted = min(max(round(share * len(indices)), 1), len(indices) - 1)
        drawn += rng.permutation(indices)[:wanted].tolist()
    drawn = drawn or rng.permutation(first)[:1].tolist()
    return [index for position in drawn for index in by_source[names[position]]]


def _draw_speakers(
    utterances: Sequence[Utterance], indices: Sequence[int], share: float, rng: np.random.Generator
) -> list[int]:
    """The utterances of the best drawn set of speakers of one corpus; none if it has a single speaker."""
    by_speaker = group(indices, [utterances[index].speaker or "" for index in indices])
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
