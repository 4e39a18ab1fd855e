"""A Dask cluster on this machine: workers for one run, that nobody else reaches and that end with it."""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from serctl.backends.loky import safe_start

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_LOGS = logging.CRITICAL + 1
LOCAL = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.deploy.lost-worker-timeout": "1 day",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
"""A chunk whose worker died is returned at once. A worker that takes more than 15 s to restart is not given up.

What Dask measures for its dashboard, up to a hundred times a second, would take a tenth of a core while a run lasts;
nobody sees the dashboard of this cluster.
"""


@contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """Workers on this machine, of one thread each, that nobody else can connect to."""
    import dask
    from distributed import LocalCluster

    with (
        tempfile.TemporaryDirectory(prefix="serctl-dask-", ignore_cleanup_errors=True) as folder,
        safe_start(),
        _script_not_run_again(),
        dask.config.set(LOCAL),
    ):
        with _interrupts_blocked():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=None,
                security=True,
                dashboard_address=None,
                local_directory=folder,
                silence_logs=_NO_LOGS,
            )
        with cluster:
            yield cluster


@contextmanager
def _script_not_run_again() -> Iterator[None]:
    """Start processes that do not import the script which this one runs, as multiprocessing has them do.

    Nothing here needs it, and a script may lack the line that keeps it from starting all over.
    """
    script = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: script[name] for name in ("__spec__", "__file__") if name in script}
    script["__spec__"] = None
    script.pop("__file__", None)
    try:
        yield
    finally:
        script.update(kept)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach; a terminal sends it to all of them. In this one it waits for the end.

    The thread that starts workers, those that replace dead ones as well, inherits that SIGINT is blocked, and so do
    the workers. The resource tracker of multiprocessing runs before: starting it would unblock the signal.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the logs of dask.distributed off the terminal: what they mean for a run is said by the run."""
    import distributed  # noqa: F401 - its import sets the levels

    names = ("distributed", "distributed.client", "tornado.application")
    loggers = {name: logging.getLogger(name) for name in names}
    levels = {name: logger.level for name, logger in loggers.items()}
    for logger in loggers.values():
        logger.setLevel(_NO_LOGS)
    try:
        yield
    finally:
        for name, level in levels.items():
            loggers[name].setLevel(level)
