"""Run a network with LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import BundleError
from serctl.quiet import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class LiteRTNetwork:
    """A network that LiteRT runs.

    Raises:
        BundleError: it cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self._run = load_litert(path)
        self.inputs = _shapes(self._run.get_input_details())
        self.outputs = _shapes(self._run.get_output_details())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """See Network.run."""
        return self.run_all(inputs)["probabilities"]

    def run_all(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        """See Network.run_all."""
        outputs: Mapping[str, NDArray[np.float32]] = self._run(**inputs)
        return outputs


def _shapes(details: Mapping[str, Any]) -> Mapping[str, tuple[Any, ...]]:
    return {name: tuple(int(size) for size in each["shape"]) for name, each in details.items()}


def load_litert(path: Path) -> Any:
    """Load a LiteRT model, to run on one thread.

    Args:
        path: the model.

    Returns:
        Its signature: a function from named inputs to named outputs.

    Raises:
        BundleError: LiteRT cannot load it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{path}: LiteRT cannot load it: {error}") from error
