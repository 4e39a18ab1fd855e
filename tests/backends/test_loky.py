from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from serctl.backends import loky as parallel
from serctl.backends.loky import cpu_count, map_unordered
from serctl.errors import AudioError, ConfigError, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator


def _square(number: int) -> int:
    return number * number


def _square_with_troubles(number: int) -> int:
    if number == 3:
        raise AudioError("three is no recording")
    if number == 5:
        raise ValueError("five is odd")
    if number == 7:
        raise MemoryError
    return number * number


def _die_at_17(number: int) -> int:
    if number == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def _worker_state(_: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def _linear_algebra_threads(_: int) -> list[int]:
    import numpy as np
    import threadpoolctl

    assert np.eye(2).shape == (2, 2)
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def _nap(number: int) -> int:
    time.sleep(0.02)
    return number


def _large(number: int) -> bytes:
    return bytes(10_000) + bytes([number % 256])


@pytest.fixture(autouse=True)
def _stop_workers():
    yield
    if "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_do_not_depend_on_the_number_of_jobs(jobs):
    assert sorted(map_unordered(_square, range(200), jobs=jobs)) == [(n, n * n) for n in range(200)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_item_becomes_a_failure_and_the_others_are_unharmed(jobs):
    results = dict(map_unordered(_square_with_troubles, range(40), jobs=jobs))
    assert results.pop(3) == Failure("AudioError", "three is no recording")
    assert results.pop(5) == Failure("ValueError", "unexpected ValueError: five is odd")
    assert results.pop(7) == Failure("MemoryError", "not enough memory for this item")
    assert results == {n: n * n for n in range(40) if n not in (3, 5, 7)}


def test_keyboard_interrupt_and_exit_are_not_swallowed():
    for exception in (KeyboardInterrupt, SystemExit):

        def stop(_: int, exception: type[BaseException] = exception) -> None:
            raise exception

        with pytest.raises(exception):
            list(map_unordered(stop, [1], jobs=1))


@pytest.mark.parametrize("jobs", [0, -2])
def test_an_impossible_number_of_jobs_is_refused(jobs):
    with pytest.raises(ConfigError, match=f"Received: {jobs}"):
        map_unordered(_square, [1], jobs=jobs)


def test_no_items_give_no_results():
    assert list(map_unordered(_square, [], jobs=2)) == []


def test_a_killed_worker_costs_one_item():
    results = dict(map_unordered(_die_at_17, range(50), jobs=2))
    died = results.pop(17)
    assert isinstance(died, Failure)
    assert died.kind == "WorkerDied"
    assert results == {n: n * n for n in range(50) if n != 17}


def test_workers_are_other_processes_with_one_numeric_thread():
    states = [state for _, state in map_unordered(_worker_state, range(64), jobs=2)]
    assert os.getpid() not in {pid for pid, _ in states}
    assert {threads for _, threads in states} == {"1"}


def test_a_few_quick_items_are_done_in_this_process():
    assert {pid for _, (pid, _) in map_unordered(_worker_state, range(8), jobs=2)} == {os.getpid()}


def test_a_few_slow_items_move_to_a_pool(monkeypatch):
    monkeypatch.setattr(parallel, "_POOL_PAYS_AFTER_S", 0.0)
    pids = {pid for _, (pid, _) in map_unordered(_worker_state, range(8), jobs=2)}
    assert os.getpid() not in pids


def _wait_for(number: int, *, flag: Path) -> int:
    deadline = time.monotonic() + 60
    while number and not flag.exists():
        assert time.monotonic() < deadline, "no result arrived meanwhile"
        time.sleep(0.01)
    return number


def test_results_arrive_while_others_are_still_worked_on(tmp_path):
    flag = tmp_path / "first result seen"
    results = map_unordered(functools.partial(_wait_for, flag=flag), range(40), jobs=2)
    assert next(results) == (0, 0)
    flag.touch()
    assert sorted(results) == [(number, number) for number in range(1, 40)]


def test_finished_results_do_not_pile_up_behind_a_slow_consumer(monkeypatch):
    started = []
    take = parallel._Pool._chunks

    def watch(self, waiting, largest):
        for task in take(self, waiting, largest):
            started.append(len(self._unfinished))
            yield task

    monkeypatch.setattr(parallel._Pool, "_chunks", watch)
    results = map_unordered(_large, range(5000), jobs=2)
    next(results)
    time.sleep(1.0)
    assert max(started) < 1000
    assert sum(1 for _ in results) == 4999


def test_leaving_early_stops_the_workers_without_a_warning():
    for index, _ in map_unordered(_nap, range(1000), jobs=2):
        if index > 5:
            break
    _, alive = psutil.wait_procs(_workers(psutil.Process()), timeout=3)
    assert alive == []


def _workers(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "resource_tracker" not in " ".join(child.cmdline())]


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that maps 10,000 naps and prints a line for each; its temporary files go below tmp_path."""
    code = """
        import sys, time
        from serctl.backends.loky import map_unordered

        def nap(number):
            time.sleep(0.05)
            return number

        if __name__ == "__main__":
            try:
                for _ in map_unordered(nap, range(10_000), jobs=2):
                    print("result", flush=True)
            except KeyboardInterrupt:
                sys.exit(130)
    """
    script = tmp_path / "batch.py"
    script.write_text(textwrap.dedent(code))
    (tmp_path / "temporary").mkdir()
    environment = {name: str(tmp_path / "temporary") for name in ("TMPDIR", "JOBLIB_TEMP_FOLDER")}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    ) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["to-all", "to-parent"])
def test_ctrl_c_leaves_no_process_no_file_and_no_traceback(batch, tmp_path, send):
    assert batch.stdout.readline() == "result\n"
    children = psutil.Process(batch.pid).children(recursive=True)
    assert len(children) >= 2
    send(batch.pid, signal.SIGINT)
    _, errors = batch.communicate(timeout=10)
    assert (batch.returncode, errors) == (130, "")
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("after", ["break", "pass"], ids=["left-early", "worked-through"])
def test_no_thread_of_the_pool_is_cut_off_by_the_end_of_the_process(tmp_path, after):
    code = f"""
        import atexit, threading, time
        from joblib.externals.loky.backend.queues import Queue
        from serctl.backends import loky as parallel

        def feed_and_linger(*arguments):
            feed(*arguments)
            time.sleep(0.3)

        if __name__ == "__main__":
            feed, Queue._feed = Queue._feed, staticmethod(feed_and_linger)
            atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))
            parallel._POOL_PAYS_AFTER_S = 0.0
            for _ in parallel.map_unordered(abs, range(1000), jobs=2):
                {after}
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['MainThread']\n", "")


def test_workers_ignore_ctrl_c_from_their_start(batch):
    while not (workers := _workers(psutil.Process(batch.pid))):
        time.sleep(0.001)
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    assert batch.stdout.readline() == "result\n"
    batch.send_signal(signal.SIGINT)
    assert batch.communicate(timeout=10)[1] == ""


def test_a_worker_without_work_ends_soon_after_a_parent_that_was_killed(tmp_path):
    code = """
        import time
        from collections import deque
        from serctl.backends import loky as parallel

        if __name__ == "__main__":
            list(parallel._Pool(time.sleep, 2).map(deque([(0, 60)]), largest_chunk=1))
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    with subprocess.Popen([sys.executable, str(script)]) as parent:
        while len(workers := _workers(psutil.Process(parent.pid))) < 2:
            time.sleep(0.01)
        parent.kill()
    try:
        assert psutil.wait_procs(workers, timeout=30)[1] == []
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


def test_a_small_batch_does_not_load_joblib():
    code = (
        "import sys; from serctl.backends.loky import map_unordered; list(map_unordered(abs, [1, 2])); "
        "sys.exit('joblib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or cpu_count() < 2, reason="needs two cores to leave one out")
def test_cpu_count_respects_affinity():
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{one}]); from serctl.backends.loky import cpu_count; print(cpu_count())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "1\n"


def test_joblib_still_has_the_private_names_that_are_used():
    """They come with no promise: when this fails, mend serctl.backends.loky before raising the pin of joblib."""
    import joblib
    from joblib.externals.loky.backend.queues import Queue
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pinned = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert issubclass(TerminatedWorkerError, Exception)
    assert "QueueFeederThread" in inspect.getsource(Queue)
    assert "A worker stopped while some jobs were given" in inspect.getsource(joblib.externals.loky.process_executor)
    assert re.search(r'"joblib>=[0-9.]+,<[0-9.]+"', pinned)


@pytest.mark.skipif(cpu_count() < 2, reason="one core has one thread anyway")
def test_linear_algebra_takes_one_thread_in_this_process_too_and_all_again_afterwards() -> None:
    (before,) = {*_linear_algebra_threads(0)}
    results = [result for _, result in map_unordered(_linear_algebra_threads, [0, 1], jobs=1)]
    assert before > 1
    assert results
    assert all(threads == 1 for result in results for threads in result)
    assert {*_linear_algebra_threads(0)} == {before}
