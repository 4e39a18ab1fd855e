"""Run a bundle's network with LiteRT or ONNX Runtime: features in, calibrated probabilities out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from serctl.encoders.speech import UNITS as STATE_UNITS
from serctl.errors import BundleError
from serctl.features import functional_names, language_input, token_inputs
from serctl.features.words import MOST_TOKENS, UNITS
from serctl.metrics import temperature_scale
from serctl.runtime.litert import LiteRTNetwork
from serctl.runtime.onnx import OnnxNetwork, needs_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.features import Features, Normaliser


SMALLEST_PROBABILITY = 1e-7
"""The lower limit of probabilities before their logarithm is taken."""

ENOUGH_SPEECH_S = 1.0
"""Answers to less speech than this are less often right than their network says (docs/guides/predict.md)."""

ATTENTION_OUTPUT = "attention"
"""Name of the output, where a network has one, that holds the weight of each moment."""

INPUTS = frozenset({"log_mel", "mask", "functionals", "language", "tokens", "token_mask", "states", "state_mask"})


def merge_probabilities(probabilities: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the mean of the probabilities of windows, weighted by the amount of speech in each.

    Args:
        probabilities: float64, shape (windows, labels).
        weights: float64, shape (windows,); 0 for a silent window.

    Returns:
        float64, shape (labels,); NaN without speech in any window.
    """
    spoken = weights > 0  # the probabilities of a silent window may be NaN
    if not spoken.any():
        return np.full(probabilities.shape[1], np.nan)
    return np.average(probabilities[spoken], axis=0, weights=weights[spoken])


class Network(Protocol):
    """A loaded network.

    Attributes:
        inputs: shape of each input, by its name.
        outputs: shape of each output, by its name.
    """

    inputs: Mapping[str, tuple[Any, ...]]
    outputs: Mapping[str, tuple[Any, ...]]

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute the probabilities of one window.

        Args:
            inputs: the arrays that `inputs` names, each a batch of one.

        Returns:
            float32, shape (1, labels).
        """
        ...

    def run_all(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        """Compute every output for one window, by its name; inputs as for run."""
        ...


def check_runtime(path: Path) -> None:
    """Check that the package which runs a network is installed; nothing is loaded, so it takes no time.

    Args:
        path: the network.

    Raises:
        MissingExtraError: ONNX Runtime is needed and not installed.
    """
    if path.suffix == ".onnx" and find_spec("onnxruntime") is None:
        raise needs_onnxruntime(path, "No module named 'onnxruntime'")


def load_network(path: Path) -> Network:
    """Load a network, to run on one thread.

    Args:
        path: the network; the suffix .onnx means ONNX, any other LiteRT.

    Returns:
        The network.

    Raises:
        BundleError: it cannot be loaded, or its inputs are not those of a feature set.
        MissingExtraError: ONNX Runtime is needed and not installed.
    """
    network: Network = OnnxNetwork(path) if path.suffix == ".onnx" else LiteRTNetwork(path)
    if set(network.inputs) - INPUTS or "probabilities" not in network.outputs:
        raise BundleError(
            f"{path}: expected inputs among {', '.join(sorted(INPUTS))} and the output probabilities, "
            f"received {', '.join(sorted(network.inputs))} and {', '.join(sorted(network.outputs))}"
        )
    return network


def check_shapes(network: Network, bundle: Bundle) -> None:
    """Check that a network takes and gives what its bundle.json says.

    Raises:
        BundleError: a shape is another one.
    """
    facts = bundle.facts
    expected = {
        "log_mel": (1, facts.n_frames, facts.features.n_mels),
        "mask": (1, facts.n_frames),
        "functionals": (1, len(functional_names(facts.features))),
        "language": (1, len(facts.languages)),
        "tokens": (1, MOST_TOKENS, UNITS),
        "token_mask": (1, MOST_TOKENS),
        "states": (1, facts.features.n_states, STATE_UNITS),
        "state_mask": (1, facts.features.n_states),
        "probabilities": (1, facts.n_outputs),
    }
    for name, shape in {**network.inputs, "probabilities": network.outputs["probabilities"]}.items():
        if shape != expected[name]:
            raise BundleError(
                f"{bundle.model_path}: {name}: expected the shape {expected[name]} of bundle.json. Received: {shape}"
            )


def network_inputs(
    bundle: Bundle,
    windows: Sequence[Features],
    languages: Sequence[str | None],
    *,
    normaliser: Normaliser | None = None,
    spectrogram: bool = True,
) -> dict[str, NDArray[np.float32]]:
    """Make every input that the networks of a bundle may need.

    Args:
        bundle: the bundle.
        windows: features of the windows, at least one.
        languages: the language code of each window, or None.
        normaliser: instead of the bundle's own.
        spectrogram: False leaves out log_mel and mask.

    Returns:
        The inputs by name, float32, one row for each window.
    """
    facts = bundle.facts
    inputs = (normaliser or bundle.normaliser).model_inputs(
        windows, n_frames=facts.n_frames, n_states=facts.features.n_states, spectrogram=spectrogram
    )
    inputs["language"] = language_input(languages, facts.languages)
    if facts.features.text_encoder:
        inputs |= token_inputs(windows)
    return inputs


def calibrated(
    raw: NDArray[np.float32], temperature: float, windows: Sequence[Features] = (), *, hop_s: float = 0.0
) -> NDArray[np.float64]:
    """Calibrate the probabilities of a network.

    Args:
        raw: output of the network, float32, shape (windows, labels).
        temperature: divides the log-probabilities.
        windows: as for log_probabilities.
        hop_s: as for log_probabilities.

    Returns:
        float64, shape (windows, labels).
    """
    return temperature_scale(log_probabilities(raw, windows, hop_s=hop_s), temperature)


def log_probabilities(
    raw: NDArray[np.float32], windows: Sequence[Features] = (), *, hop_s: float = 0.0
) -> NDArray[np.float64]:
    """Compute the logarithms of probabilities, softened where a window has little speech.

    Where a window has half of ENOUGH_SPEECH_S, they are divided by 2, and so on. The label stays the same.

    Args:
        raw: output of a network, float32, shape (windows, labels).
        windows: what each row is the answer to; empty: nothing is softened.
        hop_s: seconds of a frame of the windows.

    Returns:
        float64, shape (windows, labels); probabilities after a softmax.
    """
    logs = np.log(np.maximum(raw, SMALLEST_PROBABILITY)).astype(np.float64)
    if not len(windows):
        return logs
    seconds = hop_s * np.maximum([len(window.log_mel) for window in windows], 1)
    return logs / np.maximum(ENOUGH_SPEECH_S / seconds, 1.0)[:, None]


class Recogniser:
    """A loaded network with the normaliser before it and the calibration after it; runs on one thread.

    Args:
        bundle: the bundle.
        normaliser: instead of the bundle's own, where it is adapted to recordings; the temperature is then the one for
            adapted answers.

    Raises:
        BundleError: the network cannot be loaded.
        MissingExtraError: ONNX Runtime is needed and not installed.
    """

    def __init__(self, bundle: Bundle, normaliser: Normaliser | None = None) -> None:
        self.bundle = bundle
        self._normaliser = normaliser or bundle.normaliser
        adapted = self._normaliser is not bundle.normaliser
        self._temperature = (adapted and bundle.facts.adapted_temperature) or bundle.facts.temperature
        self._network = load_network(bundle.model_path)
        check_shapes(self._network, bundle)

    @property
    def inputs(self) -> frozenset[str]:
        """Names of what the network takes; see INPUTS."""
        return frozenset(self._network.inputs)

    def probabilities(
        self, windows: Sequence[Features], languages: Sequence[str | None] | None = None
    ) -> NDArray[np.float64]:
        """Compute the calibrated probabilities of windows.

        Args:
            windows: features of the windows, at least one.
            languages: the language code of each window, None where it is not known; most networks ignore it.

        Returns:
            float64, shape (windows, labels), in the order of the labels of the bundle.
        """
        rows = self._inputs_of(windows, languages or [None] * len(windows))
        # One window at a time: the network has a fixed batch of one, which is planned once.
        raw = np.concatenate([self._network.run(row) for row in rows])
        facts = self.bundle.facts
        return calibrated(raw, self._temperature, () if facts.target else windows, hop_s=facts.features.hop_s)

    def attention(self, window: Features, language: str | None = None) -> NDArray[np.float32] | None:
        """Compute how much each moment of a window counts when the network averages over time.

        Returns:
            float32, shape (steps,): weights that sum to 1, for equal steps over the longest window that the network
            takes, 0 beyond the end of this one; None for a network that keeps no weights.
        """
        if ATTENTION_OUTPUT not in self._network.outputs:
            return None
        (row,) = self._inputs_of([window], [language])
        return self._network.run_all(row)[ATTENTION_OUTPUT][0]

    def _inputs_of(
        self, windows: Sequence[Features], languages: Sequence[str | None]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """What the network takes, for each window."""
        spectrogram = "log_mel" in self._network.inputs
        inputs = network_inputs(self.bundle, windows, languages, normaliser=self._normaliser, spectrogram=spectrogram)
        return [{name: inputs[name][row : row + 1] for name in self._network.inputs} for row in range(len(windows))]

    def novelty(self, windows: Sequence[Features]) -> NDArray[np.float64]:
        """Compute how unlike the training recordings windows are; see Novelty.of.

        Raises:
            BundleError: the bundle cannot tell.
        """
        return self.bundle.novelty.of(windows, self.bundle.normaliser)
