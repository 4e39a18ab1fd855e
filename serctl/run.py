"""How a run works: cache, workers, progress, and what happens to an earlier output."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from serctl.backends.loky import map_unordered
from serctl.errors import ConfigError, Remedy
from serctl.extras import require_extra
from serctl.options import option
from serctl.shards import Shard, parse_shard

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from serctl.audio.find import Recording
    from serctl.cache import Cache
    from serctl.errors import Failure

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """How far a run has come, in recordings.

    done counts the finished recordings, the failed ones among them; total is the number to do. position_s: how many
    seconds of the recording at hand are done, where this process works on it itself; else 0.
    """

    done: int
    total: int
    failed: int = 0
    position_s: float = 0.0


ProgressCallback = Callable[[Progress], None]


class Backend(Protocol):
    """Maps a function over items: results as they finish, failures as values; backends.loky has one."""

    def __call__(
        self, function: Callable[[T], R], items: Sequence[T], *, jobs: int
    ) -> Generator[tuple[int, R | Failure], None, None]:
        """Yield (index, result) for every item as soon as it is finished, in no particular order."""
        ...


def ignore_progress(progress: Progress) -> None:
    """Do nothing with it."""


_listener: ContextVar[Callable[[float], None] | None] = ContextVar("position", default=None)


def report_position(position_s: float) -> None:
    """Say how many seconds of a recording are done, to whoever listens in this process."""
    if (listener := _listener.get()) is not None:
        listener(position_s)


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Have the positions that are reported during the block passed to the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@dataclass(frozen=True)
class Run:
    """How a verb runs: what it caches, on how many workers it works, what it does with earlier output.

    cache: of features; None computes them anew. backend: maps a function over items on that many jobs: loky (processes
    of this machine), dask (workers of a cluster), or a function like theirs. scheduler: address of a Dask scheduler;
    None for a cluster on this machine. shard: work on this share of the recordings only. resume: continue what an
    interrupted run left. update: keep what an earlier report says of recordings that are as they were. overwrite:
    replace an output that exists. fail_fast: stop at the first recording that fails. progress: called after every
    finished item. A verb ignores what does not concern it.

    Raises:
        ConfigError: jobs is neither -1 (every core) nor positive; a scheduler is given for another back end than dask.
        MissingExtraError: dask is asked for and not installed.
    """

    cache: Cache | None = None
    jobs: int = option(-1, "Worker processes; -1 uses every core.", short="j", low=-1)
    backend: Literal["loky", "dask"] | Backend = option(
        "loky", "What runs the workers: processes of this machine, or a Dask cluster.", choices=("loky", "dask")
    )
    scheduler: str | None = option(
        None,
        "Address of the scheduler of a Dask cluster, such as tcp://HOST:8786. Default: workers on this machine.",
        kind=str,
        metavar="ADDRESS",
    )
    shard: Shard | None = option(
        None,
        "Work on share I of N of the recordings, or on that of this task of a SLURM array; see `serctl report merge`.",
        parse=parse_shard,
        metavar="I/N|slurm",
    )
    resume: bool = option(False, "Continue an interrupted run: keep what is finished.")
    overwrite: bool = option(False, "Replace an output that already exists.")
    fail_fast: bool = option(False, "Stop at the first recording that fails.")
    update: bool = option(False, "Add to an earlier report what is new or changed; failures are tried again.")
    progress: ProgressCallback = ignore_progress

    def __post_init__(self) -> None:
        if self.jobs < 1 and self.jobs != -1:
            raise ConfigError(f"expected a number of jobs of at least 1, or -1 for every core. Received: {self.jobs}")
        if self.backend == "dask":
            require_extra("dask", "the Dask back end")
        elif self.scheduler:
            raise ConfigError(f"a scheduler needs the back end dask. Received: {self.backend}", Remedy.DASK)

    def share(self, recordings: Sequence[Recording]) -> Sequence[Recording]:
        """Return the recordings of the shard, all of them without one."""
        if self.shard is None:
            return recordings
        return [each for each in recordings if self.shard.holds(each.name or str(each.path))]

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Generator[tuple[int, R | Failure], None, None]:
        """Yield (index, result) for every item as soon as it is finished; see backends.loky.map_unordered."""
        if callable(self.backend):
            return self.backend(function, items, jobs=self.jobs)
        if self.backend == "loky":
            return map_unordered(function, items, jobs=self.jobs)
        from serctl.backends import dask

        return dask.map_unordered(function, items, jobs=self.jobs, scheduler=self.scheduler)
