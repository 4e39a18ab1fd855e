"""Run one step of a causal network with its state, for streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import BundleError
from serctl.runtime.litert import load_litert
from serctl.runtime.recogniser import calibrated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle


@dataclass(frozen=True)
class StepState:
    """The state of a causal network: hidden and cell, float32, shape (1, units)."""

    hidden: NDArray[np.float32]
    cell: NDArray[np.float32]


class StepRecogniser:
    """One step of a causal network. The state is an argument and a result, so one network serves many streams.

    Attributes:
        bundle: the bundle of the network.
        context: number of latest frames that a step uses.
        frames: number of frames from one step to the next.

    Raises:
        BundleError: the bundle has no such network, or LiteRT cannot load it.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._run = load_litert(bundle.step_path)
        inputs = self._run.get_input_details()
        if set(inputs) != {"frames", "hidden", "cell"}:
            raise BundleError(
                f"{bundle.step_path}: expected the inputs frames, hidden and cell. Received: {', '.join(inputs)}"
            )
        shape = tuple(map(int, inputs["frames"]["shape"]))
        if len(shape) != 3 or shape[2] != bundle.facts.features.n_mels:
            raise BundleError(
                f"{bundle.step_path}: frames: expected so many mel bands as in bundle.json. Received: {shape}"
            )
        self.context = shape[1]
        self.frames = self.context // 2
        self._units = int(inputs["hidden"]["shape"][1])

    def start(self) -> StepState:
        """Return the state before the first step."""
        zeros = np.zeros((1, self._units), np.float32)
        return StepState(zeros, zeros)

    def step(self, frames: NDArray[np.float32], state: StepState) -> tuple[NDArray[np.float64], StepState]:
        """Run one step.

        Args:
            frames: the latest normalised frames, float32, shape (context, n_mels).
            state: the state after the step before.

        Returns:
            Calibrated probabilities, float64, shape (labels,), and the new state.
        """
        outputs = self._run(frames=frames[None], hidden=state.hidden, cell=state.cell)
        probabilities = calibrated(outputs["probabilities"], self.bundle.facts.temperature)
        return probabilities[0], StepState(outputs["next_hidden"], outputs["next_cell"])
