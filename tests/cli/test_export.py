from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from serctl.bundle.facts import Cost, Parity
from serctl.errors import DisagreementError
from serctl.verbs import export as module
from serctl.verbs.export import ExportResult

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.export.options import ExportOptions

pytestmark = pytest.mark.usefixtures("tensorflow")


def test_a_model_is_exported_and_predicts(serctl: Any, tiny_bundle: Bundle, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "m"
    compared = ("--verify", samples, "--min-agreement", 0.5, "--jobs", 1)
    options = ("--quantize", "dynamic", "--name", "pocket", *compared)
    result = serctl("export", tiny_bundle.folder, "-o", output, *options)
    assert (result.code, result.stdout) == (0, "")
    made = json.loads((output / "export.json").read_text())
    parity = made["parity"]
    assert f"{100 * parity['equal_labels']:.1f} % of the labels are equal" in result.stderr
    assert f"{parity['after']['size_bytes'] / 1e3:,.0f} KB" in result.stderr
    assert f"serctl predict RECORDINGS --model {output}" in result.stderr
    assert made["command"].startswith(f"serctl export {tiny_bundle.folder} -o {output} --quantize dynamic")
    predicted = serctl("predict", samples / "tom-sad.flac", "--model", output, "--jobs", 1)
    (row,) = csv.DictReader(predicted.stdout.splitlines())
    assert (predicted.code, row["status"]) == (0, "ok")
    assert row["model"].startswith("pocket@")


def test_too_few_equal_labels_are_exit_code_1(
    serctl: Any, tiny_bundle: Bundle, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disagree(*arguments: Any, **options: Any) -> Any:
        raise DisagreementError("40.0 % of the labels are equal", parity)

    cost = Cost(size_bytes=5000, ms_per_audio_s=0.1, peak_memory_mb=None, idle_memory_mb=None)
    parity = Parity(9, "samples", 0.5, 0.1, 0.4, labels=1, before=cost, after=cost)
    monkeypatch.setattr(module, "export", disagree)
    result = serctl("export", tiny_bundle.folder, "-o", tmp_path / "m", "--verify", samples, "--jobs", 1)
    assert (result.code, result.stdout) == (1, "")
    assert "error: 40.0 % of the labels are equal" in result.stderr
    assert "5 KB" in result.stderr
    assert "All of these windows have the same label" in " ".join(result.stderr.split())


def test_the_cost_of_a_front_end_is_shown(
    serctl: Any, tiny_bundle: Bundle, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/test_documented_commands.py makes one."""
    network, whole = (Cost(size, 0.125, None, None) for size in (5000, 7000))
    parity = Parity(9, "samples", 0.5, 0.1, 0.4, labels=2, before=network, after=whole)
    made = ExportResult(tmp_path, tiny_bundle.facts, parity, parity, (), causal=False)
    asked: list[ExportOptions] = []

    def export(*arguments: Any, options: ExportOptions, **others: Any) -> ExportResult:
        asked.append(options)
        return made

    monkeypatch.setattr(module, "export", export)
    model = tiny_bundle.folder
    result = serctl("export", model, "-o", tmp_path / "m", "--with-frontend", "--verify", samples)
    assert (result.code, result.stdout) == (0, "")
    assert [each.with_frontend for each in asked] == [True]
    assert "samples to probabilities, for 1 s of audio" in result.stderr
    assert "0.125 ms" in result.stderr
    assert "7 KB" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quantize", "int8"], "--calibrate DIR names recordings"),
        ([], "--verify DIR names recordings"),
        (["--verify", "nowhere"], "nowhere' does not exist"),
        (["--with-frontend"], "--verify DIR names recordings"),
        (["--with-frontend", "--verify", "."], "hybrid takes functionals"),
        (["--min-agreement", "2"], "2.0 is not in the range"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2(
    serctl: Any, tiny_bundle: Bundle, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = serctl("export", tiny_bundle.folder, "-o", tmp_path / "m", *arguments)
    assert (result.code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "m").exists()


def test_a_damaged_bundle_is_refused(serctl: Any, tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bundle.folder, tmp_path / "damaged")
    content = bytearray((folder / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.npz").write_bytes(content)
    result = serctl("export", folder, "-o", tmp_path / "m")
    assert (result.code, "weights.npz: its SHA-256 is not the one" in result.stderr) == (2, True)
    assert not (tmp_path / "m").exists()
