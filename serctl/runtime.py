"""Run a bundle's network with LiteRT or ONNX Runtime: features in, calibrated probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from serctl.errors import BundleError, ConfigError
from serctl.features import language_input
from serctl.metrics import temperature_scale
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle import Bundle
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


class _LiteRTNetwork:
    def __init__(self, path: Path) -> None:
        self._run = load_litert(path)
        self.inputs = frozenset(self._run.get_input_details())
        self.outputs = frozenset(self._run.get_output_details())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._run(**inputs)["probabilities"]
        return probabilities


class _OnnxNetwork:
    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as errors
        except ImportError as error:
            raise _needs_onnxruntime(path, str(error)) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        unreadable = (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.InvalidArgument)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except (*unreadable, errors.NoSuchFile, errors.NotImplemented) as error:
            raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self.inputs = frozenset(each.name for each in self._session.get_inputs())
        self.outputs = frozenset(each.name for each in self._session.get_outputs())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32]
        (probabilities,) = self._session.run(["probabilities"], dict(inputs))
        return probabilities


def check_runtime(path: Path) -> None:
    """Raise ConfigError if ONNX Runtime is needed and not installed; loads nothing, so that it costs no time."""
    if path.suffix == ".onnx" and find_spec("onnxruntime") is None:
        raise _needs_onnxruntime(path, "No module named 'onnxruntime'")


def _needs_onnxruntime(path: Path, cause: str) -> ConfigError:
    return ConfigError(f"{path} needs ONNX Runtime ({cause}): pip install 'serctl[onnx]'")


def load_network(path: Path) -> Network:
    """The network in a file, on one thread; the suffix .onnx means ONNX, anything else LiteRT.

    Raises BundleError if it cannot be loaded or its inputs are not those of a feature set, ConfigError if ONNX Runtime
    is needed and not installed.
    """
    network: Network = _OnnxNetwork(path) if path.suffix == ".onnx" else _LiteRTNetwork(path)
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


@dataclass(frozen=True)
class StepState:
    """What a causal network remembers: hidden and cell, float32, shape (1, units)."""

    hidden: NDArray[np.float32]
    cell: NDArray[np.float32]


class StepRecogniser:
    """One step of a causal network, its state given and returned; it may serve many streams, one after the other.

    context: latest frames that a step looks at; frames: from one step to the next.
    Raises BundleError if the bundle has no such network or LiteRT cannot load it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._run = load_litert(bundle.step_path)
        inputs = self._run.get_input_details()
        if set(inputs) != {"frames", "hidden", "cell"}:
            raise BundleError(
                f"{bundle.step_path}: expected the inputs frames, hidden and cell, came {', '.join(inputs)}"
            )
        self.context = int(inputs["frames"]["shape"][1])
        self.frames = self.context // 2
        self._units = int(inputs["hidden"]["shape"][1])

    def start(self) -> StepState:
        """The state before the first step."""
        zeros = np.zeros((1, self._units), np.float32)
        return StepState(zeros, zeros)

    def step(self, frames: NDArray[np.float32], state: StepState) -> tuple[NDArray[np.float64], StepState]:
        """Calibrated probabilities, float64, shape (labels,), after these normalised frames, (context, n_mels)."""
        outputs = self._run(frames=frames[None], hidden=state.hidden, cell=state.cell)
        probabilities = calibrated(outputs["probabilities"], self.bundle.facts.temperature)
        return probabilities[0], StepState(outputs["next_hidden"], outputs["next_cell"])


def load_litert(path: Path) -> Any:
    """The signature of a LiteRT model, on one thread. Raises BundleError if LiteRT cannot load it."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: LiteRT cannot load it: {error}") from error
