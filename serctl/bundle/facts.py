"""What bundle.json and the training list say: typed, with a range for every field."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read_record needs the types at run time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from serctl.bundle.federation import FederationFacts  # noqa: TC001
from serctl.errors import BundleError, ConfigError, RecordError
from serctl.features import FeatureConfig  # noqa: TC001
from serctl.metrics import Scale  # noqa: TC001
from serctl.metrics.facts import NumberPart, ScoredPart  # noqa: TC001
from serctl.records import Between, Count, Measure, Name, Share, Text, read_record

FORMAT = 1
EXPORT_VERSION = 1
MANIFEST = "bundle.json"
MODEL = "model.tflite"
STEP = "step.tflite"
END_TO_END = "end_to_end.tflite"
ONNX_MODEL = "model.onnx"
WEIGHTS = "weights.npz"
NORMALISER = "normaliser.npz"
NOVELTY = "novelty.npz"
TRAINING_LIST = "training.csv"
CARD = "README.md"

_FEWEST_LABELS = 2


@dataclass(frozen=True)
class TargetFacts:
    """What a model of numbers answers: its scale, and scores by the way they were found."""

    scale: Scale
    metrics: Mapping[str, NumberPart] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus that a model was trained on."""

    name: Name
    utterances: Count
    speakers: Count
    languages: tuple[Name, ...] = ()
    licence: Text = ""
    citation: Text = ""


@dataclass(frozen=True)
class TrainingFacts:
    """How a model was trained; fit, augmentation and labels as the options of these names.

    inherited: recordings that only the base or the teachers were trained on. earlier: the corpora of all that
    those were trained on. shared: recordings among these utterances that those were trained on too. federation: None
    where all of the data was in one place.
    """

    utterances: Count = 0
    inherited: Count = 0
    list_digest: Text = ""
    corpora: tuple[CorpusFacts, ...] = ()
    command: Text = ""
    seed: Count | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    validation_share: Share | None = None
    base: Name | None = None
    adapter_only: bool = False
    teachers: tuple[Name, ...] = ()
    earlier: tuple[CorpusFacts, ...] = ()
    shared: Count = 0
    federation: FederationFacts | None = None


@dataclass(frozen=True)
class Cost:
    """Resources of a model: its file, its time for a second of audio, memory of its process at most and at first."""

    size_bytes: Count
    ms_per_audio_s: Measure
    peak_memory_mb: Measure | None = None
    idle_memory_mb: Measure | None = None


@dataclass(frozen=True)
class Parity:
    """A model before and after a conversion, on the same windows.

    equal_labels: share of windows with the same likeliest emotion. labels: how many emotions are the likeliest of some
    window, before; where it is one, equal labels prove little. largest_difference, mean_difference: of calibrated
    probabilities.
    """

    windows: Count
    source: Text
    largest_difference: Share
    mean_difference: Share
    equal_labels: Share
    before: Cost
    after: Cost
    labels: Count = 0


@dataclass(frozen=True)
class Calibration:
    """What the ranges of an int8 model were measured on."""

    source: Text
    windows: Count


@dataclass(frozen=True)
class TensorFacts:
    """An input or output of a model, for whoever calls it from another language."""

    shape: tuple[Count, ...]
    dtype: Name
    meaning: Text


@dataclass(frozen=True)
class EndToEndFacts:
    """The model from samples to probabilities: its file, tensors and how it compares with Python."""

    file: Name
    weights: Name
    sample_rate: Count
    inputs: Mapping[str, TensorFacts]
    outputs: Mapping[str, TensorFacts]
    parity: Parity


@dataclass(frozen=True)
class ExportFacts:
    """What export.json says: what a model was made of, and how the two compare.

    version: of the file; one without a version is of the first.
    """

    format: Literal["litert", "onnx"]
    quantize: Name
    source: Name
    source_digest: Name
    created: Name
    parity: Parity
    command: Text = ""
    packages: Mapping[str, Text] = field(default_factory=dict)
    calibration: Calibration | None = None
    end_to_end: EndToEndFacts | None = None
    version: Annotated[int, Between(1, EXPORT_VERSION)] = EXPORT_VERSION


@dataclass(frozen=True)
class NoveltyFacts:
    """What the numbers of novelty.npz were measured on: training windows, and recordings that were held out."""

    version: Annotated[int, Between(1, 1_000)]
    windows: Count
    held_out: Count


@dataclass(frozen=True)
class BundleFacts:
    """What bundle.json says, apart from the format and the hashes.

    n_frames: frames of log-mel that the network takes. temperature: divides the log-probabilities (calibration);
    adapted_temperature: the same where features are adapted to recordings, None for no other value. metrics: scores by
    the way they were found (left_out, left_out_adapted, cross_validation, validation). languages: those that the
    network tells apart, empty if none. export: None if training wrote the bundle. licence, attribution: the terms of
    the weights. novelty: None in a bundle that cannot tell it. target: of a model of numbers, which has no labels; None
    for emotions.

    Raises:
        ValueError: labels or languages are not unique, or there are too few labels.
    """

    name: Name
    architecture: Name
    labels: Annotated[tuple[Annotated[str, Between(1, 64)], ...], Between(0, 1_000)]
    features: FeatureConfig
    n_frames: Annotated[int, Between(1, 100_000)]
    temperature: Annotated[float, Between(0.01, 100)]
    parameters: Count
    created: Name
    licence: Text
    attribution: tuple[Text, ...] = ()
    languages: Annotated[tuple[Name, ...], Between(0, 1_000)] = ()
    metrics: Mapping[str, ScoredPart] = field(default_factory=dict)
    training: TrainingFacts = field(default_factory=TrainingFacts)
    packages: Mapping[str, Text] = field(default_factory=dict)
    export: ExportFacts | None = None
    novelty: NoveltyFacts | None = None
    adapted_temperature: Annotated[float, Between(0.01, 100)] | None = None
    target: TargetFacts | None = None

    def __post_init__(self) -> None:
        if (len(self.labels) < _FEWEST_LABELS) != bool(self.target) or (self.target and self.labels):
            raise RecordError(f"labels: expected a length from {_FEWEST_LABELS} up. Received: {len(self.labels)}")
        for name, values in (("labels", self.labels), ("languages", self.languages)):
            if len(set(values)) < len(values):
                raise RecordError(f"{name}: expected each once. Received: {', '.join(values)}")

    @property
    def n_outputs(self) -> int:
        """How many probabilities the network answers: of its labels, or of the bins of its scale."""
        return self.target.scale.bins if self.target else len(self.labels)

    def require_emotions(self, what: str) -> None:
        """Check that the model answers emotions.

        Args:
            what: needs them, as the start of a sentence.

        Raises:
            ConfigError: it answers numbers.
        """
        if self.target:
            raise ConfigError(
                f"{what} needs a model of emotions: {self.name} predicts {self.target.scale.name}, a number"
            )

    @property
    def model_name(self) -> str:
        """Name of the file of the network."""
        return ONNX_MODEL if self.export and self.export.format == "onnx" else MODEL

    def to_dict(self) -> dict[str, Any]:
        """The facts as bundle.json holds them."""
        return {**_without_none(asdict(self)), "features": self.features.to_dict(), "export": export_dict(self.export)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str) -> BundleFacts:
        """Read what to_dict gave, of this version of serctl or an earlier one.

        Raises:
            BundleError: a field is missing, of another type or out of range; where names the file.
        """
        try:
            return read_record(cls, {**values, "export": values.get("export") or None})
        except (RecordError, ConfigError) as error:
            raise BundleError(f"{where}: not what this version of serctl reads ({error})") from error


def export_dict(export: ExportFacts | None) -> dict[str, Any]:
    """The facts of an export as export.json holds them; empty for a model that was not exported."""
    return asdict(export) if export else {}


def _without_none(values: Any) -> Any:
    """The same, without the optional facts that are not known."""
    if isinstance(values, dict):
        return {name: _without_none(each) for name, each in values.items() if each is not None}
    return values


@dataclass(frozen=True)
class TrainingEntry:
    """One recording that the model was trained on: part is train or validation, emotion may be a number.

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
