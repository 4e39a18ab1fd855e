"""Run a network in its own process to measure its outputs, speed and memory.

Either the network alone, on features, or from samples, with the front end in Python or the exported one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.bundle.store import load_bundle
from serctl.errors import BundleError
from serctl.features import compute_features
from serctl.runtime.litert import load_litert
from serctl.runtime.recogniser import calibrated, load_network, network_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[Any]]
    Run = Callable[[Inputs], NDArray[np.floating]]

FEWEST_RUNS = 100
"""Least number of runs for the median time: windows are repeated until it is reached."""

_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB")}
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # imports nothing from the current folder


@dataclass(frozen=True)
class Measured:
    """Outputs, time and memory of a network.

    Attributes:
        probabilities: float, shape (windows, labels); not calibrated if only the network was run.
        window_ms: median time of one window, in milliseconds.
        peak_memory_mb: peak memory of the process, in 10^6 bytes; None where the system does not report it.
        idle_memory_mb: the same before the network was loaded.
    """

    probabilities: NDArray[np.floating]
    window_ms: float
    peak_memory_mb: float | None
    idle_memory_mb: float | None


def measure_network(path: Path, inputs: Inputs) -> Measured:
    """Run the network in a file on every window, at least one, in a new process on one thread.

    Args:
        path: the network.
        inputs: every possible input by name, one window per row, as runtime.network_inputs returns them.

    Raises:
        BundleError: the process fails.
    """
    rows = range(len(inputs["functionals"]))
    return _measure(["network", path], ({name: inputs[name][row : row + 1] for name in inputs} for row in rows))


def measure_end_to_end(path: Path, windows: Sequence[NDArray[np.float32]], *, longest: int) -> Measured:
    """Run an end-to-end model on windows of samples, each float32, shape (n,), n <= longest; see measure_network."""
    return _measure(["end-to-end", path], _padded(windows, longest))


def measure_python(path: Path, bundle: Path, windows: Sequence[NDArray[np.float32]], *, longest: int) -> Measured:
    """Run the front end in Python and the network in a file on the same windows; see measure_network.

    bundle: the folder of the bundle that defines extraction, normalisation and calibration.
    """
    return _measure(["python", path, bundle], _padded(windows, longest))


def _padded(windows: Sequence[NDArray[np.float32]], longest: int) -> Iterator[Inputs]:
    for window in windows:
        samples = np.zeros((1, longest), np.float32)
        samples[0, : len(window)] = window
        yield {"samples": samples, "n_samples": np.array([len(window)], np.int32)}


def _measure(what: Sequence[str | Path], windows: Iterator[Inputs]) -> Measured:
    """Run `main` in a process and return its measurements; what: a key of _LOADERS and the arguments of its value."""
    with tempfile.TemporaryDirectory() as name:
        inputs, answers = Path(name) / "inputs", Path(name) / "answers.npy"
        _write_inputs(inputs, windows)
        command = [sys.executable, "-m", __name__, *map(str, (FEWEST_RUNS, inputs, answers, *what))]
        environment = {**os.environ, **_ONE_THREAD, **_SAFE_PATH}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            raise BundleError(f"{what[1]}: the network cannot be run: {said[-1]}")
        return Measured(probabilities=np.load(answers, allow_pickle=False), **json.loads(ended.stdout))


def main() -> None:
    """Run the measuring process, and print the measurements as JSON.

    Its arguments: least number of runs, input file, output file, what to run.
    """
    fewest_runs = int(sys.argv[1])
    inputs, answers = map(Path, sys.argv[2:4])
    kind, *paths = sys.argv[4:]
    idle_memory_mb = _peak_memory_mb()
    run = _LOADERS[kind](*map(Path, paths))
    probabilities, times = _run_all(run, inputs, fewest_runs)
    facts = {
        "window_ms": 1000 * float(np.median(times)),
        "peak_memory_mb": _peak_memory_mb(),
        "idle_memory_mb": idle_memory_mb,
    }
    np.save(answers, probabilities, allow_pickle=False)
    sys.stdout.write(json.dumps(facts))


def _load_network(path: Path) -> Run:
    network = load_network(path)
    return lambda window: network.run({name: window[name] for name in network.inputs})


def _load_end_to_end(path: Path) -> Run:
    model = load_litert(path)
    return lambda window: model(**window)["probabilities"]


def _load_python(path: Path, folder: Path) -> Run:
    bundle, run = load_bundle(folder), _load_network(path)

    def run_with_front_end(window: Inputs) -> NDArray[np.floating]:
        samples = window["samples"][0, : window["n_samples"][0]]
        features = compute_features(samples, bundle.facts.features)
        raw = run(network_inputs(bundle, [features], [None]))
        return calibrated(raw, bundle.facts.temperature, [features], hop_s=bundle.facts.features.hop_s)

    return run_with_front_end


_LOADERS: dict[str, Callable[..., Run]] = {
    "network": _load_network,
    "end-to-end": _load_end_to_end,
    "python": _load_python,
}


def _run_all(run: Run, inputs: Path, fewest_runs: int) -> tuple[NDArray[np.floating], list[float]]:
    """Return the probabilities of every window and the seconds of each run."""
    probabilities: list[NDArray[np.floating]] = []
    times: list[float] = []
    while len(times) < fewest_runs:
        probabilities.clear()
        for window in _read_inputs(inputs):
            start = time.perf_counter()
            probabilities.append(run(window))
            times.append(time.perf_counter() - start)
    return np.concatenate(probabilities), times


def _write_inputs(path: Path, windows: Iterator[Inputs]) -> None:
    """Yield one window at a time: memory for more would be counted as the network's."""
    with path.open("wb") as file:
        for window in windows:
            np.save(file, np.array(sorted(window)), allow_pickle=False)
            for name in sorted(window):
                np.save(file, window[name], allow_pickle=False)


def _read_inputs(path: Path) -> Iterator[Inputs]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            names = np.load(file, allow_pickle=False)
            yield {str(name): np.load(file, allow_pickle=False) for name in names}


def _peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux a new process inherits it from its parent.
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kib) * 1024 / 1e6
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
