"""Windows to calibrate and verify an exported network with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from serctl.audio.find import find_recordings
from serctl.errors import ConfigError, Failure, Remedy
from serctl.features import FeatureReader, cached_windows, is_silent
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
"""Most windows that the ranges of int8 are measured on."""

VERIFICATION_WINDOWS = 1_000
"""Most windows that the two networks are compared on."""


@dataclass(frozen=True)
class Material:
    """Windows of speech to calibrate or to verify with, the language of each, where they come from, what failed."""

    windows: tuple[Features, ...]
    languages: tuple[str | None, ...]
    source: str
    problems: tuple[str, ...] = ()


def materials(options: ExportOptions, gather: Callable[..., Material]) -> tuple[Material | None, Material]:
    """What to calibrate with, where that is needed, and what to verify with."""
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
    """Windows with speech from recordings in a place, or from what the cache holds of a part of the training list."""
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
    # Each language in turn, and none: every adapter is measured.
    languages = itertools.islice(itertools.cycle((*model.facts.languages, None)), len(chosen))
    return Material(chosen, tuple(languages), source, tuple(problems))


def _cached(model: Bundle, part: str, cache: Cache) -> Iterator[Features]:
    config = model.facts.features
    for entry in shuffled([entry for entry in model.training_list() if entry.part == part]):
        # Of a part of a recording, the training list notes where it starts and ends: digest@start-end.
        digest, _, span = entry.digest.partition("@")
        start_s, _, end_s = span.partition("-")
        look_up = partial(
            cached_windows, digest, cache=cache, start_s=float(start_s or 0), end_s=float(end_s or 0) or None
        )
        # What was cached for a student may hold features that only its teacher takes.
        found = next(filter(None, map(look_up, _with_more_encoders(config))), [])
        yield from (window.features for window in found)


def _with_more_encoders(config: FeatureConfig) -> Iterator[FeatureConfig]:
    """The config, then those that add encoders to it."""
    for voice, speech in itertools.product((config.voice_encoder, True), (config.speech_encoder, True)):
        yield replace(config, voice_encoder=voice, speech_encoder=speech)


def _computed(
    paths: Sequence[Path],
    config: FeatureConfig,
    run: Run,
    problems: list[str],
) -> Iterator[Features]:
    """The windows of every recording that can be read; what is wrong with the others is added to the problems."""
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
    """The windows of one recording; runs in a worker process."""
    return tuple(window.features for window in FeatureReader(path, config, cache=cache))


def shuffled(items: Sequence[T]) -> list[T]:
    """In an order that mixes corpora, speakers and emotions, always the same."""
    return [items[index] for index in np.random.default_rng(0).permutation(len(items))]
