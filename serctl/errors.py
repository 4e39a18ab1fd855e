"""The exceptions serctl raises on purpose, and what a failed item of a run is.

SerctlError
├── AudioError                 a recording cannot be found, read or used
├── CorpusError                a corpus, manifest or protocol is not what was expected
├── BundleError                a model bundle is missing, damaged or of an unsupported format
│   └── MissingBundleError     a worker process has no copy of the model that the run began with
├── ConfigError                an option, configuration value or output path cannot be used
│   ├── MissingExtraError      an optional package is not installed
│   └── DivergedError          training ended in a loss that is not a number
├── FederationError            a party or the server of a federated training cannot go on
├── StoppedAtFailureError      a run that stops at the first failure met one
├── DisagreementError          an exported model disagrees with its original too often to be kept
├── DamagedEntryError          a cache entry is not, or no longer, whole; never leaves the cache
└── UnsupportedFormatError     libsndfile does not know a format; never leaves audio/

KeyboardInterrupt
└── RunInterrupted             Ctrl-C, with what was kept

ValueError
├── BadRowError                a row of a manifest cannot be used; never leaves the reading of manifests
├── EncodingError              a text cannot be decoded; becomes a CorpusError or a ConfigError
├── NpzError                   a file is not an npz file of numbers; becomes a BundleError or a ConfigError
└── RecordError                a value is not what a typed record expects; becomes a BundleError

Every message says what was expected, what was received, and which file. A message never names a flag of the command
line: `remedies` says which options help, and the command line adds their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "AudioError",
    "BadRowError",
    "BundleError",
    "ConfigError",
    "CorpusError",
    "DamagedEntryError",
    "DisagreementError",
    "DivergedError",
    "EncodingError",
    "Failure",
    "FederationError",
    "MissingBundleError",
    "MissingExtraError",
    "NpzError",
    "RecordError",
    "Remedy",
    "RunInterrupted",
    "SerctlError",
    "StoppedAtFailureError",
    "UnsupportedFormatError",
]


class Remedy(Enum):
    """What a caller can change to get past an error."""

    OVERWRITE = auto()
    """Replace what is there."""
    RESTART = auto()
    """Replace what an interrupted run left, and start again."""
    RESUME = auto()
    """Continue what an interrupted run left."""
    OTHER_OUTPUT = auto()
    """Write to another place."""
    WITH_OUTPUT = auto()
    """Write to a file at all."""
    FOLDER = auto()
    """Write into a folder, one file for each recording."""
    TABLE_OUTPUT = auto()
    """Write a table."""
    PARQUET_OUTPUT = auto()
    """Write a Parquet file."""
    CACHE_FOLDER = auto()
    """Keep the feature cache in another folder."""
    PER_WINDOW = auto()
    """Ask for one row of functionals per window."""
    CLASSES = auto()
    """Choose which emotions take part, or rename them."""
    COLUMN = auto()
    """Say which column of a manifest holds what."""
    LABEL = auto()
    """Say which emotion a label means."""
    ARCHITECTURE = auto()
    """Ask for the architecture of the model that training continues from."""
    CAUSAL = auto()
    """Ask for a causal network."""
    NOT_CAUSAL = auto()
    """Do not ask for a causal network."""
    CAUSAL_MODEL = auto()
    """Train a causal model."""
    CALIBRATION_RECORDINGS = auto()
    """Name recordings to calibrate on."""
    VERIFICATION_RECORDINGS = auto()
    """Name recordings to verify on."""
    NO_QUANTIZATION = auto()
    """Export in float32."""
    LITERT = auto()
    """Export for LiteRT."""
    SAMPLE_FORMAT = auto()
    """State the format of the raw samples."""
    MICROPHONE = auto()
    """Choose another microphone."""
    LEARNING_RATE = auto()
    """Train with a lower learning rate."""
    SHARD = auto()
    """Work on one share of the recordings."""
    UPDATE = auto()
    """Add what is new to an earlier report."""
    PROFILE = auto()
    """Adapt by a profile."""
    DASK = auto()
    """Work on a Dask cluster."""
    TOKEN = auto()
    """Ask clients for a token."""
    TRANSCRIPTS = auto()
    """Say where the transcripts are."""
    NO_TRANSCRIPTS = auto()
    """Predict from speech alone."""
    EPSILON = auto()
    """Say how much the updates of a party may tell."""
    PRIVATE_STRATEGY = auto()
    """Choose a strategy that sends weights alone."""


class SerctlError(Exception):
    """Root of every error that serctl raises on purpose.

    Args:
        message: what was expected, what was received, which file.
        remedies: what the caller can change to get past the error.
    """

    def __init__(self, message: str, *remedies: Remedy) -> None:
        super().__init__(message)
        self.remedies = remedies


class AudioError(SerctlError):
    """A recording cannot be found, read or used."""


class CorpusError(SerctlError):
    """A corpus, manifest or protocol is not what was expected."""


class BundleError(SerctlError):
    """A model bundle is missing, damaged or of an unsupported format."""


class MissingBundleError(BundleError):
    """A worker process has no copy of the model that the run began with; folder: where it was, digest: of its facts."""

    def __init__(self, folder: Path, digest: str) -> None:
        super().__init__(f"{folder}: the model is missing here, or another one than the run began with")
        self.folder = folder
        self.digest = digest

    def __reduce__(self) -> tuple[type[MissingBundleError], tuple[Path, str]]:
        return type(self), (self.folder, self.digest)


class ConfigError(SerctlError):
    """An option, configuration value or output path cannot be used."""


class MissingExtraError(ConfigError):
    """An optional package is not installed; extra names the set of packages that holds it."""

    def __init__(self, message: str, *, extra: str = "") -> None:
        super().__init__(message)
        self.extra = extra


class DivergedError(ConfigError):
    """Training ended in a loss that is not a number."""


class FederationError(SerctlError):
    """A party or the server of a federated training cannot go on."""


class StoppedAtFailureError(SerctlError):
    """A run that stops at the first failure met one; summary: of what was finished before, which is kept."""

    def __init__(self, message: str, *remedies: Remedy, summary: Any = None) -> None:
        super().__init__(message, *remedies)
        self.summary = summary


class DisagreementError(SerctlError):
    """An exported model disagrees with its original too often to be kept.

    parity: the comparison (export.parity.Parity). end_to_end: whether it is the end-to-end model that disagrees.
    """

    def __init__(self, message: str, parity: Any = None, *, end_to_end: bool = False) -> None:
        super().__init__(message)
        self.parity = parity
        self.end_to_end = end_to_end


class DamagedEntryError(SerctlError):
    """A cache entry is not, or no longer, whole."""


class UnsupportedFormatError(SerctlError):
    """A decoder does not know the format of a recording."""


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C; the message says what was kept, remedies what continues from there."""

    def __init__(self, message: str, *remedies: Remedy) -> None:
        super().__init__(message)
        self.remedies = remedies


class BadRowError(ValueError):
    """A row of a manifest cannot be used."""


class EncodingError(ValueError):
    """A text is too long, or in an encoding that is not read."""


class NpzError(ValueError):
    """A file is not an npz file of numbers, or its arrays are too large."""


class RecordError(ValueError):
    """A value is not what a record expects; the message names the field."""


@dataclass(frozen=True)
class Failure:
    """Why an item of a run has no result; kind is the name of the exception's class, or WorkerDied."""

    kind: str
    message: str
