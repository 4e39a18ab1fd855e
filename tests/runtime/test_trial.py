"""A network that is not what its bundle says, or that crashes, ends as one error."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from serctl.bundle.facts import MANIFEST, MODEL
from serctl.bundle.store import DEFAULT_MODEL, LIVE_MODEL, load_bundle
from serctl.errors import BundleError
from serctl.runtime.recogniser import Recogniser
from serctl.runtime.trial import try_network

if TYPE_CHECKING:
    from pathlib import Path


def forged(name: str, folder: Path, *, model: bytes | None = None, **changes: Any) -> Path:
    """A copy of a bundled model with another network or other facts, its digests made right."""
    shutil.copytree(load_bundle(name).folder, folder)
    if model is not None:
        (folder / MODEL).write_bytes(model)
    manifest = {**json.loads((folder / MANIFEST).read_text()), **changes}
    manifest["files"][MODEL] = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def with_crash(folder: Path) -> Path:
    """A copy of the bundled model whose network crashes the interpreter."""
    content = bytearray((load_bundle(DEFAULT_MODEL).folder / MODEL).read_bytes())
    content[16] = 0
    return forged(DEFAULT_MODEL, folder, model=bytes(content))


def test_a_network_that_crashes_is_one_error(tmp_path: Path) -> None:
    bundle = load_bundle(with_crash(tmp_path / "m"))
    with pytest.raises(BundleError, match=r"m: the network cannot be run: it crashes the process \(SIG"):
        try_network(bundle)


def test_predict_ends_before_any_work_with_a_network_that_crashes(serctl: Any, samples: Path, tmp_path: Path) -> None:
    folder = with_crash(tmp_path / "m")
    result = serctl("predict", samples, "--model", folder, "-o", tmp_path / "o.csv", "--jobs", 2)
    assert result.code == 2
    assert result.stderr.count("the network cannot be run") == 1
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("name", [DEFAULT_MODEL, LIVE_MODEL])
def test_a_good_network_passes(name: str, tmp_path: Path) -> None:
    try_network(load_bundle(forged(name, tmp_path / "m")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["sad", "happy"]}, r"probabilities: expected the shape \(1, 2\) of bundle\.json"),
        ({"n_frames": 299}, r"log_mel: expected the shape \(1, 299, 64\)"),
    ],
)
def test_a_network_of_other_shapes_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    bundle = load_bundle(forged(LIVE_MODEL, tmp_path / "m", **changes))
    for check in (try_network, Recogniser):
        with pytest.raises(BundleError, match=message):
            check(bundle)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.tflite: LiteRT cannot load it"):
        try_network(load_bundle(forged(DEFAULT_MODEL, tmp_path / "m", model=b"TFL3 and nothing more")))


def test_nothing_of_the_current_folder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(forged(DEFAULT_MODEL, tmp_path / "m"))
    for name in ("numpy", "json", "serctl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    try_network(bundle)


def test_no_process_is_started_for_a_bundled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    try_network(load_bundle(DEFAULT_MODEL))


def test_a_bundle_that_passed_is_tried_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = forged(DEFAULT_MODEL, tmp_path / "m")
    try_network(load_bundle(folder))
    with monkeypatch.context() as without_processes:
        without_processes.setattr("subprocess.run", None)
        try_network(load_bundle(folder))
    shutil.rmtree(folder)
    for _ in range(2):  # one that failed is tried again, too
        with pytest.raises(BundleError, match="crashes the process"):
            try_network(load_bundle(with_crash(folder) if not folder.exists() else folder))
