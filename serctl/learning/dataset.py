"""From labelled utterances to the windows that networks learn from, through the cache and on all cores."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from serctl.corpora import Utterance, digest_of_part, load_corpora
from serctl.errors import CorpusError, Failure, Remedy
from serctl.features import FeatureConfig, FeatureReader, Features, Normaliser, changed_windows, is_silent
from serctl.learning.words import utterance_tokens, with_transcripts
from serctl.metrics import Scale
from serctl.run import Progress, Run
from serctl.transforms.apply import apply_transforms, file_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.cache import Cache
    from serctl.corpora import Corpus
    from serctl.learning.options import Augmentation, LabelOptions
    from serctl.transforms.parameters import Transform

FEWEST_OF_A_CLASS = 2


@dataclass(frozen=True)
class Sample:
    """An utterance with its features.

    digest: of the recording's bytes, with the part where it is one. windows: of the utterance as it is. speech: whether
    each of them holds any. copies: for each augmented copy, its windows.
    """

    utterance: Utterance
    digest: str
    windows: tuple[Features, ...]
    speech: tuple[bool, ...]
    copies: tuple[tuple[Features, ...], ...] = ()

    @property
    def spoken(self) -> tuple[Features, ...]:
        """The windows that hold speech."""
        return tuple(window for window, speech in zip(self.windows, self.speech, strict=True) if speech)

    @property
    def origin(self) -> str:
        """The digest of the recording, or of that which it is an augmented copy of: what was really said."""
        return self.utterance.source or self.digest


@dataclass(frozen=True)
class Dataset:
    """Samples, the classes their labels index, what was left out, and the corpora they come from.

    failed: recordings that could not be read. other_classes: utterances whose emotion does not take part. repeated:
    samples, no copies, whose recording another sample has, so that they are never tested. marked_test:
    utterances left out because a manifest or a folder's name marks them as test. scale: that of the numbers that
    stand for emotions, of which there are then no classes.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    problems: tuple[str, ...]
    corpora: tuple[Corpus, ...]
    failed: int = 0
    other_classes: int = 0
    repeated: int = 0
    marked_test: int = 0
    scale: Scale | None = None

    @cached_property
    def utterances(self) -> tuple[Utterance, ...]:
        """The utterances, in the order of the samples; the source of each is known, its own digest for an original."""
        return tuple(replace(sample.utterance, source=sample.origin) for sample in self.samples)

    @property
    def left_out(self) -> dict[str, int]:
        """Return how many are left out of a test, by the reason."""
        return {"failed": self.failed, "other_classes": self.other_classes, "repeated": self.repeated}

    @property
    def values(self) -> NDArray[np.float64]:
        """The number of each sample, shape (samples,); NaN where emotions are labelled."""
        return np.array([sample.utterance.value for sample in self.samples], dtype=np.float64)

    @property
    def labels(self) -> NDArray[np.intp]:
        """Index of each sample's emotion among the classes, shape (samples,)."""
        index = {emotion: position for position, emotion in enumerate(self.classes)}
        return np.array([index[sample.utterance.emotion] for sample in self.samples], dtype=np.intp)


def load_dataset(
    paths: Sequence[Path],
    *,
    labels: LabelOptions,
    config: FeatureConfig,
    augmentation: Augmentation | None,
    run: Run,
    skip_test: bool = False,
    check: Callable[[Sequence[Utterance]], object] | None = None,
) -> Dataset:
    """Recognise the corpora, keep the utterances that take part, and compute their features.

    A recording that fails is a problem of the dataset, not the end of the run.

    Args:
        paths: folders and manifests.
        labels: which emotions take part.
        config: the features to compute.
        augmentation: the copies to make of each recording; None for none.
        run: workers, cache and progress.
        skip_test: whether to leave out the utterances that a manifest marks as test.
        check: receives the utterances before any audio is read, and raises an error for a fault in them.

    Returns:
        The dataset.

    Raises:
        CorpusError: fewer than two classes, or two different numbers, are left; the message names what was found.
    """
    corpora = tuple(load_corpora(paths, labels.reading))
    problems = [problem for corpus in corpora for problem in corpus.problems]
    found = [utterance for corpus in corpora for utterance in corpus.utterances]
    taking_part = [kept for each in found if (kept := labels.apply(each))]
    utterances = [each for each in taking_part if not (skip_test and each.split == "test")]
    if labels.transcripts:
        utterances, ignored = with_transcripts(utterances, labels.transcripts)
        problems += ignored
    if check:
        check(utterances)
    samples, unread = _featurise(utterances, config, augmentation, run)
    originals = [sample.origin for sample in samples if not sample.utterance.is_copy]
    return Dataset(
        tuple(samples),
        () if labels.target else _classes(samples, labels, found, unread),
        (*problems, *unread),
        corpora,
        failed=len(utterances) - len(samples),
        other_classes=len(found) - len(taking_part),
        repeated=len(originals) - len(set(originals)),
        marked_test=len(taking_part) - len(utterances),
        scale=_scale(samples, labels.target, unread) if labels.target else None,
    )


def shared_classes(paths: Sequence[Path], known: Sequence[str], labels: LabelOptions) -> tuple[str, ...]:
    """Return the emotions of a model that corpora hold.

    Args:
        paths: of the corpora.
        known: the emotions of the model.
        labels: how labels are renamed.

    Raises:
        CorpusError: there are fewer than two.
    """
    renamed = [
        labels.apply(utterance) for corpus in load_corpora(paths, labels.reading) for utterance in corpus.utterances
    ]
    found = {utterance.emotion for utterance in renamed if utterance}
    shared = tuple(label for label in known if label in found)
    if len(shared) < 2:
        raise CorpusError(
            f"expected at least two of the model's labels ({', '.join(known) or 'none'}) in the corpus, "
            f"found {', '.join(sorted(found)) or 'none'}"
        )
    return shared


def featurise(
    utterance: Utterance, *, config: FeatureConfig, augmentation: Augmentation | None, cache: Cache | None
) -> Sample:
    """The sample of one utterance; runs in a worker process. Raises AudioError if the recording cannot be read."""
    reader = FeatureReader(utterance.path, config, cache=cache, start_s=utterance.start_s, end_s=utterance.end_s)
    tokens = utterance_tokens(utterance, cache) if config.text_encoder else None
    windows = tuple(replace(window.features, tokens=tokens) for window in reader)
    copies = []
    if augmentation:
        for number, recipe in enumerate(augmentation.recipes()):
            copied = _copy(utterance, number, recipe, config, augmentation, cache)
            copies.append(tuple(replace(each, tokens=tokens) for each in copied))
    speech = tuple(not is_silent(window.functionals, config) for window in windows)
    digest = digest_of_part(reader.digest, utterance.start_s, utterance.end_s)
    return Sample(utterance, digest, windows, speech, tuple(copies))


def normalise_speakers(samples: Sequence[Sample]) -> list[Sample]:
    """Every window in standard deviations from the mean of its speaker's own recordings, copies included.

    It needs no labels, but it needs other recordings of the same speaker: scores found with it are transductive. Where
    the speaker is not known, the corpus stands in.
    """
    by_speaker: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_speaker[sample.utterance.speaker_id or sample.utterance.corpus].append(sample)
    normalisers = {
        speaker: Normaliser.fit([window for sample in group for window in sample.windows])
        for speaker, group in by_speaker.items()
    }
    return [_normalised(each, normalisers[each.utterance.speaker_id or each.utterance.corpus]) for each in samples]


def _normalised(sample: Sample, normaliser: Normaliser) -> Sample:
    return replace(
        sample,
        windows=tuple(map(normaliser.standardise, sample.windows)),
        copies=tuple(tuple(map(normaliser.standardise, copy)) for copy in sample.copies),
    )


def _copy(
    utterance: Utterance,
    number: int,
    recipe: tuple[Transform, ...],
    config: FeatureConfig,
    augmentation: Augmentation,
    cache: Cache | None,
) -> list[Features]:
    def change(samples: NDArray[np.float32], digest: str) -> NDArray[np.float32]:
        rng = file_generator(augmentation.seed, digest, number, start_s=utterance.start_s)
        return apply_transforms(samples, config.sample_rate, transforms=recipe, rng=rng)[0]

    windows = changed_windows(
        utterance.path,
        config,
        cache=cache,
        start_s=utterance.start_s,
        end_s=utterance.end_s,
        change=change,
        change_key=json.dumps([augmentation.seed, number, [transform.to_dict() for transform in recipe]]),
    )
    return [window.features for window in windows]


def _featurise(
    utterances: Sequence[Utterance],
    config: FeatureConfig,
    augmentation: Augmentation | None,
    run: Run,
) -> tuple[list[Sample], list[str]]:
    """The samples of the recordings that can be read, and why the others cannot."""
    function = partial(featurise, config=config, augmentation=augmentation, cache=run.cache)
    found: dict[int, Sample] = {}
    unread: list[str] = []
    for done, (index, result) in enumerate(run.map(function, utterances), start=1):
        if isinstance(result, Failure):
            unread.append(result.message)
        else:
            found[index] = result
        run.progress(Progress(done, len(utterances), len(unread)))
    return [found[index] for index in sorted(found)], unread


def _scale(samples: Sequence[Sample], target: str, unread: Sequence[str]) -> Scale:
    """The scale of the numbers of samples."""
    values = [sample.utterance.value for sample in samples if sample.utterance.value is not None]
    if len(set(values)) < 2:
        reason = f"; {len(unread)} recordings cannot be read, the first: {unread[0]}" if unread else ""
        raise CorpusError(f"expected at least two different numbers of {target}, found {sorted(set(values))}{reason}")
    return Scale(target, min(values), max(values))


def _classes(
    samples: Sequence[Sample], labels: LabelOptions, found: Sequence[Utterance], unread: Sequence[str]
) -> tuple[str, ...]:
    counts = Counter(sample.utterance.emotion for sample in samples)
    classes = tuple(emotion for emotion in labels.classes or sorted(counts) if counts[emotion])
    missing = [emotion for emotion in labels.classes if not counts[emotion]]
    listed = ", ".join(f"{emotion} {count}" for emotion, count in Counter(each.emotion for each in found).most_common())
    reason = f"found {listed or 'none'}"
    if unread:
        reason += f"; {len(unread)} of {len(samples) + len(unread)} recordings cannot be read, the first: {unread[0]}"
    if missing:
        raise CorpusError(f"no utterance of {', '.join(missing)}: {reason}")
    if len(classes) < 2:
        raise CorpusError(f"expected utterances of at least two emotions, {reason}")
    scarce = [f"{emotion} ({counts[emotion]})" for emotion in classes if counts[emotion] < FEWEST_OF_A_CLASS]
    if scarce:
        raise CorpusError(
            f"expected at least {FEWEST_OF_A_CLASS} utterances of each emotion, "
            f"too few of {', '.join(scarce)}: {reason}",
            Remedy.CLASSES,
        )
    return classes
