from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from serctl.bundle import store as module

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from serctl.bundle.store import Bundle


def test_the_list_names_models_and_architectures(
    serctl: Any, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_bundle.folder, tmp_path / module.DEFAULT_MODEL)
    monkeypatch.setattr(module, "_PRETRAINED", tmp_path)
    result = serctl("models", "list")
    assert result.code == 0
    assert "  serctl-base (default): angry, happy, neutral, sad; weights CC0-1.0" in result.stdout
    assert "Architectures: speech-attention, speech, hybrid" in result.stdout


def test_the_card_of_a_model(serctl: Any, tiny_bundle: Bundle) -> None:
    result = serctl("models", "info", tiny_bundle.folder)
    assert result.code == 0
    assert (tiny_bundle.folder / "README.md").read_text().splitlines()[0] in result.stdout
    assert f"{tiny_bundle.identity}: every file verified" in result.stdout


def test_a_damaged_model_is_refused(serctl: Any, tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bundle.folder, tmp_path / "m")
    (folder / "README.md").write_text("another card")
    result = serctl("models", "info", folder)
    assert (result.code, result.stdout) == (2, "")
    assert "README.md: its SHA-256 is not the one in bundle.json" in result.stderr
