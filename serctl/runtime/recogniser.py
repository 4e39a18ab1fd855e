"""Run a bundle's network with LiteRT or ONNX Runtime: features in, calibrated probabilities out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np

from serctl.errors import BundleError
from serctl.features import language_input
from serctl.metrics import temperature_scale
from serctl.runtime.litert import LiteRTNetwork
from serctl.runtime.onnx import OnnxNetwork, needs_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.features import Features


SMALLEST_PROBABILITY = 1e-7
"""What a network's probabilities are raised to at least, before their logarithm is taken."""

INPUTS = frozenset({"log_mel", "mask", "functionals", "language"})


def merge_probabilities(probabilities: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the windows' probabilities, weighted by how much speech is in each; NaN when there is none in any.

    probabilities: float64, shape (windows, labels); weights: float64, shape (windows,). Returns shape (labels,).
    """
    spoken = weights > 0  # what was merged before may be NaN where it is silent
    if not spoken.any():
        return np.full(probabilities.shape[1], np.nan)
    return np.average(probabilities[spoken], axis=0, weights=weights[spoken])


class Network(Protocol):
    """A loaded network; inputs, outputs: their names."""

    inputs: frozenset[str]
    outputs: frozenset[str]

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The probabilities of one window, shape (1, labels); inputs: those of the network, each a batch of one."""
        ...


def check_runtime(path: Path) -> None:
    """Raise ConfigError if ONNX Runtime is needed and not installed; loads nothing, so that it costs no time."""
    if path.suffix == ".onnx" and find_spec("onnxruntime") is None:
        raise needs_onnxruntime(path, "No module named 'onnxruntime'")


def load_network(path: Path) -> Network:
    """The network in a file, on one thread; the suffix .onnx means ONNX, anything else LiteRT.

    Raises BundleError if it cannot be loaded or its inputs are not those of a feature set, ConfigError if ONNX Runtime
    is needed and not installed.
    """
    network: Network = OnnxNetwork(path) if path.suffix == ".onnx" else LiteRTNetwork(path)
    if network.inputs - INPUTS or "probabilities" not in network.outputs:
        raise BundleError(
            f"{path}: expected inputs among {', '.join(sorted(INPUTS))} and the output probabilities, "
            f"came {', '.join(sorted(network.inputs))} and {', '.join(sorted(network.outputs))}"
        )
    return network


def network_inputs(
    bundle: Bundle, windows: Sequence[Features], languages: Sequence[str | None]
) -> dict[str, NDArray[np.float32]]:
    """What the networks of a bundle may ask for, by name, one window per row; languages: the code of each, or None."""
    inputs = bundle.normaliser.model_inputs(windows, n_frames=bundle.facts.n_frames)
    inputs["language"] = language_input(languages, bundle.facts.languages)
    return inputs


def calibrated(raw: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities as a network gives them, softened by the temperature; shape (windows, labels) in and out."""
    return temperature_scale(np.log(np.maximum(raw, SMALLEST_PROBABILITY)), temperature)


class Recogniser:
    """A loaded network with what stands before and behind it; one per process, on one thread.

    Raises what load_network raises.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._network = load_network(bundle.model_path)

    def probabilities(
        self, windows: Sequence[Features], languages: Sequence[str | None] | None = None
    ) -> NDArray[np.float64]:
        """Calibrated probabilities of the bundle's labels; float64, shape (windows, labels).

        languages: the code of each window's language, where it is known; a network that tells none apart ignores them.
        """
        inputs = network_inputs(self.bundle, windows, languages or [None] * len(windows))
        rows = [{name: inputs[name][row : row + 1] for name in self._network.inputs} for row in range(len(windows))]
        # One window at a time: the network has a fixed batch of one, which is planned once.
        raw = np.concatenate([self._network.run(row) for row in rows])
        return calibrated(raw, self.bundle.facts.temperature)
