"""A trained model as a self-describing folder: all that training hands to prediction, and nothing that runs code.

model.tflite     the network, in LiteRT's format; or model.onnx, in ONNX
normaliser.npz   means and standard deviations of the training features
novelty.npz      how the training features vary, and how far held-out recordings are from them
bundle.json      labels, feature config, calibration, metrics with their protocol, training facts, licence, and the
SHA-256 of every other file, checked on load
weights.npz      the weights of the network while it was trained, in float16: what a later training continues from,
and `serctl export` starts from; not in an exported bundle
step.tflite      where the network is causal, one step of it with its state, for `serctl stream`
end_to_end.tflite  in a bundle exported so: front end, network and calibration in one, for devices without Python
training.csv     content digest, corpus, speaker, label and part of every training recording
README.md        the model card
export.json      in an exported bundle: how the network compares with the one it was made from
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.bundle.facts import (
    CARD,
    FORMAT,
    MANIFEST,
    NORMALISER,
    NOVELTY,
    STEP,
    TRAINING_LIST,
    WEIGHTS,
    BundleFacts,
    TrainingEntry,
)
from serctl.errors import BundleError, MissingBundleError, NpzError, Remedy
from serctl.features import Normaliser, functional_names
from serctl.features.novelty import NOVELTY_VERSION, Novelty
from serctl.files import check_new_folder
from serctl.npz import read_npz
from serctl.replicas import held_folder
from serctl.reports.schema import Column
from serctl.reports.tables import write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


DEFAULT_MODEL = "serctl-base"
LIVE_MODEL = "serctl-live"
_PRETRAINED = Path(__file__).parents[1] / "pretrained"

_MOST_MANIFEST_BYTES = 8 << 20
_MOST_FILE_BYTES = 1 << 30
_MOST_FILES = 100
_MOST_WEIGHTS = 1 << 28


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk; files: the names of those that bundle.json vouches for."""

    folder: Path
    facts: BundleFacts
    digest: str
    files: frozenset[str] = field(default_factory=frozenset)

    @property
    def bundled(self) -> bool:
        """Whether it is part of serctl, and so is trusted."""
        return self.folder.parent == _PRETRAINED

    @property
    def identity(self) -> str:
        """Name and short digest, as the report's model column shows them."""
        return f"{self.facts.name}@{self.digest[:8]}"

    @property
    def model_path(self) -> Path:
        """The network, in LiteRT's format or in ONNX."""
        return self.folder / self.facts.model_name

    @property
    def causal(self) -> bool:
        """Whether the network's outputs depend on past frames only, so that it can follow a stream."""
        return STEP in self.files

    @property
    def step_path(self) -> Path:
        """One step of the network with its state, for streams. Raises BundleError if the network is not causal."""
        if not self.causal:
            raise BundleError(
                f"{self.identity} takes whole windows and cannot follow a stream: expected a causal model",
                Remedy.CAUSAL_MODEL,
            )
        return self.folder / STEP

    @cached_property
    def normaliser(self) -> Normaliser:
        """Means and standard deviations of the training features."""
        found = Normaliser.load(self.folder / NORMALISER)
        features = self.facts.features
        found.check_shapes(n_mels=features.n_mels, n_functionals=len(functional_names(features)))
        return found

    @cached_property
    def novelty(self) -> Novelty:
        """How the training features vary, to tell how unlike them a recording is.

        Raises:
            BundleError: the bundle holds none, or those of a later version.
        """
        facts = self.facts.novelty
        if facts is None:
            raise BundleError(
                f"{self.identity} was trained before serctl measured novelty, so it cannot tell it. serctl-base can, "
                "and a model that is trained now"
            )
        if facts.version != NOVELTY_VERSION:
            raise BundleError(f"{self.identity}: expected novelty of version {NOVELTY_VERSION}, not {facts.version}")
        return Novelty.load(self.folder / NOVELTY, n_functionals=len(functional_names(self.facts.features)))

    def require_weights(self) -> None:
        """Raise BundleError if the bundle holds no weights to start from."""
        if not (self.folder / WEIGHTS).exists():
            raise BundleError(
                f"{self.identity} holds no {WEIGHTS} to start from: it was exported, or trained before they were kept; "
                "use the model it comes from, or train it again"
            )

    def weights(self) -> list[NDArray[np.float16]]:
        """Read the weights of the network while it was trained, in its own order, float16.

        Raises:
            BundleError: the bundle holds none (an exported model), or something else.
        """
        path = self.folder / WEIGHTS
        try:
            return list(read_npz(path, most_bytes=_MOST_WEIGHTS).values())
        except NpzError as error:
            raise BundleError(f"{path}: expected the weights of a model that serctl trained") from error

    def training_list(self) -> list[TrainingEntry]:
        """Read the list of every recording that the model was trained on.

        Raises:
            BundleError: it is not such a list.
        """
        path = self.folder / TRAINING_LIST
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                return [TrainingEntry(**row) for row in csv.DictReader(stream)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise BundleError(f"{path}: expected the training list of a model: {error}") from error


def load_bundle(reference: str | Path) -> Bundle:
    """Open a bundle by the name of a bundled model or by its folder, and verify it.

    Args:
        reference: the name or the folder.

    Raises:
        BundleError: there is none, its format is unknown, a fact is missing or out of range, a file is missing, too
            large or not the one that was saved, or the normaliser does not fit.
    """
    folder = _find(reference)
    content = _read_manifest(folder)
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder}: expected a model bundle with a readable {MANIFEST}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{folder}: expected a bundle of format {FORMAT}; upgrade serctl, or train the model again")
    facts = BundleFacts.from_dict(manifest, where=str(folder / MANIFEST))
    required = (facts.model_name, NORMALISER, TRAINING_LIST, *((NOVELTY,) if facts.novelty else ()))
    files = _verify(folder, manifest.get("files"), required)
    bundle = Bundle(folder, facts, hashlib.sha256(content).hexdigest(), files)
    _ = bundle.normaliser  # fails here, not in a worker
    return bundle


def find_replica(folder: Path, digest: str) -> Path:
    """Find a bundle that a run began with, in a process that may be on another machine.

    Args:
        folder: where the bundle lay when the run began.
        digest: that of the bundle.

    Returns:
        The folder, that of the same bundled model here, or the copy that was sent to this process.

    Raises:
        MissingBundleError: there is none with this digest.
    """
    for place in (folder, _PRETRAINED / folder.name, held_folder(digest)):
        if place is not None and (place / MANIFEST).is_file() and _sha256(place / MANIFEST) == digest:
            return place
    raise MissingBundleError(folder, digest)


def _read_manifest(folder: Path) -> bytes:
    path = folder / MANIFEST
    try:
        _check_size(path, _MOST_MANIFEST_BYTES)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder} is not a model: expected a folder that training or export wrote, with its {MANIFEST}, "
            f"or the name of a bundled model ({', '.join(bundled_models())})"
        ) from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_size(path: Path, most: int) -> None:
    """Raise BundleError if it is no regular file or too large, before it is opened."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: expected a regular file")
    if status.st_size > most:
        raise BundleError(f"{path}: expected at most {most:,} bytes. Received: {status.st_size:,}")


def bundled_models() -> list[str]:
    """Names of the models that come with serctl."""
    return sorted(path.parent.name for path in _PRETRAINED.glob(f"*/{MANIFEST}"))


def check_new_bundle(folder: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if the folder exists, unless overwrite is given and it holds a bundle."""
    check_new_folder(folder, overwrite=overwrite, mark=MANIFEST, kind="a bundle")


def write_bundle(
    folder: Path,
    facts: BundleFacts,
    *,
    model: bytes,
    weights: Sequence[NDArray[np.floating]],
    normaliser: Normaliser,
    training: list[TrainingEntry],
    card: str,
    step: bytes | None = None,
    novelty: Novelty | None = None,
) -> None:
    """Write every file of a bundle into an existing folder; other files there are hashed as well.

    model: the network in the format that the facts name. weights: none for an exported model. novelty: None for a model
    that cannot tell it, whatever the facts say.
    """
    (folder / facts.model_name).write_bytes(model)
    if step:
        (folder / STEP).write_bytes(step)
    if weights:
        halved = {f"{index:04d}": array.astype(np.float16) for index, array in enumerate(weights)}
        np.savez(folder / WEIGHTS, allow_pickle=False, **halved)
    normaliser.save(folder / NORMALISER)
    if novelty:
        novelty.save(folder / NOVELTY)
    else:
        facts = replace(facts, novelty=None)
    _write_training_list(folder / TRAINING_LIST, training)
    (folder / CARD).write_text(card, encoding="utf-8")
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    manifest = {"format": FORMAT, **facts.to_dict(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _find(reference: str | Path) -> Path:
    name = os.fspath(reference)
    if name in bundled_models():
        return _PRETRAINED / name
    if not Path(name).is_dir():
        known = ", ".join(bundled_models()) or "none"
        raise BundleError(f"no model {name}: expected the folder of a bundle or a bundled model ({known})")
    return Path(name)


def _verify(folder: Path, files: object, required: Sequence[str]) -> frozenset[str]:
    """Check the digest of every file; return their names."""
    if not isinstance(files, dict) or len(files) > _MOST_FILES:
        raise BundleError(f"{folder / MANIFEST}: files: expected a table of at most {_MOST_FILES} digests")
    for name in required:
        if name not in files:
            raise BundleError(f"{folder}: {MANIFEST} names no {name}")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name or not path.exists():
            raise BundleError(f"{folder}: expected the file {name}, which is missing")
        _check_size(path, _MOST_FILE_BYTES)
        if _sha256(path) != expected:
            raise BundleError(f"{path}: its SHA-256 is not the one in {MANIFEST}: damaged or changed since training")
    return frozenset(files)


def _write_training_list(path: Path, training: list[TrainingEntry]) -> None:
    columns = [Column(each.name, "text") for each in fields(TrainingEntry)]
    write_report(path, columns=columns, tables=map(asdict, training))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
