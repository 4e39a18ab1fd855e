"""Run a network with ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class OnnxNetwork:
    """A network that ONNX Runtime runs.

    Raises:
        BundleError: it cannot be loaded.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as errors
        except ImportError as error:
            raise needs_onnxruntime(path, str(error)) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        unreadable = (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.InvalidArgument)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except (*unreadable, errors.NoSuchFile, errors.NotImplemented) as error:
            raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self.inputs: Mapping[str, tuple[Any, ...]] = {
            each.name: tuple(each.shape) for each in self._session.get_inputs()
        }
        self.outputs: Mapping[str, tuple[Any, ...]] = {
            each.name: tuple(each.shape) for each in self._session.get_outputs()
        }

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """See Network.run."""
        probabilities: NDArray[np.float32]
        (probabilities,) = self._session.run(["probabilities"], dict(inputs))
        return probabilities

    def run_all(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        """See Network.run_all."""
        names = list(self.outputs)
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def needs_onnxruntime(path: Path, cause: str) -> MissingExtraError:
    """Return the error for a network whose package is not installed."""
    return MissingExtraError(f"{path} needs ONNX Runtime ({cause}): pip install 'serctl[onnx]'", extra="onnx")
