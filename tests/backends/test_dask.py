"""The Dask back end: what the one of processes promises holds for a cluster, too.

Functions are defined inside the tests: the workers cannot import this module, and are sent them by value.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

pytest.importorskip("distributed")
pytest.importorskip("cryptography")

from serctl.backends import dask
from serctl.backends.cluster import LOCAL
from serctl.errors import AudioError, ConfigError, Failure, MissingBundleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.filterwarnings("ignore")  # those of dask.distributed are not ours


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers, as somebody else may have started it."""
    import dask as library
    from distributed import LocalCluster

    with (
        library.config.set(LOCAL),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None, silence_logs=60
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def run(scheduler: str) -> Callable[..., dict[int, Any]]:
    return lambda function, items: dict(dask.map_unordered(function, items, scheduler=scheduler))


def test_a_failing_item_becomes_a_failure_and_the_others_are_unharmed(run: Callable[..., dict[int, Any]]) -> None:
    def square_with_troubles(number: int) -> int:
        if number == 3:
            raise AudioError("three is no recording")
        if number == 5:
            raise ValueError("five is odd")
        return number * number

    results = run(square_with_troubles, range(300))
    assert results.pop(3) == Failure("AudioError", "three is no recording")
    assert results.pop(5) == Failure("ValueError", "unexpected ValueError: five is odd")
    assert results == {n: n * n for n in range(300) if n not in (3, 5)}


def test_only_the_item_that_kills_its_worker_fails(run: Callable[..., dict[int, Any]]) -> None:
    def die_at_307(number: int) -> int:
        if number == 307:  # in a chunk of about fifty, so in one of two when it is done again
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    results = run(die_at_307, range(600))
    assert results.pop(307).kind == "WorkerDied"
    assert results == {n: n for n in range(600) if n != 307}


def test_workers_start_from_the_folder_of_the_run_and_use_one_numeric_thread(
    run: Callable[..., dict[int, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(_: int) -> tuple[int, str, str | None, bool]:
        return os.getpid(), str(Path.cwd()), os.environ.get("OMP_NUM_THREADS"), "" in sys.path

    monkeypatch.chdir(tmp_path)
    found = run(describe, range(8))
    assert os.getpid() not in {pid for pid, *_ in found.values()}
    assert {tuple(others) for _, *others in found.values()} == {(str(tmp_path.resolve()), "1", False)}


def test_a_worker_without_the_model_is_sent_it(run: Callable[..., dict[int, Any]], tmp_path: Path) -> None:
    def read(_: int) -> str:
        from serctl.replicas import held_folder

        held = held_folder("0f3a")
        if held is None:
            raise MissingBundleError(folder, "0f3a")
        return (held / "bundle.json").read_text()

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "bundle.json").write_text("facts")
    assert run(read, range(20)) == dict.fromkeys(range(20), "facts")


def test_a_worker_of_another_version_ends_the_run(
    run: Callable[..., dict[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serctl import __version__

    monkeypatch.setattr(dask, "__version__", "0.0.1")
    with pytest.raises(ConfigError, match=f"serctl 0.0.1, as here. Received: one with serctl {__version__}"):
        run(abs, range(4))


def test_predictions_are_the_same_bytes_as_on_one_machine(
    serctl: Any, scheduler: str, samples: Path, tmp_path: Path
) -> None:
    common = ("predict", samples / "emma-sad.flac", samples / "tom-sad.flac", "nowhere.wav", "-q")
    here = serctl(*common, "-o", tmp_path / "here.csv", "--jobs", 1)
    there = serctl(*common, "-o", tmp_path / "there.csv", "--backend", "dask", "--scheduler", scheduler)
    assert (here.code, there.code) == (3, 3)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert there.stderr == here.stderr


def test_a_cluster_of_its_own_imports_nothing_from_the_current_folder_and_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(_: int) -> tuple[bool, list[str]]:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), sys.path

    for name in ("random", "numpy", "yaml", "msgpack", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("import os\nos.open('imported', os.O_CREAT)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = set(psutil.Process().children())
    main = dict(vars(sys.modules["__main__"]))
    results = dask.map_unordered(describe, range(500), jobs=1)
    _, described = next(results)
    assert not isinstance(described, Failure)
    ctrl_c_blocked, places = described
    workers = {each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())} - before
    results.close()
    assert ctrl_c_blocked
    assert not {"", str(tmp_path)} & set(places)
    assert not (tmp_path / "imported").exists()
    assert len(workers) == 1
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    assert "PYTHONSAFEPATH" not in os.environ
    assert vars(sys.modules["__main__"]) == main


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "_CONNECT_WITHIN_S", 0.2)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(dask.map_unordered(abs, [1], scheduler="tcp://127.0.0.1:9"))


@pytest.mark.parametrize("jobs", [0, -2])
def test_an_impossible_number_of_jobs_is_refused(jobs: int) -> None:
    with pytest.raises(ConfigError, match=f"Received: {jobs}"):
        dask.map_unordered(abs, [1], jobs=jobs)
