from __future__ import annotations

import json
import pickletools
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.bundle import store as module
from serctl.bundle.facts import MANIFEST, MODEL, NORMALISER, TRAINING_LIST, TrainingEntry
from serctl.bundle.store import bundled_models, check_new_bundle, load_bundle, write_bundle
from serctl.errors import BundleError, ConfigError, Remedy

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle.folder, tmp_path / "copy")


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_bundle_keeps_what_it_was_written_with(tiny_bundle: Bundle, tmp_path: Path) -> None:
    facts = replace(tiny_bundle.facts, name="fünf", attribution=("A & B 2020",), temperature=1.25)
    entries = [
        TrainingEntry("ab", "corpus", "sp, 1", "sad", "train"),
        TrainingEntry("cd", "c", "", "happy", "validation"),
    ]
    weights = [np.full((2, 3), number / 3, np.float32) for number in range(12)]
    normaliser = tiny_bundle.normaliser
    write_bundle(tmp_path, facts, model=b"net", weights=weights, normaliser=normaliser, training=entries, card="# Card")
    loaded = load_bundle(tmp_path)
    assert loaded.facts == facts
    assert loaded.training_list() == entries
    assert loaded.model_path.read_bytes() == b"net"
    for kept, given in zip(loaded.weights(), weights, strict=True):
        assert kept.dtype == np.float16
        np.testing.assert_allclose(kept, given, rtol=1e-3)
    np.testing.assert_array_equal(loaded.normaliser.functional_sd, tiny_bundle.normaliser.functional_sd)
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
def test_facts_of_another_make_are_refused(copy: Path, change: dict[str, object]) -> None:
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
    assert load_bundle(copy).facts.architecture == "hybrid"


def test_a_changed_manifest_is_another_model(copy: Path, tiny_bundle: Bundle) -> None:
    edit(copy, temperature=9.0)
    assert load_bundle(copy).identity != tiny_bundle.identity


def test_no_model_by_that_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model nowhere: expected the folder of a bundle or a bundled model"):
        load_bundle("nowhere")
    with pytest.raises(BundleError, match=r"readable bundle\.json"):
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
