"""Run a bundle's network with LiteRT: features in, calibrated probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.errors import BundleError
from serctl.features import language_input
from serctl.metrics import temperature_scale
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle import Bundle
    from serctl.features import Features

_SMALLEST_PROBABILITY = 1e-7


INPUTS = frozenset({"log_mel", "mask", "functionals", "language"})


def merge_probabilities(probabilities: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the windows' probabilities, weighted by how much speech is in each; NaN when there is none in any.

    probabilities: float64, shape (windows, labels); weights: float64, shape (windows,). Returns shape (labels,).
    """
    spoken = weights > 0  # what was merged before may be NaN where it is silent
    if not spoken.any():
        return np.full(probabilities.shape[1], np.nan)
    return np.average(probabilities[spoken], axis=0, weights=weights[spoken])


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
        self._run = _load(bundle.step_path)
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
        logits = np.log(np.maximum(outputs["probabilities"], _SMALLEST_PROBABILITY))
        calibrated = temperature_scale(logits, self.bundle.facts.temperature)[0]
        return calibrated, StepState(outputs["next_hidden"], outputs["next_cell"])


class Recogniser:
    """A loaded network; one per process, on one thread.

    Raises BundleError if LiteRT cannot load the model or its inputs are not those of a feature set.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._run = _load(bundle.model_path)
        self._inputs: set[str] = set(self._run.get_input_details())
        unknown = self._inputs - INPUTS
        if unknown or "probabilities" not in self._run.get_output_details():
            raise BundleError(
                f"{bundle.model_path}: expected inputs among {', '.join(sorted(INPUTS))} and the output probabilities, "
                f"came {', '.join(sorted(self._inputs))} and {', '.join(self._run.get_output_details())}"
            )

    def probabilities(
        self, windows: Sequence[Features], languages: Sequence[str | None] | None = None
    ) -> NDArray[np.float64]:
        """Calibrated probabilities of the bundle's labels; float64, shape (windows, labels).

        languages: the code of each window's language, where it is known; a network that tells none apart ignores them.
        """
        facts = self.bundle.facts
        inputs = self.bundle.normaliser.model_inputs(windows, n_frames=facts.n_frames)
        inputs["language"] = language_input(languages or [None] * len(windows), facts.languages)
        raw = np.concatenate([self._infer(inputs, row) for row in range(len(windows))])
        return temperature_scale(np.log(np.maximum(raw, _SMALLEST_PROBABILITY)), facts.temperature)

    def _infer(self, inputs: dict[str, NDArray[np.float32]], row: int) -> NDArray[np.float32]:
        # One window at a time: the network has a fixed batch of one, which LiteRT plans once.
        outputs = self._run(**{name: inputs[name][row : row + 1] for name in self._inputs})
        probabilities: NDArray[np.float32] = outputs["probabilities"]
        return probabilities


def _load(path: Path) -> Any:
    """The signature of a LiteRT model, on one thread. Raises BundleError if LiteRT cannot load it."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: LiteRT cannot load it: {error}") from error
