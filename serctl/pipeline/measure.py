"""Run a network in a process of its own: what it answers, how fast it is, how much memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import BundleError
from serctl.runtime import INPUTS, load_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from serctl.runtime import Network

    Inputs = Mapping[str, NDArray[np.float32]]

FEWEST_RUNS = 100
"""Runs that the time is the median of: windows are judged again and again until there are as many."""


@dataclass(frozen=True)
class Measured:
    """What a network answered and took.

    raw: uncalibrated probabilities, float32, shape (windows, labels). window_ms: median time of one window, in
    milliseconds. peak_memory_mb, idle_memory_mb: of the process at most, and before it loaded the network; in 10^6
    bytes, None where the system does not tell.
    """

    raw: NDArray[np.float32]
    window_ms: float
    peak_memory_mb: float | None
    idle_memory_mb: float | None


def measure(path: Path, inputs: Inputs) -> Measured:
    """Run the network in a file on every window, at least one, in a new process on one thread.

    inputs: all that a network may ask for, by name, one window per row, as runtime.network_inputs gives them.
    Raises BundleError if the process fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder / "inputs", inputs)
        command = [sys.executable, "-m", __name__, str(path), str(folder / "inputs"), str(folder / "answers.npy")]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            raise BundleError(f"{path}: the network cannot be run: {said[-1]}")
        return Measured(raw=np.load(folder / "answers.npy", allow_pickle=False), **json.loads(ended.stdout))


def main() -> None:
    """The measuring process; arguments: the network, its inputs, the file for its answers. Prints the rest as JSON."""
    path, inputs, answers = map(Path, sys.argv[1:])
    idle_memory_mb = _peak_memory_mb()
    network = load_network(path)
    raw, times = _run_all(network, inputs)
    facts = {
        "window_ms": 1000 * float(np.median(times)),
        "peak_memory_mb": _peak_memory_mb(),
        "idle_memory_mb": idle_memory_mb,
    }
    np.save(answers, raw, allow_pickle=False)
    sys.stdout.write(json.dumps(facts))


def _run_all(network: Network, inputs: Path) -> tuple[NDArray[np.float32], list[float]]:
    """The probabilities of every window, and the seconds that each run took."""
    raw: list[NDArray[np.float32]] = []
    times: list[float] = []
    while len(times) < FEWEST_RUNS:
        raw.clear()
        for window in _read_inputs(inputs):
            asked_for = {name: window[name] for name in network.inputs}
            start = time.perf_counter()
            raw.append(network.run(asked_for))
            times.append(time.perf_counter() - start)
    return np.concatenate(raw), times


def _write_inputs(path: Path, inputs: Inputs) -> None:
    """One window after the other, so that reading them takes next to no memory: it would count as the network's."""
    with path.open("wb") as file:
        for row in range(len(inputs["functionals"])):
            for name in sorted(INPUTS):
                np.save(file, inputs[name][row : row + 1], allow_pickle=False)


def _read_inputs(path: Path) -> Iterator[Inputs]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            yield {name: np.load(file, allow_pickle=False) for name in sorted(INPUTS)}


def _peak_memory_mb() -> float | None:
    """Of this process so far, resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux a new process inherits that of the one it was forked from.
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kib) * 1024 / 1e6
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
