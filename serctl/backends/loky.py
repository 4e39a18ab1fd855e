"""Map a function over recordings on all cores: results as they finish, failures as values.

joblib (loky processes) does the work. What is added here: a chunk's size follows the time an item takes, a worker that
is killed costs one item instead of the batch, Ctrl-C leaves no process behind, and finished results never pile up.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import threading
import time
import warnings
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from serctl.backends.serial import attempt, map_here
from serctl.errors import ConfigError, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence


T = TypeVar("T")
R = TypeVar("R")

# Starting two workers that import numpy and scipy takes about 1 s, a recording of 4 s about 10 ms.
_FEWEST_FOR_A_POOL = 32
_POOL_PAYS_AFTER_S = 2.0

_LARGEST_CHUNK = 32
_CHUNK_S = 0.5
_ORPHAN_CHECK_S = 1.0
_FEEDER_ENDS_WITHIN_S = 1.0
_SAFE_PATH, _WARNINGS = "PYTHONSAFEPATH", "PYTHONWARNINGS"
_NO_LEAKS = "ignore:resource_tracker:UserWarning"

# More than joblib needs for a pool. Linux keeps each on a page of its own below /dev/shm.
_SEMAPHORES = 64
_SHARED_MEMORY = "/dev/shm"

WORKER_DIED = "WorkerDied"
WORKER_DIED_MESSAGE = "the process working on it was killed each time (out of memory, or a crash in native code)"

_logger = logging.getLogger(__name__)


def cpu_count() -> int:
    """How many cores this process may use, with CPU affinity and container limits taken into account."""
    import joblib

    return int(joblib.cpu_count())


def map_unordered(
    function: Callable[[T], R], items: Sequence[T], *, jobs: int = -1
) -> Generator[tuple[int, R | Failure], None, None]:
    """Yield (index, result) for every item as soon as it is finished, in no particular order.

    function: importable by name in another process; it is sent along with every chunk of items, so let it carry a path
    rather than a model. What it raises becomes a Failure of that one item.
    jobs: the number of worker processes; -1 for one per core. With 1, or for a few quick items, all is done in this
    process. The results are the same for any number.
    Leaving a loop over this iterator early (break, an exception, Ctrl-C) stops the workers, unless the iterator is also
    held in a variable: then close it.
    Raises ConfigError when jobs is neither -1 nor positive.
    """
    if jobs < 1 and jobs != -1:
        raise ConfigError(f"expected a number of jobs of at least 1, or -1 for every core. Received: {jobs}")
    return _map(function, deque(enumerate(items)), jobs)


def _map(
    function: Callable[[T], R], waiting: deque[tuple[int, T]], jobs: int
) -> Generator[tuple[int, R | Failure], None, None]:
    if jobs == 1 or len(waiting) < _FEWEST_FOR_A_POOL:
        yield from map_here(function, waiting, limit_s=None if jobs == 1 else _POOL_PAYS_AFTER_S)
    if waiting and jobs != 1 and workers_can_start():
        workers = min(cpu_count() if jobs == -1 else jobs, len(waiting))
        if workers > 1:
            yield from _map_in_pool(function, waiting, workers)
    yield from map_here(function, waiting, limit_s=None)


@functools.cache
def workers_can_start() -> bool:
    """Whether the system has room for the semaphores that worker processes share; says once why not.

    Threads that are managed by `multiprocessing` need them, too.
    """
    import multiprocessing

    if "fork" not in multiprocessing.get_all_start_methods():
        return True  # Windows, which keeps none of them in files
    try:
        # The one kind that is removed from the file system at once.
        room = [multiprocessing.get_context("fork").Lock() for _ in range(_SEMAPHORES)]
    except OSError as error:
        _logger.warning(
            "working in one process, for worker processes need shared memory in %s: %s",
            _SHARED_MEMORY,
            error.strerror,
        )
        return False
    return len(room) == _SEMAPHORES


def _map_in_pool(
    function: Callable[[T], R], waiting: deque[tuple[int, T]], workers: int
) -> Iterator[tuple[int, R | Failure]]:
    """Work in a pool; when a worker dies, find the item that kills it and go on with the others."""
    pool = _Pool(function, workers)
    with safe_start():
        while waiting:
            yield from pool.map(waiting, largest_chunk=_LARGEST_CHUNK)
            yield from _try_again(pool)


def _try_again(pool: _Pool[T, R]) -> Iterator[tuple[int, R | Failure]]:
    suspects = pool.take_unfinished()
    while suspects:
        # In chunks of one, whatever is left after another death was in flight: few enough to try each alone.
        yield from pool.map(suspects, largest_chunk=1)
        for suspect in pool.take_unfinished():
            yield from pool.map(deque([suspect]), largest_chunk=1)
            for index, _ in pool.take_unfinished():
                yield index, Failure(WORKER_DIED, WORKER_DIED_MESSAGE)


@contextmanager
def safe_start() -> Iterator[None]:
    """Set, for the processes that are started meanwhile, what to import and what not to say.

    The current folder is left out of their search for modules: it may be a folder of downloads, and a random.py in it
    would be run. The process that removes what a killed run leaves in shared memory does not speak of it.
    """
    filters = os.environ.get(_WARNINGS)
    before = {_SAFE_PATH: os.environ.get(_SAFE_PATH), _WARNINGS: filters}
    os.environ[_SAFE_PATH] = "1"
    os.environ[_WARNINGS] = f"{filters},{_NO_LEAKS}" if filters else _NO_LEAKS
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class _Pool(Generic[T, R]):
    """A pool of joblib's workers and the items they have been given."""

    function: Callable[[T], R]
    workers: int
    _unfinished: dict[int, T] = field(default_factory=dict)
    _item_s: float = _CHUNK_S

    def map(self, waiting: deque[tuple[int, T]], *, largest_chunk: int) -> Iterator[tuple[int, R | Failure]]:
        """Take items from waiting and yield their results; end early, with items unfinished, when a worker dies."""
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        while waiting and not self._unfinished:
            outputs = self._start(self._chunks(waiting, largest_chunk))
            try:
                for seconds, results in outputs:
                    self._item_s = seconds / len(results)
                    for index, result in results:
                        del self._unfinished[index]
                        yield index, result
            except TerminatedWorkerError:
                _logger.debug("a worker died with %d items unfinished", len(self._unfinished))
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # joblib warns that results go unused: leaving early is our right
                    outputs.close()

    def take_unfinished(self) -> deque[tuple[int, T]]:
        """Hand back the items that a dead worker left without a result."""
        unfinished, self._unfinished = deque(self._unfinished.items()), {}
        return unfinished

    def _chunks(self, waiting: deque[tuple[int, T]], largest: int) -> Iterator[Any]:
        """Chunks of about half a second, smaller towards the end, where they keep the workers equally busy.

        joblib dispatches a chunk for each one finished, whether its results have been consumed or not; a consumer that
        lags ends the round, and the next begins when it has caught up.
        """
        from joblib import delayed

        most_unfinished = 4 * self.workers * largest
        while waiting and len(self._unfinished) < most_unfinished:
            share = len(waiting) // (4 * self.workers)
            size = max(1, min(largest, share, int(_CHUNK_S / max(self._item_s, 1e-6))))
            chunk = [waiting.popleft() for _ in range(size)]
            self._unfinished.update(chunk)
            yield delayed(_attempt_chunk)(self.function, chunk)

    def _start(self, tasks: Iterator[Any]) -> Any:
        """Start the workers where there are none; the iterator over their results."""
        import joblib

        # Said when a worker is replaced because its memory has grown, which is harmless and nothing a user can mend.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        begin = {"initializer": _begin_worker, "initargs": (os.getpid(),)}
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1, **begin):
            # Without a size limit, joblib passes large arrays through files in a temporary folder.
            parallel = joblib.Parallel(
                n_jobs=self.workers, return_as="generator_unordered", batch_size=1, max_nbytes=None
            )
        _wait_for_feeders_at_exit()
        with _sigint_ignored():
            return parallel(tasks)


def _attempt_chunk(
    function: Callable[[T], R], chunk: list[tuple[int, T]]
) -> tuple[float, list[tuple[int, R | Failure]]]:
    start = time.perf_counter()
    results = [(index, attempt(function, item)) for index, item in chunk]
    return time.perf_counter() - start, results


def _begin_worker(parent: int) -> None:
    """Have this worker ignore Ctrl-C, and end soon after its parent, whatever it does or waits for by then.

    A parent that was killed cannot stop its workers. One that has no chunk yet waits for a lock, which another worker
    may have held when it was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers; for one it started late
    threading.Thread(target=_exit_when_orphaned, args=(parent,), daemon=True).start()


def _exit_when_orphaned(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_S)
    os._exit(1)


@functools.cache
def _wait_for_feeders_at_exit() -> None:
    atexit.register(_wait_for_feeders)


def _wait_for_feeders() -> None:
    """Let the threads that feed joblib's queues end before the process does.

    joblib tells them to, but does not wait; one that is cut off between removing a semaphore and saying so has joblib's
    resource tracker warn of a leak.
    """
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(_FEEDER_ENDS_WITHIN_S)


@contextmanager
def _sigint_ignored() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first instruction; a terminal sends it to all of them.

    The price: a Ctrl-C in the tenth of a second that the start takes (half a second for 16 workers) has no effect.
    """
    if threading.current_thread() is not threading.main_thread():  # only there may signals be set
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
