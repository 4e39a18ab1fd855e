"""From folders and manifests to corpora: what is recognised, in which order."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from serctl.audio.find import find_recordings
from serctl.corpora import filename, folders, iemocap, manifest
from serctl.corpora.base import ReadOptions, normalise_emotion, same_label
from serctl.errors import AudioError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from serctl.corpora.base import Corpus, Utterance


def load_corpus(path: Path, options: ReadOptions | None = None) -> Corpus:
    """Read the labelled utterances of a corpus; no audio is opened.

    A folder is recognised as, in this order: IEMOCAP; a folder with a manifest; a corpus known by its file names; one
    folder per emotion. Below folders named train, val or test, utterances are marked as that part.

    Args:
        path: folder of a corpus, or a manifest.
        options: names of columns and meanings of labels that are not the usual ones.

    Returns:
        The corpus, its utterances sorted by path; what is left out or looks odd is among its problems.

    Raises:
        CorpusError: it is none of these; the message names what was looked for and what was found.
    """
    options = options or ReadOptions()
    if path.is_dir():
        corpus = _load_folder(path, options)
    elif path.is_file():
        corpus = manifest.load_manifest(path, options)
    else:
        raise CorpusError(f"{path}: no such folder or manifest")
    if not corpus.utterances:
        raise CorpusError(f"{path}: recognised as {corpus.name}, but nothing in it can be used: {corpus.problems[0]}")
    return replace(
        corpus,
        utterances=tuple(sorted(corpus.utterances, key=lambda utterance: (utterance.path, utterance.start_s))),
        problems=(*corpus.problems, *_contradictions(corpus.utterances)),
    )


def load_corpora(paths: Sequence[Path], options: ReadOptions | None = None) -> list[Corpus]:
    """Read several corpora, in the given order, each as load_corpus does.

    Args:
        paths: folders of corpora, or manifests.
        options: names of columns and meanings of labels that are not the usual ones.

    Raises:
        CorpusError: one is no corpus, two of them hold the same recording, which would put it on both sides of a
            split, or a label whose meaning is given occurs in none.
    """
    options = options or ReadOptions()
    corpora = [load_corpus(path, options) for path in paths]
    _require_labels(corpora, options)
    owners: dict[tuple[Path, float, float | None], int] = {}
    for number, corpus in enumerate(corpora):
        for utterance in corpus.utterances:
            key = (utterance.path.resolve(), utterance.start_s, utterance.end_s)
            owner = owners.setdefault(key, number)
            if owner != number:
                raise CorpusError(f"{utterance.path} is in both {paths[owner]} and {paths[number]}: give it once")
    return corpora


def _require_labels(corpora: Sequence[Corpus], options: ReadOptions) -> None:
    found = {label for corpus in corpora for label in corpus.own_labels}
    new = [label for label, emotion in options.labels if normalise_emotion(label) != emotion]
    unused = [label for label in new if not any(same_label(label, other) for other in found)]
    if unused:
        listed = ", ".join(sorted(found)) or "none"
        raise CorpusError(f"no utterance is labelled {', '.join(unused)}. Labels that mean no emotion here: {listed}")


def _load_folder(root: Path, options: ReadOptions) -> Corpus:
    listed = manifest.find_manifest(root)
    if options.target and not listed:
        raise CorpusError(f"{root}: expected a manifest with a column {options.target}, found none")
    if iemocap.evaluation_files(root) and not options.target:
        return iemocap.load(root)
    if listed:
        return manifest.load_manifest(listed, options)
    recordings, problems = _recordings(root)
    naming = filename.recognise(recordings)
    if naming:
        corpus = filename.load(root, recordings, naming)
    else:
        corpus = folders.load_class_folders(root, recordings, options)
    marked = tuple(folders.with_split(utterance, root) for utterance in corpus.utterances)
    return replace(corpus, utterances=marked, problems=(*corpus.problems, *problems))


def _recordings(root: Path) -> tuple[list[Path], list[str]]:
    try:
        found = [recording.path for recording in find_recordings([root])]
    except AudioError as error:
        raise CorpusError(f"{root}: no corpus: {error}") from error
    files = [path for path in found if path.is_file()]
    return files, [f"{path}: cannot be read" for path in found if not path.is_file()]


def _contradictions(utterances: Iterable[Utterance]) -> list[str]:
    genders: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        if utterance.speaker_id and utterance.gender:
            genders[utterance.speaker_id][utterance.gender] += 1
    return [
        f"speaker {speaker} is coded {' and '.join(f'{gender} {n} times' for gender, n in counts.most_common())}"
        for speaker, counts in sorted(genders.items())
        if len(counts) > 1
    ]
