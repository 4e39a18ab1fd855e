"""What training and test data share: speakers, recordings, augmented copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.corpora import Protocol, licence_of
from serctl.metrics.facts import Leakage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.bundle.store import Bundle
    from serctl.learning.dataset import Dataset, Sample


def speaker_anywhere(corpus: str, speaker: str | None) -> str | None:
    """Return a speaker's name across corpora, None for an unknown speaker.

    An unknown corpus has the name of its folder, which may differ from one copy of it to the next: there the speaker's
    code alone counts.
    """
    if not speaker:
        return None
    return f"{corpus}/{speaker}" if licence_of(corpus) else f"*/{speaker}"


def leakage_facts(
    origins: set[str],
    speakers: Sequence[str | None],
    tested: Sequence[Sample],
    tested_speakers: Sequence[str | None],
) -> Leakage:
    """Count what training and test share: speakers by name, recordings by the digest of what was said.

    Args:
        origins: of every training utterance, the digest of its recording or of that which it is a copy of.
        speakers: of every training utterance, as `speaker_anywhere` names them; None where unknown.
        tested: the samples of the test part.
        tested_speakers: one for each of them; None where unknown.

    Returns:
        The counts, and the names of the first 20 shared speakers.
    """
    known = {speaker for speaker in speakers if speaker}
    shared = sorted(known & {speaker or "" for speaker in tested_speakers})
    audio = sum(sample.origin in origins for sample in tested)
    return Leakage(
        speakers_shared=len(shared),
        training_without_speaker=speakers.count(None),
        identical_audio=audio,
        test_utterances=len(tested),
        speakers=tuple(shared[:20]),
    )


def fold_leakage(dataset: Dataset, protocol: Protocol, earlier: Sequence[Bundle]) -> Leakage:
    """Count what training and test share in the worst of the folds.

    Args:
        dataset: what the protocol was made for.
        protocol: its folds.
        earlier: models that training continues from or learns from; what they have seen counts as trained on.

    Returns:
        The largest number of shared speakers and of unknown ones, the sum of shared recordings.
    """
    seen = [entry for model in earlier for entry in model.training_list()]
    origins = {entry.origin for entry in seen}
    seen_speakers = [speaker_anywhere(entry.corpus, entry.speaker) for entry in seen]
    found = []
    for fold in protocol.folds:
        training = [dataset.samples[index] for index in fold.train]
        speakers = [speaker_anywhere(each.utterance.corpus, each.utterance.speaker) for each in training]
        tested = [dataset.samples[index] for index in fold.test]
        tested_speakers = [speaker_anywhere(each.utterance.corpus, each.utterance.speaker) for each in tested]
        known = origins | {sample.origin for sample in training}
        found.append(leakage_facts(known, [*speakers, *seen_speakers], tested, tested_speakers))
    return Leakage(
        speakers_shared=max(each.speakers_shared for each in found),
        training_without_speaker=max(each.training_without_speaker for each in found),
        identical_audio=sum(each.identical_audio for each in found),
        test_utterances=sum(each.test_utterances for each in found),
    )
