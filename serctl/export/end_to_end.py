"""A model from samples to probabilities, for devices without Python, verified against Python."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.audio.segments import SegmentReader
from serctl.bundle.facts import END_TO_END, MODEL, EndToEndFacts, Parity
from serctl.errors import AudioError, DisagreementError
from serctl.export.convert import to_litert
from serctl.export.frontend import end_to_end_to_litert, longest_samples, tensors
from serctl.export.measure import measure_end_to_end, measure_python
from serctl.export.parity import check_labels, compare, cost_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras
    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.export.options import Quantize
    from serctl.features import FeatureConfig

    Windows = Sequence[NDArray[np.float32]]

MOST_WINDOWS = 200
"""Largest number of windows that the model and Python are compared on."""

LARGEST_DIFFERENCE = 1e-3
"""Largest difference in probability allowed between a float32 model and the front end and network in Python."""

_INT8_WEIGHTS = frozenset({"dynamic", "int8"})
"""Quantizations that store the network's weights in int8; with the others they are float32.

float16 would halve the constants of the front end too, and int8 arithmetic needs ranges measured on features.
"""


@dataclass(frozen=True)
class EndToEnd:
    """A LiteRT model, its comparison with Python, and what is needed to call it from another language."""

    content: bytes
    parity: Parity
    facts: EndToEndFacts


def make_end_to_end(
    original: keras.Model,
    model: Bundle,
    *,
    quantize: Quantize,
    recordings: Sequence[Path],
    source: str,
    least_agreement: float,
) -> EndToEnd:
    """Build front end, network and calibration of a bundle as one model and verify it against Python.

    In the parity, "before" is the front end in Python with the network in float32.

    Args:
        original: the network as training saved it.
        model: the bundle to export.
        quantize: how the network's weights are stored.
        recordings: recordings to compare both on; at least one must be readable.
        source: where the recordings are from, for the record.
        least_agreement: least share of equal labels, with int8 weights.

    Raises:
        DisagreementError: probabilities differ too much or, with int8 weights, too few labels are equal.
    """
    int8_weights = quantize in _INT8_WEIGHTS
    content = end_to_end_to_litert(original, model, int8_weights=int8_weights)
    network = to_litert(original, n_frames=model.facts.n_frames, quantize="none")
    parity = _compare(model, network, content, _read(recordings, model.facts.features), source)
    if int8_weights:
        check_labels(parity, least_agreement, of=f"Python, by {END_TO_END}", end_to_end=True)
    elif not parity.largest_difference <= LARGEST_DIFFERENCE:  # NaN never agrees
        raise DisagreementError(
            f"probabilities of {END_TO_END} differ from those of Python by up to {parity.largest_difference:.4f}, "
            f"expected at most {LARGEST_DIFFERENCE:g}: nothing was written",
            parity,
            end_to_end=True,
        )
    weights = "int8" if int8_weights else "float32"
    inputs, outputs = tensors(model.facts)
    rate = model.facts.features.sample_rate
    facts = EndToEndFacts(END_TO_END, weights, rate, inputs=inputs, outputs=outputs, parity=parity)
    return EndToEnd(content, parity, facts)


def _compare(model: Bundle, network: bytes, content: bytes, windows: Windows, source: str) -> Parity:
    """Measure the model, and the front end in Python with the float32 network, each in its own process."""
    config = model.facts.features
    longest = longest_samples(config)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MODEL).write_bytes(network)
        (Path(folder) / END_TO_END).write_bytes(content)
        before = measure_python(Path(folder) / MODEL, model.folder, windows, longest=longest)
        after = measure_end_to_end(Path(folder) / END_TO_END, windows, longest=longest)
    window_s = float(np.median([len(window) for window in windows])) / config.sample_rate
    return compare(
        before.probabilities,
        after.probabilities,
        source=source,
        before=cost_of(before, size_bytes=len(network), window_s=window_s),
        after=cost_of(after, size_bytes=len(content), window_s=window_s),
    )


def _read(recordings: Sequence[Path], config: FeatureConfig) -> Windows:
    """Return windows of samples, each float32, shape (n,), as predict cuts them; unreadable recordings are left out."""
    windows: list[NDArray[np.float32]] = []
    for path in recordings:
        reader = SegmentReader(path, sample_rate=config.sample_rate, window_s=config.window_s)
        # Feature extraction has reported unreadable recordings already.
        with suppress(AudioError):
            windows += [segment.samples for segment in itertools.islice(reader, MOST_WINDOWS - len(windows))]
    return windows
