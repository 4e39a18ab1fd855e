"""Map a function over recordings on the workers of a Dask cluster: results as they finish, failures as values.

dask.distributed starts, watches and restarts the workers. What is added here: chunks whose size follows the time that
an item takes, no more of them under way than the workers need, a search for the item that kills its worker, and models
that are sent to a worker that has none.

joblib's own Dask back end is not used: as of joblib 1.6 and distributed 2026.8, a run never ends when an item kills its
worker, for the callback of a task is only called when the task succeeds.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from serctl import __version__
from serctl.backends.cluster import local_cluster, quiet
from serctl.backends.loky import WORKER_DIED, WORKER_DIED_MESSAGE, cpu_count
from serctl.backends.serial import attempt, one_thread
from serctl.errors import ConfigError, Failure, MissingBundleError, Remedy
from serctl.extras import require_extra
from serctl.replicas import pack_folder, store_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")

_LARGEST_CHUNK = 1024
_CHUNK_S = 2.0
_PARTS_OF_A_DEAD_CHUNK = 32
_CHUNKS_PER_WORKER = 3
_COUNT_WORKERS_EVERY_S = 5.0
_CONNECT_WITHIN_S = 15.0
_FETCH_WITHIN_S = 10.0
_MOST_UPLOADS = 10
_DEATHS_ALONE = 2
_logger = logging.getLogger(__name__)
_one_chunk_at_a_time = threading.Lock()


def map_unordered(
    function: Callable[[T], R], items: Sequence[T], *, jobs: int = -1, scheduler: str | None = None
) -> Generator[tuple[int, R | Failure], None, None]:
    """Yield (index, result) for every item as soon as it is finished, in no particular order.

    Args:
        function: importable by name on the workers; it is sent with every chunk of items, so let it carry paths.
        items: those of one chunk are sent together.
        jobs: worker processes of a cluster on this machine, -1 for one per core; ignored with a scheduler.
        scheduler: address of a scheduler, whose workers have this version of serctl and see the same files.

    Yields:
        What the function returned for the item at that index, or a Failure with what it raised.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        ConfigError: jobs is out of range; no scheduler answers, or it is lost; its workers have another version.
    """
    if jobs < 1 and jobs != -1:
        raise ConfigError(f"expected a number of jobs of at least 1, or -1 for every core. Received: {jobs}")
    require_extra("dask", "the Dask back end")
    return _map(function, deque(enumerate(items)), jobs, scheduler)


def _map(
    function: Callable[[T], R], waiting: deque[tuple[int, T]], jobs: int, scheduler: str | None
) -> Generator[tuple[int, R | Failure], None, None]:
    if not waiting:
        return
    with quiet(), _connect(jobs, len(waiting), scheduler) as client:
        yield from _Mapping(client, function, waiting).results()


# The cluster


@contextmanager
def _connect(jobs: int, items: int, scheduler: str | None) -> Iterator[Any]:
    """A client of the scheduler, or of a cluster on this machine that ends with the block."""
    with ExitStack() as stack:
        address = scheduler or stack.enter_context(local_cluster(min(cpu_count() if jobs == -1 else jobs, items)))
        yield stack.enter_context(_client(address))


@contextmanager
def _client(address: Any) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


# The work


@dataclass(frozen=True)
class _Finished(Generic[R]):
    """What a worker returns for a chunk."""

    seconds: float
    results: list[tuple[int, R | Failure]]


@dataclass(frozen=True)
class _Missing:
    """What a worker returns that has no copy of a folder."""

    folder: Path
    digest: str
    worker: str


@dataclass(frozen=True)
class _Origin:
    """Where a chunk comes from: the version of serctl, and the folder that relative paths start from."""

    version: str = field(default_factory=lambda: __version__)
    folder: Path = field(default_factory=Path.cwd)


Chunk = list[tuple[int, T]]


@dataclass
class _Mapping(Generic[T, R]):
    """One run of a function over items.

    Attributes:
        client: of the cluster.
        function: what to call.
        waiting: items that are in no chunk yet.
    """

    client: Any
    function: Callable[[T], R]
    waiting: deque[tuple[int, T]]
    _again: deque[Chunk[T]] = field(default_factory=deque)
    _suspects: deque[tuple[int, T]] = field(default_factory=deque)
    _under_way: dict[Any, Chunk[T]] = field(default_factory=dict)
    _uploads: dict[str, int] = field(default_factory=dict)
    _deaths: int = 0
    _origin: _Origin = field(default_factory=_Origin)
    _item_s: float = _CHUNK_S
    _workers: int = 1
    _counted_at: float = -_COUNT_WORKERS_EVERY_S

    def results(self) -> Iterator[tuple[int, R | Failure]]:
        """Work until nothing waits; then, one by one, on the items that were alone in a chunk when its worker died."""
        yield from self._run()
        while self._suspects:
            yield from self._alone(self._suspects.popleft())

    def _alone(self, suspect: tuple[int, T]) -> Iterator[tuple[int, R | Failure]]:
        """Nothing else is under way: a worker that dies now dies of this item, unless something else killed it."""
        deaths_before = self._deaths
        while self._deaths - deaths_before < _DEATHS_ALONE:
            self._again.append([suspect])
            yield from self._run()
            if not self._suspects or self._suspects[-1] is not suspect:
                return
            self._suspects.pop()
        yield suspect[0], Failure(WORKER_DIED, WORKER_DIED_MESSAGE)

    def _run(self) -> Iterator[tuple[int, R | Failure]]:
        from distributed import as_completed

        futures = as_completed(self._submit(), loop=self.client.loop)
        for future in futures:
            yield from self._taken(future)
            futures.update(self._submit())

    def _submit(self) -> list[Any]:
        """Start chunks until the workers have enough to do."""
        started = []
        while len(self._under_way) < _CHUNKS_PER_WORKER * self._count_workers() and (chunk := self._next_chunk()):
            future = self.client.submit(_attempt_chunk, self.function, chunk, self._origin, pure=False)
            self._under_way[future.key] = chunk
            started.append(future)
        return started

    def _next_chunk(self) -> Chunk[T]:
        """Items for about two seconds, fewer towards the end, where they keep the workers equally busy."""
        if self._again:
            return self._again.popleft()
        share = len(self.waiting) // (_CHUNKS_PER_WORKER * self._workers)
        size = max(1, min(_LARGEST_CHUNK, share, int(_CHUNK_S / max(self._item_s, 1e-6))))
        return [self.waiting.popleft() for _ in range(min(size, len(self.waiting)))]

    def _count_workers(self) -> int:
        """How many threads work for the scheduler; they may come and go."""
        now = time.monotonic()
        if now - self._counted_at > _COUNT_WORKERS_EVERY_S:
            self._counted_at = now
            found = len(self.client.scheduler_info(n_workers=-1)["workers"])
            if not found:
                _logger.warning("no worker is connected to the scheduler: waiting for one")
            self._workers = max(found, 1)
        return self._workers

    def _taken(self, future: Any) -> Iterator[tuple[int, R | Failure]]:
        """The results of a finished chunk, or none, where its items have to be done again."""
        from distributed.scheduler import KilledWorker

        chunk = self._under_way.pop(future.key)
        if future.status != "error":
            yield from self._results(_outcome(future), chunk)
        elif isinstance(error := future.exception(), KilledWorker):
            self._deaths += 1 + error.allowed_failures
            self._suspect(chunk)
        else:
            raise _failure_of_all(error)
        future.release()

    def _results(self, outcome: _Finished[R] | _Missing | None, chunk: Chunk[T]) -> Iterator[tuple[int, R | Failure]]:
        if isinstance(outcome, _Finished):
            self._item_s = outcome.seconds / len(chunk)
            yield from outcome.results
            return
        if outcome:
            self._upload(outcome)
        self._again.append(chunk)

    def _suspect(self, chunk: Chunk[T]) -> None:
        """Do a chunk whose worker died again, in parts; a single item waits until nothing else is under way."""
        _logger.debug("a worker died with %d items", len(chunk))
        if len(chunk) > 1:
            size = -(-len(chunk) // _PARTS_OF_A_DEAD_CHUNK)
            self._again += [chunk[first : first + size] for first in range(0, len(chunk), size)]
        else:
            self._suspects += chunk

    def _upload(self, missing: _Missing) -> None:
        """Send a folder to the worker that has none."""
        self._uploads[missing.worker] = self._uploads.get(missing.worker, 0) + 1
        if self._uploads[missing.worker] > _MOST_UPLOADS:
            raise ConfigError(f"the worker {missing.worker} does not keep the model that was sent to it")
        try:
            packed = pack_folder(missing.folder)
            self.client.run(_store, missing.digest, packed, workers=[missing.worker])
        except OSError as error:  # that the worker is gone is one, too: another one will say what it misses
            _logger.debug("%s was not sent to %s: %s", missing.folder, missing.worker, error)


def _outcome(future: Any) -> Any:
    """The result of a finished task; None if it was lost with its worker.

    As of distributed 2026.8, waiting for a lost result may never end where the task kills its next worker, too.

    Raises:
        ConfigError: the scheduler is gone.
    """
    from concurrent.futures import CancelledError

    try:
        return future.result(timeout=_FETCH_WITHIN_S)
    except TimeoutError:
        return None
    except (CancelledError, OSError) as error:
        raise ConfigError("the Dask scheduler is gone; what is finished is kept", Remedy.RESUME) from error


def _failure_of_all(error: BaseException) -> BaseException:
    """The error of a task that concerns every item: the worker cannot run serctl as it is here."""
    if isinstance(error, ImportError):
        return ConfigError(f"a Dask worker cannot run serctl {__version__}, install it there: {error}")
    return error


# On the worker


def _attempt_chunk(function: Callable[[T], R], chunk: Chunk[T], origin: _Origin) -> _Finished[R] | _Missing:
    """Work on a chunk, on one thread of this process, in the folder that the relative paths of the items mean."""
    if origin.version != __version__:
        raise ConfigError(
            f"expected workers with serctl {origin.version}, as here. Received: one with serctl {__version__}"
        )
    with _one_chunk_at_a_time, one_thread():
        _change_to(origin.folder)
        start = time.perf_counter()
        try:
            results = [(index, attempt(function, item, passing=(MissingBundleError,))) for index, item in chunk]
        except MissingBundleError as error:
            return _Missing(error.folder, error.digest, _address())
        return _Finished(time.perf_counter() - start, results)


def _change_to(folder: Path) -> None:
    """Change the current folder, from which no module is to be imported."""
    if folder != Path.cwd() and folder.is_dir():
        sys.path[:] = [place for place in sys.path if place]
        os.chdir(folder)


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)


def _store(digest: str, packed: bytes, dask_worker: Any) -> None:
    store_folder(digest, packed, below=Path(dask_worker.local_directory))
