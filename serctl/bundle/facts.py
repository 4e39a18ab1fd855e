"""What bundle.json and the training list say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serctl.features import FeatureConfig

FORMAT = 1
MANIFEST = "bundle.json"
MODEL = "model.tflite"
STEP = "step.tflite"
END_TO_END = "end_to_end.tflite"
ONNX_MODEL = "model.onnx"
WEIGHTS = "weights.npz"
NORMALISER = "normaliser.npz"
TRAINING_LIST = "training.csv"
CARD = "README.md"


@dataclass(frozen=True)
class BundleFacts:
    """What bundle.json says, apart from the format and the hashes.

    n_frames: frames of log-mel that the network takes. temperature: divides the log-probabilities (calibration).
    metrics: scores by the way they were found (validation, cross_validation), with the protocol. training: corpora,
    options, seed and digest of the training list. languages: those that the network tells apart, empty if none.
    export: what an export made of which model, empty if training wrote the bundle. licence, attribution: the
    terms of the weights.
    """

    name: str
    architecture: str
    labels: tuple[str, ...]
    features: FeatureConfig
    n_frames: int
    temperature: float
    parameters: int
    created: str
    licence: str
    attribution: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """Name of the file of the network."""
        return ONNX_MODEL if self.export.get("format") == "onnx" else MODEL


@dataclass(frozen=True)
class TrainingEntry:
    """One recording that the model has seen: part is train or validation.

    source: the digest of the recording that it is an augmented copy of, or empty.
    """

    digest: str
    corpus: str
    speaker: str
    emotion: str
    part: str
    source: str = ""

    @property
    def origin(self) -> str:
        """The digest of the recording, or of that which it is an augmented copy of."""
        return self.source or self.digest
