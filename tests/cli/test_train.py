from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.audio.find import Recording
from serctl.bundle.store import load_bundle
from serctl.cli._flags import Given
from serctl.cli._learning import make_recipe, next_use
from serctl.cli.train import only_answer
from serctl.learning.options import FitOptions
from serctl.learning.recipe import Recipe
from serctl.metrics import score
from serctl.run import Run
from serctl.verbs.predict import predict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache

SMALL = ("--epochs", "1", "--batch-size", "4", "--copies", "0", "--classes", "happy,sad", "--jobs", "1", "--seed", "2")


def probabilities(bundle: Bundle, samples: Path, cache: Cache) -> np.ndarray:
    tables: list[dict[str, Any]] = []
    found = [Recording(path) for path in sorted(samples.glob("*.flac"))]
    predict(found, model=bundle, run=Run(cache), on_table=tables.append)
    return np.array([[table[f"p_{label}"][0] for label in bundle.facts.labels] for table in tables])


def test_a_seed_reproduces_a_training(
    serctl: Any, samples: Path, tiny_bundle: Bundle, shared_cache: Cache, tmp_path: Path
) -> None:
    output = tmp_path / "m"
    fit = ("--epochs", 2, "--patience", 15, "--batch-size", 4, "--copies", 1, "--validation-share", 0.25, "--seed", 3)
    about = ("--name", "moods", "--licence", "CC0-1.0", "--cache-dir", shared_cache.folder, "--jobs", 1)
    result = serctl("train", samples, "-o", output, *fit, "--arch", "hybrid", *about)
    assert (result.code, result.stdout) == (0, "")
    assert "epoch   1/2" in result.stderr
    assert "Trained hybrid" in result.stderr
    assert f"serctl predict RECORDINGS --model {output}" in result.stderr
    again = load_bundle(output)
    assert (again.facts.name, again.facts.licence) == ("moods", "CC0-1.0")
    assert again.facts.training.command.startswith(f"serctl train {samples} -o {output} --epochs 2")
    assert again.facts.training.fit == tiny_bundle.facts.training.fit
    assert again.facts.training.list_digest == tiny_bundle.facts.training.list_digest
    expected = probabilities(tiny_bundle, samples, shared_cache)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(probabilities(again, samples, shared_cache), expected, atol=1e-4)


@pytest.mark.parametrize(("answers", "only"), [([1, 1, 1, 1], "sad"), ([1, 1, 0, 1], None)])
def test_a_model_with_one_answer_for_everything_is_found_out(answers: list[int], only: str | None) -> None:
    probabilities = np.full((4, 3), 0.1)
    probabilities[np.arange(4), answers] = 0.8
    scores = score(np.array([0, 1, 2, 0]), probabilities, classes=("happy", "sad", "angry"), groups=None, seed=0)
    assert only_answer(scores) == only


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "perceptron"], "no architecture perceptron: expected one of speech-attention, speech, hybrid"),
        (["--classes", "happy,angst"], "expected an emotion among neutral, calm, happy"),
        (["--map", "calm"], "--map: expected FROM=TO, such as calm=neutral. Received: calm"),
        (["--speed", "fast"], "--speed: expected LOW:HIGH"),
        (["--classes", "sad"], "at least two emotions"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "0"], "expected --lr above 0"),
        (["--validation-share", "0.9"], "--validation-share"),
    ],
)
@pytest.mark.usefixtures("tensorflow")
def test_wrong_usage_is_exit_code_2(
    serctl: Any, samples: Path, shared_cache: Cache, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = serctl("train", samples, "-o", tmp_path / "m", "--cache-dir", shared_cache.folder, *arguments, "--jobs", 1)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not list(tmp_path.glob("m*"))


QUICK = ("--arch", "mfcc", "--epochs", 1, "--batch-size", 4, "--copies", 0, "--validation-share", 0.25, "--jobs", 1)
HAPPY = ("emma-happy", "tom-happy", "jana-happy", "marek-happy")


@pytest.fixture
def train(serctl: Any, shared_cache: Cache, tmp_path: Path, tensorflow: None) -> Callable[..., Any]:
    """Train into the folder m."""
    return lambda *arguments: serctl("train", *arguments, "-o", tmp_path / "m", "--cache-dir", shared_cache.folder)


def test_a_corpus_of_one_speaker_is_divided_at_random_and_failures_are_in_the_exit_code(
    train: Callable[..., Any], manifest: Callable[..., Path], tmp_path: Path
) -> None:
    names = ("emma-happy", "emma-sad", "tom-happy", "tom-sad")
    corpus = manifest(*names, speaker="the one")
    (tmp_path / "bad.wav").write_text("no audio")
    corpus.write_text(corpus.read_text() + f"\n{tmp_path / 'bad.wav'},sad,the one")
    result = train(corpus, *QUICK)
    assert (result.code, "1 problem in the corpora:\n" in result.stderr) == (3, True)
    assert (
        "held out: 2 utterances (happy 1, sad 1); random utterances, since no corpus has two speakers" in result.stderr
    )
    validation = load_bundle(tmp_path / "m").facts.metrics["validation"].protocol
    assert not validation.speaker_independent


def test_a_corpus_of_one_class_is_refused(
    train: Callable[..., Any], manifest: Callable[..., Path], tmp_path: Path
) -> None:
    result = train(manifest(*HAPPY), *QUICK)
    assert (result.code, result.stdout) == (2, "")
    assert "expected utterances of at least two emotions, found happy 4" in result.stderr
    assert not list(tmp_path.glob("m*"))


@pytest.mark.parametrize("names", [("emma-sad", "tom-sad"), ("emma-sad", "emma-angry")])
def test_a_class_of_two_utterances_is_enough(
    train: Callable[..., Any], manifest: Callable[..., Path], tmp_path: Path, names: tuple[str, str]
) -> None:
    # In the second case all that is sad or angry, here called sad, is of one speaker.
    result = train(manifest(*HAPPY, *names), *QUICK, "--map", "angry=sad")
    assert result.code == 0
    bundle = load_bundle(tmp_path / "m")
    assert bundle.facts.labels == ("happy", "sad")
    assert "sad" in {entry.emotion for entry in bundle.training_list() if entry.part == "train"}


def test_a_class_of_one_utterance_is_refused_with_what_to_do(
    train: Callable[..., Any], manifest: Callable[..., Path]
) -> None:
    result = train(manifest(*HAPPY, "emma-sad"), *QUICK)
    assert result.code == 2
    assert "too few of sad (1): found happy 4, sad 1: --classes chooses emotions, --map renames them" in result.stderr


def test_going_on_takes_the_architecture_of_the_model(
    train: Callable[..., Any], samples: Path, mfcc_bundle: Bundle, tmp_path: Path
) -> None:
    few = ("--epochs", 1, "--copies", 0, "--classes", "happy,sad", "--jobs", 1)
    result = train(samples, "--from", mfcc_bundle.folder, *few)
    assert result.code == 0
    assert "Trained mfcc" in result.stderr
    assert re.search(r"training on \w+:0 \(\w+\)", result.stderr)
    facts = load_bundle(tmp_path / "m").facts
    assert facts.labels == mfcc_bundle.facts.labels
    assert (facts.training.fit["lr"], facts.training.shared) == (5e-4, 8)
    assert facts.temperature >= mfcc_bundle.facts.temperature
    assert facts.adapted_temperature == mfcc_bundle.facts.adapted_temperature
    (seen,) = facts.training.earlier
    assert (seen.utterances, seen.speakers) == (16, 4)
    validation = facts.metrics["validation"]
    assert validation.base_uar is not None
    leaked = validation.leakage.identical_audio
    assert f"UAR of the base on the held-out part {100 * validation.base_uar:.1f} %, {leaked} utterances of which" in (
        result.stderr
    )


def test_going_on_with_another_architecture_is_refused(
    train: Callable[..., Any], samples: Path, mfcc_bundle: Bundle, tmp_path: Path
) -> None:
    result = train(samples, "--from", mfcc_bundle.folder, "--arch", "cnn", "--copies", 0, "--jobs", 1)
    assert (result.code, result.stdout) == (2, "")
    assert "is of the architecture mfcc: expected the same for the new one. Received: cnn" in result.stderr
    assert not (tmp_path / "m").exists()


def test_languages_nobody_knows_cannot_be_told_apart(
    train: Callable[..., Any], manifest: Callable[..., Path], tmp_path: Path
) -> None:
    result = train(manifest(*HAPPY, "emma-sad", "tom-sad"), *QUICK, "--arch", "shared_private")
    assert (result.code, result.stdout) == (2, "")
    assert "shared_private tells languages apart: expected utterances whose language is known" in result.stderr
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / "m").exists()


def test_a_new_language_gets_an_adapter_and_the_rest_stays(
    train: Callable[..., Any], samples: Path, languages_bundle: Bundle, tmp_path: Path
) -> None:
    few = ("--epochs", 2, "--batch-size", 4, "--copies", 0, "--classes", "happy,sad", "--jobs", 1)
    result = train(samples, "--from", languages_bundle.folder, "--language", "xx", *few)
    assert result.code == 0
    grown = load_bundle(tmp_path / "m")
    assert grown.facts.languages == (*languages_bundle.facts.languages, "xx")
    assert grown.facts.labels == languages_bundle.facts.labels
    assert grown.facts.training.adapter_only
    before, after = languages_bundle.weights(), grown.weights()
    same = [
        mine.shape == theirs.shape and np.array_equal(mine, theirs) for mine, theirs in zip(before, after, strict=True)
    ]
    # What differs: kernel and bias of the adapter's first layer, kernel of its second, and the head of the languages.
    assert same.count(False) == 5


@pytest.mark.usefixtures("tensorflow")
def test_a_path_without_a_corpus_is_exit_code_2(serctl: Any, tmp_path: Path) -> None:
    result = serctl("train", tmp_path / "nowhere", "-o", tmp_path / "m")
    assert (result.code, "nowhere: no such folder or manifest" in result.stderr) == (2, True)


def test_ctrl_c_says_what_is_kept(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    output = tmp_path / "m"
    options = (*SMALL, "--epochs", "500", "--patience", "500", "--cache-dir", str(shared_cache.folder))
    command = [sys.executable, "-m", "serctl", "train", str(samples), "-o", str(output), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "epoch" in line)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
    assert "1/500" in line
    assert running.returncode == 130
    assert f"interrupted: {output}.partial keeps the finished epochs" in rest
    assert "--resume" in rest
    assert "Traceback" not in rest
    assert not output.exists()


def test_a_full_disk_is_one_line_that_names_the_file(serctl: Any, samples: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        result = serctl("train", samples, "-o", tmp_path / "m", *SMALL, "--arch", "mfcc", "--no-cache", "-q")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.code == 1
    (line,) = result.stderr.splitlines()
    assert "checkpoint.npz" in line
    assert f"{tmp_path / 'm'}.partial keeps the finished epochs; the same command with --resume" in line


def test_a_training_that_diverges_says_what_to_lower(
    serctl: Any, samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    options = (*SMALL, "--epochs", "50", "--arch", "mfcc", "--lr", "1e30", "--cache-dir", shared_cache.folder, "-q")
    result = serctl("train", samples, "-o", tmp_path / "m", *options)
    assert result.code == 2
    assert "expected a number. The learning rate 1e+30 is too high: --lr lowers it" in result.stderr
    assert list(tmp_path.glob("m*")) == []  # nothing that a run with another rate would trip over


@pytest.mark.parametrize(("causal", "command"), [(True, "stream FILE"), (False, "predict RECORDINGS")])
def test_the_next_command_is_one_that_runs_the_model(causal: bool, command: str, tmp_path: Path) -> None:
    assert next_use(tmp_path / "my model", causal=causal) == f"{command} --model '{tmp_path}/my model'"


def test_flags_that_are_not_given_suit_the_architecture() -> None:
    def options(architecture: str, epochs: int | None) -> FitOptions:
        typed = {"architecture": architecture, "epochs": epochs, "batch_size": 8, "lr": 1e-3, "seed": 1}
        return make_recipe(Given(typed), Recipe).fit

    assert not make_recipe(Given({"specaugment": False}), Recipe).fit.specaugment

    assert options("hybrid", None) == FitOptions(epochs=100, patience=40, batch_size=8, lr=1e-3, seed=1)
    assert options("hybrid", 7).epochs == 7
    assert options("lstm", None).epochs == FitOptions().epochs


def test_the_architecture_that_answers_new_speakers_best_is_the_default() -> None:
    recipe = make_recipe(Given({}), Recipe)
    assert (recipe.architecture, recipe.augmentation.degraded_copies) == ("speech-attention", 1)
