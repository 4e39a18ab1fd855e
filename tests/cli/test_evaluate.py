from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from serctl.models import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache


def test_a_model_is_scored_and_stamped(
    serctl: Any, samples: Path, tiny_bundle: Bundle, shared_cache: Cache, tmp_path: Path
) -> None:
    common = ("evaluate", samples, "--model", tiny_bundle.folder, "-o", tmp_path / "e", "--jobs", 1)
    result = serctl(*common, "--cache-dir", shared_cache.folder)
    assert (result.code, result.stdout) == (0, "")
    assert "UAR" in result.stderr
    assert "Leaky: 16 test recordings were also trained on" in result.stderr
    assert f"evaluation: {tmp_path / 'e'}/report.md" in result.stderr
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["model"] == tiny_bundle.identity
    again = serctl(*common)
    assert (again.code, "--overwrite" in again.stderr) == (2, True)
    quiet = serctl(*common, "--overwrite", "--quiet", "--cache-dir", shared_cache.folder)
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.usefixtures("tensorflow")
def test_an_architecture_is_scored_by_cross_validation(
    serctl: Any, samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    manifest = tmp_path / "parts.csv"
    rows = [(path, *path.stem.split("-")) for path in sorted(samples.glob("*-[hs]a*.flac"))]
    lines = [f"{path},{emotion},{who},{'test' if who == 'tom' else 'train'}" for path, who, emotion in rows]
    manifest.write_text("\n".join(["path,emotion,speaker,split", *lines]))
    small = ("--epochs", 1, "--batch-size", 4, "--copies", 0, "--classes", "happy,sad", "--validation-share", 0.5)
    where = ("-o", tmp_path / "e", "--cache-dir", shared_cache.folder, "--jobs", 1)
    result = serctl("evaluate", manifest, "--arch", "hybrid", "--protocol", "split", *small, *where)
    assert (result.code, result.stdout) == (0, "")
    assert "fold 1 of 1 (split): 4 to train, 2 to test" in result.stderr
    assert "Speaker-independent: training and test share no speaker" in result.stderr
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["protocol"]["name"] == "split"
    assert metrics["command"].startswith(f"serctl evaluate {manifest} --arch hybrid")
    assert not (tmp_path / "e.partial").exists()


def test_the_bundled_model_is_scored_by_default(serctl: Any, samples: Path, tmp_path: Path) -> None:
    assert serctl("evaluate", samples, "-o", tmp_path / "e").code == 0
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["model"].startswith("serctl-base@")


def test_what_is_left_out_is_said(serctl: Any, samples: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    recordings = iter(sorted(samples.glob("*.flac")))
    for emotion in ("happy", "sad", "boredom"):
        (tmp_path / "corpus" / emotion).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "corpus" / emotion / f"{number}.flac").write_bytes(next(recordings).read_bytes())
    again = (tmp_path / "corpus" / "sad" / "0.flac").read_bytes()
    (tmp_path / "corpus" / "sad" / "again.flac").write_bytes(again)
    result = serctl("evaluate", tmp_path / "corpus", "--model", tiny_bundle.folder, "-o", tmp_path / "e", "--jobs", 1)
    left_out = "left out: 2 utterances of other classes, 1 utterance whose recording is there already"
    assert left_out in result.stderr
    assert left_out.capitalize() in (tmp_path / "e" / "report.md").read_text()


def with_unreadable(manifest: Path) -> Path:
    """The manifest with a recording more, which is no audio."""
    (manifest.parent / "bad.wav").write_text("no audio")
    manifest.write_text(manifest.read_text() + f"\n{manifest.parent / 'bad.wav'},sad,emma")
    return manifest


def test_recordings_that_failed_are_in_the_exit_code(
    serctl: Any, manifest: Callable[..., Path], tiny_bundle: Bundle, shared_cache: Cache, tmp_path: Path
) -> None:
    corpus = with_unreadable(manifest(*HAPPY, "emma-sad", "tom-sad"))
    common = ("--model", tiny_bundle.folder, "-o", tmp_path / "e", "--jobs", 1, "--cache-dir", shared_cache.folder)
    result = serctl("evaluate", corpus, *common)
    assert (result.code, "left out: 1 recording that failed\n" in result.stderr) == (3, True)
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["n"] == 6
    quiet = serctl("evaluate", corpus, *common, "--overwrite", "--quiet")
    assert (quiet.code, quiet.stderr) == (3, "error: 1 recording could not be read\n")


@pytest.mark.parametrize(
    "arguments",
    [["--arch", "hybrid"], ["--protocol", "loso"], ["--model", "m", "--arch", "hybrid", "--protocol", "loso"]],
)
def test_either_a_model_or_an_architecture_with_a_protocol(
    serctl: Any, samples: Path, tmp_path: Path, arguments: list[str]
) -> None:
    result = serctl("evaluate", samples, "-o", tmp_path / "e", *arguments)
    assert result.code == 2
    assert "expected either --model MODEL, or --arch NAME together with --protocol NAME" in result.stderr


def test_adapt_takes_no_value(serctl: Any, samples: Path, tmp_path: Path) -> None:
    result = serctl("evaluate", samples, "--adapt", "auto", "-o", tmp_path / "e")
    assert (result.code, "evaluate --adapt takes no value" in result.stderr) == (2, True)


HAPPY = ("emma-happy", "tom-happy", "jana-happy", "marek-happy")


@pytest.fixture
def cross_validate(serctl: Any, shared_cache: Cache, tmp_path: Path, tensorflow: None) -> Callable[..., Any]:
    """Evaluate mfcc speaker by speaker into the folder e."""
    quick = ("--epochs", 1, "--batch-size", 4, "--copies", 0, "--validation-share", 0.3, "--jobs", 1)
    where = ("-o", tmp_path / "e", "--cache-dir", shared_cache.folder)
    return lambda *arguments: serctl("evaluate", *arguments, "--arch", "mfcc", "--protocol", "loso", *quick, *where)


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        ((*HAPPY, "emma-sad", "tom-sad"), {"speaker": "one"}, "loso needs at least 2 speakers. Found: corpus/one"),
        ((*HAPPY, "emma-sad", "tom-sad"), {"speaker": ""}, "needs the speaker of every utterance; 6 of 6 have none"),
        (HAPPY, {}, "needs at least two emotions. Found: happy"),
        ((*HAPPY, "emma-sad"), {}, "--classes chooses emotions, --map renames them"),
    ],
)
def test_a_corpus_that_does_not_suffice_is_refused(
    cross_validate: Callable[..., Any],
    manifest: Callable[..., Path],
    tmp_path: Path,
    names: tuple[str, ...],
    columns: dict[str, str],
    message: str,
) -> None:
    result = cross_validate(manifest(*names, **columns))
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not list(tmp_path.glob("e*"))


def test_a_class_of_two_utterances_is_evaluated(
    cross_validate: Callable[..., Any], manifest: Callable[..., Path], tmp_path: Path
) -> None:
    result = cross_validate(with_unreadable(manifest(*HAPPY, "emma-sad", "tom-sad")))
    assert result.code == 3
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert {name: each["n"] for name, each in metrics["per_class"].items()} == {"happy": 4, "sad": 2}


def test_an_unknown_architecture_lists_those_there_are(
    serctl: Any, samples: Path, tmp_path: Path, tensorflow: None
) -> None:
    result = serctl("evaluate", samples, "--arch", "perceptron", "--protocol", "loso", "-o", tmp_path / "e")
    assert (result.code, result.stdout) == (2, "")
    assert f"no architecture perceptron: expected one of {', '.join(ARCHITECTURES)}" in result.stderr
    assert not list(tmp_path.glob("e*"))


@pytest.mark.usefixtures("tensorflow")
def test_an_unknown_protocol_lists_those_there_are(
    serctl: Any, samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    options = ("--arch", "hybrid", "--protocol", "magic", "--copies", 0, "--cache-dir", shared_cache.folder)
    result = serctl("evaluate", samples, "-o", tmp_path / "e", *options, "--jobs", 1)
    assert result.code == 2
    assert "unknown protocol 'magic': expected one of loso" in result.stderr
    assert "tensorflow" in sys.modules
