from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from serctl.bundle.facts import Cost, Parity
from serctl.errors import DisagreementError
from serctl.verbs import export as module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle

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


def test_too_few_equal_labels_are_exit_code_1_and_nothing_is_left(
    serctl: Any, tiny_bundle: Bundle, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disagree(*arguments: Any) -> Any:
        raise DisagreementError("40.0 % of the labels are equal", parity)

    cost = Cost(size_bytes=5000, ms_per_audio_s=0.1, peak_memory_mb=None, idle_memory_mb=None)
    parity = Parity(9, "samples", 0.5, 0.1, 0.4, labels=1, before=cost, after=cost)
    monkeypatch.setattr(module, "_compare", disagree)
    result = serctl("export", tiny_bundle.folder, "-o", tmp_path / "m", "--verify", samples, "--jobs", 1)
    assert (result.code, result.stdout) == (1, "")
    assert "error: 40.0 % of the labels are equal" in result.stderr
    assert "5 KB" in result.stderr
    assert "All of these windows have the same label" in " ".join(result.stderr.split())
    assert not (tmp_path / "m").exists()


def test_the_front_end_travels_along(
    serctl: Any, small_bundle: Callable[..., Bundle], samples: Path, tmp_path: Path
) -> None:
    model, output = small_bundle("cnn").folder, tmp_path / "m"
    result = serctl("export", model, "-o", output, "--with-frontend", "--verify", samples, "--min-agreement", 0)
    assert (result.code, result.stdout) == (0, "")
    made = json.loads((output / "export.json").read_text())["end_to_end"]
    cost = made["parity"]["after"]
    assert "samples to probabilities, for 1 s of audio" in result.stderr
    assert f"{cost['ms_per_audio_s']:.3f} ms" in result.stderr
    assert cost["size_bytes"] == (output / "end_to_end.tflite").stat().st_size
    assert serctl("predict", samples / "tom-sad.flac", "--model", output).code == 0


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
