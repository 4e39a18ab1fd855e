"""A trained model as a self-describing folder: all that training hands to prediction, and nothing that runs code.

model.tflite     the network, in LiteRT's format; or model.onnx, in ONNX
normaliser.npz   means and standard deviations of the training features
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
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.bundle.facts import (
    CARD,
    FORMAT,
    MANIFEST,
    NORMALISER,
    STEP,
    TRAINING_LIST,
    WEIGHTS,
    BundleFacts,
    TrainingEntry,
)
from serctl.errors import BundleError, ConfigError, Remedy
from serctl.features import UNREADABLE_NPZ, FeatureConfig, Normaliser
from serctl.files import check_new_folder
from serctl.reports.schema import Column
from serctl.reports.tables import write_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


DEFAULT_MODEL = "serctl-base"
LIVE_MODEL = "serctl-live"
_PRETRAINED = Path(__file__).parents[1] / "pretrained"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    facts: BundleFacts
    digest: str

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
        """Whether the network's answers rest only on what came before them, so that it can follow a stream."""
        return (self.folder / STEP).is_file()

    @property
    def step_path(self) -> Path:
        """One step of the network with its state, for streams. Raises BundleError if the network is not causal."""
        if not self.causal:
            raise BundleError(
                f"{self.identity} judges whole windows and cannot follow a stream: expected a causal model",
                Remedy.CAUSAL_MODEL,
            )
        return self.folder / STEP

    @cached_property
    def normaliser(self) -> Normaliser:
        """Means and standard deviations of the training features."""
        return Normaliser.load(self.folder / NORMALISER)

    def weights(self) -> list[NDArray[np.float16]]:
        """The weights of the network while it was trained, in its own order, float16.

        Raises BundleError if the bundle holds none (an exported model), or something else.
        """
        path = self.folder / WEIGHTS
        try:
            with path.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as arrays:
                return [arrays[name] for name in sorted(arrays.files)]
        except UNREADABLE_NPZ as error:
            raise BundleError(f"{path}: expected the weights of a model that serctl trained") from error

    def training_list(self) -> list[TrainingEntry]:
        """Every recording that the model has seen."""
        with (self.folder / TRAINING_LIST).open(newline="", encoding="utf-8") as stream:
            return [TrainingEntry(**row) for row in csv.DictReader(stream)]


def load_bundle(reference: str | Path) -> Bundle:
    """Open a bundle by the name of a bundled model or by its folder, and verify it.

    Raises BundleError if there is none, its format is unknown, or a file is missing or not the one that was saved.
    """
    folder = _find(reference)
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder}: expected a model bundle with a readable {MANIFEST}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{folder}: expected a bundle of format {FORMAT}; upgrade serctl, or train the model again")
    facts = _read_facts(folder, manifest)
    _verify(folder, manifest, facts.model_name)
    return Bundle(folder, facts, hashlib.sha256(content).hexdigest())


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
) -> None:
    """Write every file of a bundle into an existing folder; other files there are hashed as well.

    model: the network in the format that the facts name. weights: none for an exported model.
    """
    (folder / facts.model_name).write_bytes(model)
    if step:
        (folder / STEP).write_bytes(step)
    if weights:
        halved = {f"{index:04d}": array.astype(np.float16) for index, array in enumerate(weights)}
        np.savez(folder / WEIGHTS, allow_pickle=False, **halved)
    normaliser.save(folder / NORMALISER)
    _write_training_list(folder / TRAINING_LIST, training)
    (folder / CARD).write_text(card, encoding="utf-8")
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    manifest = {"format": FORMAT, **asdict(facts), "features": facts.features.to_dict(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _find(reference: str | Path) -> Path:
    name = os.fspath(reference)
    if name in bundled_models():
        return _PRETRAINED / name
    if not Path(name).is_dir():
        known = ", ".join(bundled_models()) or "none"
        raise BundleError(f"no model {name}: expected the folder of a bundle or a bundled model ({known})")
    return Path(name)


def _verify(folder: Path, manifest: Mapping[str, Any], model_name: str) -> None:
    files = manifest.get("files", {})
    for name in (model_name, NORMALISER, TRAINING_LIST):
        if name not in files:
            raise BundleError(f"{folder}: {MANIFEST} names no {name}")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleError(f"{folder}: expected the file {name}, which is missing")
        if _sha256(path) != expected:
            raise BundleError(f"{path}: its SHA-256 is not the one in {MANIFEST}: damaged or changed since training")


def _read_facts(folder: Path, manifest: Mapping[str, Any]) -> BundleFacts:
    known = {each.name for each in fields(BundleFacts)}
    values = {name: value for name, value in manifest.items() if name in known}
    try:
        values["features"] = FeatureConfig.from_dict(values["features"])
        values["labels"] = tuple(values["labels"])
        values["attribution"] = tuple(values.get("attribution", ()))
        values["languages"] = tuple(values.get("languages", ()))
        values["export"] = dict(values.get("export", {}))
        return BundleFacts(**values)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise BundleError(f"{folder / MANIFEST}: not what this version of serctl reads ({error})") from error


def _write_training_list(path: Path, training: list[TrainingEntry]) -> None:
    columns = [Column(each.name, "text") for each in fields(TrainingEntry)]
    write_report(path, columns=columns, tables=map(asdict, training))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
