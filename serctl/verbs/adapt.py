"""Measure recordings for adaptation: the statistics of their features, to predict by and to keep as a profile."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.bundle.store import find_replica, load_bundle
from serctl.errors import ConfigError, Failure
from serctl.features import FeatureReader, is_silent
from serctl.features.adaptation import FEWEST_RECORDINGS, ClassSums, Statistics, adapt
from serctl.files import atomic_path, check_new_file
from serctl.run import Progress, Run
from serctl.runtime.recogniser import Recogniser
from serctl.verbs.options import ADAPT_MODES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from serctl.audio.find import Recording
    from serctl.bundle.store import Bundle
    from serctl.cache import Cache

    Row = tuple[NDArray[np.float32], NDArray[np.float64]] | None

FEWEST_FOR_AUTO = 10
"""Fewer recordings are not adapted to where their mix of emotions may be skewed: little can be gained."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What the features are normalised by, and how a row of a report calls it.

    Attributes:
        statistics: of the recordings at hand or of a profile; None for those of the training data.
        label: for the report.
        note: why nothing is adapted although it was asked for; empty otherwise.
    """

    statistics: Statistics | None = None
    label: str = "none"
    note: str = ""

    @property
    def digest(self) -> str:
        """Tells adaptations apart."""
        return self.statistics.digest if self.statistics else "none"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Adaptation) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


NOT_ADAPTED = Adaptation()


def find_adaptation(recordings: Sequence[Recording], to: str, *, model: Bundle, run: Run) -> Adaptation:
    """Measure or load what predictions are adapted by; fewer recordings than the mode needs are not adapted to.

    Args:
        recordings: those at hand.
        to: none, recordings, auto or the path of a profile; see PredictOptions.
        model: whose features are normalised.
        run: workers, cache and progress.

    Raises:
        ConfigError: a profile cannot be read, or is for other features.
    """
    if to not in ADAPT_MODES:
        if not os.path.exists(to):  # noqa: PTH110 - Path.exists raises for a NUL
            raise ConfigError(f"cannot adapt to {to}: expected {', '.join(ADAPT_MODES)}, or the file of a profile")
        profile = Statistics.load(Path(to), config=model.facts.features)
        return Adaptation(profile, f"{Path(to).name}, {profile.recordings} recordings")
    if to == "none":
        return NOT_ADAPTED
    fewest = {"recordings": FEWEST_RECORDINGS, "auto": FEWEST_FOR_AUTO}[to]
    if len(recordings) < fewest:
        return _too_few(to, fewest, str(len(recordings)))
    found = measure(recordings, model=model, run=run, balanced=to == "auto")
    spoken = found.recordings if found else 0
    if found is None or spoken < fewest:
        return _too_few(to, fewest, f"{spoken} among {len(recordings)}")
    return Adaptation(found, f"{to}, {spoken} recordings")


def _too_few(to: str, fewest: int, received: str) -> Adaptation:
    """No adaptation, with the reason."""
    return Adaptation(note=f"not adapted: '{to}' needs at least {fewest} recordings with speech. Received: {received}")


def measure(
    recordings: Sequence[Recording], *, model: Bundle, run: Run | None = None, balanced: bool = True
) -> Statistics | None:
    """Measure the features of recordings, whatever the length of each.

    Recordings that cannot be read, or hold no speech, do not count. The result does not depend on the number of
    workers.

    Args:
        recordings: what to measure; their order changes the last bits.
        model: whose features are measured.
        run: workers, cache and progress.
        balanced: see ClassSums.statistics.

    Returns:
        The statistics; None if no recording holds speech.
    """
    run = run or Run()
    paths = [recording.path for recording in recordings]
    function = partial(measure_recording, folder=model.folder, digest=model.digest, cache=run.cache)
    sums = ClassSums(model.facts.n_outputs)
    for row in _in_order(run.map(function, paths), run, len(paths)):
        if row is not None:
            sums.add(*row)
    return sums.statistics(balanced=balanced)


def save_profile(
    recordings: Sequence[Recording], output: Path, *, model: Bundle, run: Run | None = None, balanced: bool = True
) -> Statistics:
    """Measure recordings and write a profile for later predictions, whole or not at all.

    Raises:
        ConfigError: the output exists and run.overwrite is off, or no recording holds speech.
    """
    run = run or Run()
    check_new_file(output, overwrite=run.overwrite)
    found = measure(recordings, model=model, run=run, balanced=balanced)
    if found is None:
        raise ConfigError(f"expected speech to measure, found none in {len(recordings)} recordings")
    with atomic_path(output) as draft:
        found.save(draft, config=model.facts.features)
    return found


def measure_recording(path: Path, *, folder: Path, digest: str, cache: Cache | None) -> Row:
    """Return the mean functionals of a recording's windows of speech and their mean probabilities; None without speech.

    Runs in a worker process.

    Raises:
        AudioError: the recording cannot be read.
    """
    recogniser = load_recogniser(folder, digest)
    config = recogniser.bundle.facts.features
    features = [window.features for window in FeatureReader(path, config, cache=cache)]
    spoken = [each for each in features if not is_silent(each.functionals, config)]
    if not spoken:
        return None
    row = np.stack([each.functionals for each in spoken]).mean(axis=0, dtype=np.float64)
    return row.astype(np.float32), recogniser.probabilities(spoken).mean(axis=0)


@lru_cache(maxsize=1)
def load_recogniser(folder: Path, digest: str, adaptation: Adaptation = NOT_ADAPTED) -> Recogniser:
    """Load a model once for each worker process.

    Raises:
        MissingBundleError: it is not there, or was replaced meanwhile.
        BundleError: it is damaged.
    """
    bundle = load_bundle(find_replica(folder, digest))
    return Recogniser(bundle, adapt(bundle.normaliser, adaptation.statistics))


def _in_order(results: Generator[tuple[int, Row | Failure], None, None], run: Run, total: int) -> Iterator[Row]:
    """The rows in the order of the recordings, held back only while an earlier one is missing; None for a failure."""
    early: dict[int, Row] = {}
    following = failed = 0
    for done, (index, result) in enumerate(results, start=1):
        failed += isinstance(result, Failure)
        early[index] = None if isinstance(result, Failure) else result
        run.progress(Progress(done, total, failed))
        while following in early:
            yield early.pop(following)
            following += 1
