"""Windows to calibrate and verify an exported network with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from serctl.audio.find import find_recordings
from serctl.errors import ConfigError, Failure, Remedy
from serctl.features import FeatureReader, cached_windows, is_silent, token_states
from serctl.run import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.export.options import ExportOptions
    from serctl.features import FeatureConfig, Features
    from serctl.run import Run


T = TypeVar("T")

CALIBRATION_WINDOWS = 200
"""Largest number of windows for measuring int8 ranges."""

VERIFICATION_WINDOWS = 1_000
"""Largest number of windows for comparing the two networks."""

SENTENCES = (
    "I am so happy that you called, this is wonderful news!",
    "He died last week, and I have been crying ever since.",
    "No. I have told you three times, and nobody has done anything about it.",
    "The invoice has the number four seven two.",
    "What? Really?",
    "I am afraid of what will happen if the money does not arrive by Friday, because the landlord has written again.",
    "That smells disgusting.",
)
"""What windows say where a network takes words: other features of a recording are cached, its words are not."""


@dataclass(frozen=True)
class Material:
    """Windows of speech for calibration or verification: the language of each, their source, and read errors."""

    windows: tuple[Features, ...]
    languages: tuple[str | None, ...]
    source: str
    problems: tuple[str, ...] = ()


def materials(options: ExportOptions, gather: Callable[..., Material]) -> tuple[Material | None, Material]:
    """Collect the windows for calibration, where it is needed, and for verification."""
    calibration = None
    if options.quantize == "int8" or options.calibrate:
        calibration = gather(options.calibrate, part="train", most=CALIBRATION_WINDOWS)
        _require(calibration, Remedy.CALIBRATION_RECORDINGS, "int8 measures the ranges of the network on recordings")
    verification = gather(options.verify, part="validation", most=VERIFICATION_WINDOWS)
    if not verification.windows and not options.verify:
        verification = calibration or gather(None, part="train", most=VERIFICATION_WINDOWS)
    _require(
        verification, Remedy.VERIFICATION_RECORDINGS, "the exported network is compared with the old one on recordings"
    )
    return calibration, verification


def _require(material: Material, remedy: Remedy, purpose: str) -> None:
    if not material.windows:
        problem = f"; {material.problems[0]}" if material.problems else ""
        raise ConfigError(f"{purpose}, and there is no speech in {material.source}{problem}", remedy)


def gather(
    place: Path | None,
    *,
    part: str,
    most: int,
    model: Bundle,
    run: Run,
) -> Material:
    """Collect windows of speech from given recordings, or from cached features of a part of the training list."""
    config = model.facts.features
    problems: list[str] = []
    if place is None:
        windows = _cached(model, part, run.cache) if run.cache else iter(())
        source = f"the feature cache (the {part} part of the training list)"
    else:
        recordings = [recording.path for recording in find_recordings([place])]
        windows = _computed(shuffled(recordings)[:most], config, run, problems)
        source = str(place)
    chosen = tuple(itertools.islice((window for window in windows if not is_silent(window.functionals, config)), most))
    if config.text_encoder:
        chosen = _with_words(chosen, run.cache)
    # Every language in turn, and no language: every adapter is exercised.
    languages = itertools.islice(itertools.cycle((*model.facts.languages, None)), len(chosen))
    return Material(chosen, tuple(languages), source, tuple(problems))


def _with_words(windows: Sequence[Features], cache: Cache | None) -> tuple[Features, ...]:
    """Give the windows each sentence in turn, and then no words."""
    spoken = itertools.cycle((*(token_states(sentence, cache) for sentence in SENTENCES), None))
    return tuple(replace(window, tokens=tokens) for window, tokens in zip(windows, spoken, strict=False))


def _cached(model: Bundle, part: str, cache: Cache) -> Iterator[Features]:
    config = model.facts.features
    for entry in shuffled([entry for entry in model.training_list() if entry.part == part]):
        # The training list names a part of a recording as digest@start-end.
        digest, _, span = entry.digest.partition("@")
        start_s, _, end_s = span.partition("-")
        look_up = partial(
            cached_windows, digest, cache=cache, start_s=float(start_s or 0), end_s=float(end_s or 0) or None
        )
        # Features cached for a student may include those that only its teacher uses.
        found = next(filter(None, map(look_up, _with_more_encoders(config))), [])
        yield from (window.features for window in found)


def _with_more_encoders(config: FeatureConfig) -> Iterator[FeatureConfig]:
    """Return the config, then variants of it with encoders added."""
    for voice, speech, states in itertools.product(
        (config.voice_encoder, True), (config.speech_encoder, True), (config.speech_states, True)
    ):
        if speech or not states:
            yield replace(config, voice_encoder=voice, speech_encoder=speech, speech_states=states)


def _computed(
    paths: Sequence[Path],
    config: FeatureConfig,
    run: Run,
    problems: list[str],
) -> Iterator[Features]:
    """Yield the windows of every readable recording; errors of the others are added to problems."""
    found: dict[int, tuple[Features, ...]] = {}
    results = run.map(partial(_features, config=config, cache=run.cache), paths)
    for done, (index, result) in enumerate(results, start=1):
        if isinstance(result, Failure):
            problems.append(result.message)
        else:
            found[index] = result
        run.progress(Progress(done, len(paths), len(problems)))
    return itertools.chain.from_iterable(found[index] for index in sorted(found))


def _features(path: Path, *, config: FeatureConfig, cache: Cache | None) -> tuple[Features, ...]:
    """Extract the windows of one recording; runs in a worker process."""
    return tuple(window.features for window in FeatureReader(path, config, cache=cache))


def shuffled(items: Sequence[T]) -> list[T]:
    """Return the items in a fixed pseudo-random order that mixes corpora, speakers and emotions."""
    return [items[index] for index in np.random.default_rng(0).permutation(len(items))]
