"""The words of labelled utterances, from transcripts or manifests."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import CorpusError
from serctl.features import token_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.cache import Cache
    from serctl.corpora import Utterance
    from serctl.corpora.transcripts import Transcripts
    from serctl.learning.dataset import Sample

USED, MISSING, IGNORED = "used", "missing", "ignored"


def with_transcripts(utterances: Sequence[Utterance], path: str) -> tuple[list[Utterance], list[str]]:
    """Give utterances the words of their transcripts, instead of those that a manifest says.

    Args:
        utterances: labelled ones.
        path: of a folder of transcripts, or a file.

    Returns:
        The utterances, without words where there is no transcript; and what is wrong with transcripts.

    Raises:
        ConfigError: there are no transcripts.
    """
    from serctl.corpora.transcripts import open_transcripts

    transcripts = open_transcripts(Path(path))
    found, problems = [], []
    for utterance in utterances:
        try:
            found.append(replace(utterance, text=_text_of(utterance, transcripts)))
        except CorpusError as error:
            found.append(replace(utterance, text=None))
            problems.append(f"transcript ignored: {error}")
    return found, problems


def _text_of(utterance: Utterance, transcripts: Transcripts) -> str | None:
    transcript = transcripts.of(utterance.path)
    if transcript is None:
        return None
    is_part = utterance.start_s > 0 or utterance.end_s is not None
    if is_part and transcript.timed:
        return transcript.between(utterance.start_s, np.inf if utterance.end_s is None else utterance.end_s) or None
    if is_part:
        raise CorpusError(f"{utterance.path}: it has no times, which a part of a recording needs")
    return transcript.text or None


def words_status(utterance: Utterance) -> str:
    """Tell whether the words of an utterance are used, missing, or ignored since they are not English."""
    from serctl.encoders.english import is_english
    from serctl.runtime.words import has_words

    if not utterance.text or not has_words(utterance.text):
        return MISSING
    return USED if is_english(utterance.text, utterance.language) else IGNORED


def utterance_tokens(utterance: Utterance, cache: Cache | None) -> NDArray[np.float16] | None:
    """Compute the states of the tokens of an utterance; None where its words are not used."""
    if utterance.text and words_status(utterance) == USED:
        return token_states(utterance.text, cache)
    return None


def mix_words(
    probabilities: NDArray[np.float64], samples: Sequence[Sample], labels: Sequence[str]
) -> tuple[NDArray[np.float64], Counter[str]]:
    """Mix answers to speech with what its words say, as predict does; clear speech is taken for granted.

    Args:
        probabilities: from speech, float64, shape (samples, labels); NaN without speech.
        samples: what was predicted.
        labels: those of the model.

    Returns:
        The mixed probabilities, and how many words were used, missing or ignored.
    """
    from serctl.runtime.words import fuse, read_words, text_weight

    mixed, found = probabilities.copy(), Counter[str]()
    for row, sample in enumerate(samples):
        status = IGNORED if np.isnan(probabilities[row]).any() else words_status(sample.utterance)
        found[status] += 1
        if status == USED:
            words = read_words(sample.utterance.text or "", labels)
            weight = text_weight(probabilities[row], words, labels, np.nan)
            mixed[row] = fuse(probabilities[row], words, weight, labels)
    return mixed, found
