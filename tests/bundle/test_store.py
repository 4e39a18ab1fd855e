from __future__ import annotations

import hashlib
import json
import os
import pickletools
import shutil
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.bundle import store as module
from serctl.bundle.facts import (
    MANIFEST,
    MODEL,
    NORMALISER,
    TRAINING_LIST,
    BundleFacts,
    NoveltyFacts,
    TrainingEntry,
)
from serctl.bundle.store import DEFAULT_MODEL, Bundle, bundled_models, check_new_bundle, load_bundle, write_bundle
from serctl.errors import BundleError, ConfigError, Remedy
from serctl.features.novelty import NOVELTY_VERSION, SHARES, Novelty

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tiny_bundle() -> Bundle:
    """A bundled model: nothing here needs one that was just trained."""
    return load_bundle(DEFAULT_MODEL)


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle.folder, tmp_path / "copy")


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def some_novelty(n_functionals: int) -> Novelty:
    rng = np.random.default_rng(0)
    mean = rng.normal(size=n_functionals).astype(np.float32)
    directions = rng.normal(size=(2, n_functionals)).astype(np.float16)
    ones = np.ones(2, np.float32)
    return Novelty(mean, directions, ones, ones[:1], np.linspace(-1, 1, len(SHARES)), np.array([0.5]))


def rewrite(bundle: Bundle, folder: Path, facts: BundleFacts, novelty: Novelty | None) -> Path:
    """Write the bundle anew, with other facts and novelty."""
    folder.mkdir()
    network = bundle.model_path.read_bytes()
    normaliser = bundle.normaliser
    write_bundle(folder, facts, model=network, weights=[], normaliser=normaliser, training=[], card="", novelty=novelty)
    return folder


def test_novelty_that_is_missing_or_of_a_later_version_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    novelty = some_novelty(len(tiny_bundle.normaliser.functional_mean))
    known = replace(tiny_bundle.facts, novelty=NoveltyFacts(NOVELTY_VERSION, windows=4, held_out=2))
    none = load_bundle(rewrite(tiny_bundle, tmp_path / "none", known, None))
    assert none.facts.novelty is None
    with pytest.raises(BundleError, match="was trained before serctl measured novelty"):
        _ = none.novelty
    later = replace(known, novelty=NoveltyFacts(NOVELTY_VERSION + 1, windows=4, held_out=2))
    with pytest.raises(BundleError, match=f"expected novelty of version {NOVELTY_VERSION}, not {NOVELTY_VERSION + 1}"):
        _ = load_bundle(rewrite(tiny_bundle, tmp_path / "later", later, novelty)).novelty
    other = load_bundle(rewrite(tiny_bundle, tmp_path / "other", known, some_novelty(3)))
    with pytest.raises(BundleError, match=r"novelty\.npz: expected finite statistics of novelty for \d+ functionals"):
        _ = other.novelty
    (other.folder / "novelty.npz").unlink()
    with pytest.raises(BundleError, match=r"expected the file novelty\.npz, which is missing"):
        load_bundle(other.folder)


def test_a_bundle_keeps_what_it_was_written_with(tiny_bundle: Bundle, tmp_path: Path) -> None:
    facts = replace(tiny_bundle.facts, name="fünf", attribution=("A & B 2020",), temperature=1.25)
    entries = [
        TrainingEntry("ab", "corpus", "sp, 1", "sad", "train"),
        TrainingEntry("cd", "c", "", "happy", "validation"),
    ]
    weights = [np.full((2, 3), number / 3, np.float32) for number in range(12)]
    facts = replace(facts, novelty=NoveltyFacts(NOVELTY_VERSION, windows=4, held_out=2))
    normaliser = tiny_bundle.normaliser
    novelty = some_novelty(len(normaliser.functional_mean))
    write_bundle(
        tmp_path,
        facts,
        model=b"net",
        weights=weights,
        normaliser=normaliser,
        training=entries,
        card="# Card",
        novelty=novelty,
    )
    loaded = load_bundle(tmp_path)
    assert loaded.facts == facts
    assert loaded.training_list() == entries
    assert loaded.model_path.read_bytes() == b"net"
    for kept, given in zip(loaded.weights(), weights, strict=True):
        assert kept.dtype == np.float16
        np.testing.assert_allclose(kept, given, rtol=1e-3)
    np.testing.assert_array_equal(loaded.normaliser.functional_sd, tiny_bundle.normaliser.functional_sd)
    np.testing.assert_array_equal(loaded.novelty.directions, novelty.directions)
    assert loaded.identity == f"fünf@{loaded.digest[:8]}"


@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_any_changed_byte_of_any_file_is_found(copy: Path, position: float) -> None:
    hashed = sorted(path for path in copy.iterdir() if path.name != MANIFEST)
    assert {MODEL, NORMALISER, TRAINING_LIST, "README.md"} <= {path.name for path in hashed}
    for path in hashed:
        content = path.read_bytes()
        changed = bytearray(content)
        changed[round(position * (len(content) - 1))] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BundleError, match=rf"{path.name}: its SHA-256"):
            load_bundle(copy)
        path.write_bytes(content)
    load_bundle(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    for path in copy.iterdir():
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(BundleError, match=path.name):
            load_bundle(copy)
        path.write_bytes(content)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', "\udcff"])
def test_a_foreign_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match="copy: expected a"):
        load_bundle(copy)


def test_a_manifest_may_not_point_outside_the_bundle(copy: Path) -> None:
    files = json.loads((copy / MANIFEST).read_text())["files"]
    edit(copy, files={**files, "../secret": "00"})
    with pytest.raises(BundleError, match=r"\.\./secret"):
        load_bundle(copy)


@pytest.mark.parametrize("name", [MODEL, NORMALISER, TRAINING_LIST])
def test_a_manifest_must_vouch_for_every_file_that_is_used(copy: Path, name: str) -> None:
    files = json.loads((copy / MANIFEST).read_text())["files"]
    del files[name]
    edit(copy, files=files)
    with pytest.raises(BundleError, match=f"names no {name}"):
        load_bundle(copy)


@pytest.mark.parametrize("change", [{"features": {"n_mels": 3}}, {"labels": None}, {"features": None}, {"files": []}])
def test_facts_of_another_kind_are_refused(copy: Path, change: dict[str, object]) -> None:
    edit(copy, **change)
    with pytest.raises(BundleError):
        load_bundle(copy)


def test_a_manifest_without_a_fact_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["labels"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="labels"):
        load_bundle(copy)


def test_what_a_later_version_adds_to_the_manifest_is_ignored(copy: Path) -> None:
    edit(copy, mood="sunny")
    assert load_bundle(copy).facts.architecture == "speech-attention"


def test_a_changed_manifest_is_another_model(copy: Path, tiny_bundle: Bundle) -> None:
    edit(copy, temperature=9.0)
    assert load_bundle(copy).identity != tiny_bundle.identity


def test_no_model_by_that_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model nowhere: expected the folder of a bundle or a bundled model"):
        load_bundle("nowhere")
    with pytest.raises(BundleError, match=r"is not a model: expected a folder"):
        load_bundle(tmp_path)


def test_nothing_in_a_bundle_is_a_pickle(tiny_bundle: Bundle) -> None:
    for path in tiny_bundle.folder.iterdir():
        content = path.read_bytes()
        with pytest.raises(ValueError, match=r".+"):
            list(pickletools.genops(content))
    with np.load(tiny_bundle.folder / NORMALISER, allow_pickle=False) as arrays:
        assert all(array.dtype == np.float32 for array in arrays.values())


def test_a_bundled_model_is_found_by_its_name(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRETRAINED", copy.parent)
    assert bundled_models() == ["copy"]
    assert load_bundle("copy").folder == copy


def test_a_bundle_is_replaced_only_when_asked_to(copy: Path) -> None:
    with pytest.raises(ConfigError, match="already exists") as raised:
        check_new_bundle(copy, overwrite=False)
    assert raised.value.remedies == (Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    check_new_bundle(copy, overwrite=True)


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not a bundle"):
        check_new_bundle(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["sad", "sad", "happy", "angry"]}, "labels: expected each once"),
        ({"labels": ["sad"]}, "labels: expected a length from 2"),
        ({"labels": ["sad", 3]}, r"labels\[1\]: expected a text"),
        ({"temperature": 0.0}, "temperature: expected a value from 0.01"),
        ({"temperature": float("nan")}, "temperature: expected a number"),
        ({"temperature": "1"}, "temperature: expected a number"),
        ({"n_frames": 10**9}, "n_frames: expected a value from 1 to 100000"),
        ({"n_frames": True}, "n_frames: expected a whole number"),
        ({"name": "x" * 201}, "name: expected a length"),
        ({"metrics": {"validation": {"n": 1}}}, r"metrics\.validation\.protocol: expected a value, found none"),
        ({"metrics": []}, "metrics: expected a table"),
        ({"training": {"corpora": [{"name": "a", "utterances": -1, "speakers": 0}]}}, r"corpora\[0\]\.utterances"),
        ({"export": {"format": "pickle"}}, r"export\.format: expected one of litert, onnx"),
        ({"files": None}, "files: expected a table"),
        ({"files": ["model.tflite"]}, "files: expected a table"),
        ({"files": {str(number): "" for number in range(101)}}, "files: expected a table of at most 100"),
    ],
)
def test_every_field_has_a_type_and_a_range(copy: Path, change: dict[str, object], message: str) -> None:
    edit(copy, **change)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_mels", 100_000, "n_mels <= 512"),
        ("n_fft", 1 << 30, "at most 65536"),
        ("sample_rate", 10**9, "between 10000 and 768000 Hz"),
        ("window_s", 1e9, "window_s between"),
    ],
)
def test_features_that_would_take_all_memory_are_refused(copy: Path, name: str, value: float, message: str) -> None:
    features = json.loads((copy / MANIFEST).read_text())["features"]
    edit(copy, features={**features, name: value})
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_a_manifest_that_is_nested_too_deeply_or_too_large_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(BundleError, match=r"readable bundle\.json"):
        load_bundle(copy)
    with (copy / MANIFEST).open("wb") as stream:
        stream.truncate(1 << 33)  # a hole: nothing is written, and nothing may be read
    with pytest.raises(BundleError, match="expected at most 8,388,608 bytes"):
        load_bundle(copy)


def test_a_special_file_is_never_waited_for(copy: Path) -> None:
    (copy / MODEL).unlink()
    os.mkfifo(copy / MODEL)
    with pytest.raises(BundleError, match=r"model\.tflite: expected a regular file"):
        load_bundle(copy)


def with_normaliser(copy: Path, **arrays: object) -> None:
    """Replace the normaliser, its digest made right."""
    np.savez(copy / NORMALISER, **arrays)
    files = json.loads((copy / MANIFEST).read_text())["files"]
    edit(copy, files={**files, NORMALISER: hashlib.sha256((copy / NORMALISER).read_bytes()).hexdigest()})


def test_a_normaliser_is_finite_positive_and_fits_the_features(copy: Path) -> None:
    with np.load(copy / NORMALISER) as content:
        good = dict(content)
    for change, message in (
        ({"mel_sd": 0 * good["mel_sd"]}, "mel_sd: expected finite numbers, standard deviations above 0"),
        ({"functional_mean": np.nan * good["functional_mean"]}, "functional_mean: expected finite numbers"),
        ({"mel_mean": good["mel_mean"][1:]}, "normaliser: expected arrays of the shapes"),
        ({"mel_mean": np.array([{}], dtype=object)}, "expected a normaliser"),
        ({"mel_mean": np.zeros(1 << 20)}, "expected a normaliser"),
    ):
        with_normaliser(copy, **{**good, **change})
        with pytest.raises(BundleError, match=message):
            load_bundle(copy)


def test_a_step_that_the_manifest_does_not_vouch_for_is_no_part_of_the_bundle(copy: Path) -> None:
    (copy / "step.tflite").write_bytes(b"anything")
    assert not load_bundle(copy).causal


def test_arrays_that_claim_more_than_they_hold_are_never_allocated(copy: Path) -> None:
    path = copy / "weights.npz"
    header = np.lib.format.magic(1, 0)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("0000.npy", header + len(text).to_bytes(2, "little") + text + bytes(8))
    bundle = Bundle(copy, load_bundle(DEFAULT_MODEL).facts, "")
    with pytest.raises(BundleError, match=r"weights\.npz: expected the weights"):
        bundle.weights()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("0000.npy", bytes(300 << 20))  # 300 MB in 300 kB
    with pytest.raises(BundleError, match=r"weights\.npz: expected the weights"):
        bundle.weights()
