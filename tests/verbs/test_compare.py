from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.bundle.store import load_bundle
from serctl.errors import ConfigError
from serctl.learning.options import LabelOptions
from serctl.reports.markdown import comparison_page
from serctl.reports.schema import Column
from serctl.reports.tables import read_report, write_report
from serctl.run import Run
from serctl.verbs.compare import compare
from serctl.verbs.evaluate import evaluate_model
from serctl.verbs.suspects import find_suspects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conftest import Serctl

    from serctl.bundle.store import Bundle

EMOTIONS = ("happy", "sad")


def evaluation(folder: Path, right: Sequence[bool], emotions: Sequence[str] = EMOTIONS, **columns: Any) -> Path:
    """An evaluation of as many utterances, two of each recording, ten of each speaker, as `serctl evaluate` writes."""
    folder.mkdir()
    count = len(right)
    truth = [emotions[index % 2] for index in range(count)]
    predicted = [
        each if good else emotions[1 - index % 2] for index, (each, good) in enumerate(zip(truth, right, strict=True))
    ]
    table = {
        "path": [f"{index // 2}.wav" for index in range(count)],
        "corpus": ["c"] * count,
        "speaker": [f"s{index // 10}" for index in range(count)],
        "emotion": truth,
        "predicted": predicted,
        **{f"p_{emotion}": [0.9 if each == emotion else 0.1 for each in predicted] for emotion in emotions},
        **columns,
    }
    kinds = [Column(name, "float64" if name.startswith("p_") else "text") for name in table]
    write_report(folder / "predictions.parquet", columns=kinds, tables=[table])
    return with_metrics(folder, {"uar": 0.5, "wa": 0.5, "macro_f1": 0.5, "ece": None})


def with_metrics(folder: Path, scores: Mapping[str, float | None], **leakage: int) -> Path:
    protocol = {"name": "loso", "description": "left out"}
    group = {"n": 80, **dict.fromkeys(scores, 0.5)}
    about = {"n": 80, "intervals": {}, "per_speaker": {"s0": group}, **scores}
    (folder / "metrics.json").write_text(json.dumps({"protocol": protocol, "leakage": leakage, **about}))
    return folder


def trained_on(folder: Path, **leakage: int) -> Path:
    """The evaluation, now of what was trained on."""
    facts = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**facts, "leakage": leakage}))
    return folder


def test_labels_that_the_predictions_doubt_are_listed(tmp_path: Path, serctl: Serctl) -> None:
    right = [True] * 80
    right[7] = right[30] = False
    folder = evaluation(tmp_path / "a", right)
    assert serctl("corpus", "suspects", str(folder), "-o", str(tmp_path / "s.csv")).code == 0
    rows = read_report(tmp_path / "s.csv")
    assert [(row["path"], row["emotion"], row["suggested"]) for row in rows] == [
        ("3.wav", "sad", "happy"),
        ("15.wav", "happy", "sad"),
    ]
    assert [row["margin"] for row in rows] == [-0.8, -0.8]
    assert "exists: --overwrite" in serctl("corpus", "suspects", str(folder), "-o", str(tmp_path / "s.csv")).stderr
    shown = serctl("corpus", "suspects", str(folder))
    assert (shown.stdout, "2 doubtful labels" in shown.stderr) == ((tmp_path / "s.csv").read_text(), True)


def test_predictions_of_what_was_trained_on_doubt_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"5 of the recordings were trained on: expected a cross-validation"):
        find_suspects(trained_on(evaluation(tmp_path / "a", flags(0.5)), identical_audio=5))
    (tmp_path / "a" / "metrics.json").unlink()
    with pytest.raises(ConfigError, match=r"is no evaluation: metrics\.json"):
        find_suspects(tmp_path / "a")


def flags(share: float, count: int = 80, seed: int = 0) -> list[bool]:
    return (np.random.default_rng(seed).random(count) < share).tolist()


def test_the_better_one_is_told_from_the_worse(tmp_path: Path, serctl: Serctl) -> None:
    worse, better = flags(0.5), flags(0.9, seed=1)
    folders = [evaluation(tmp_path / "a", worse), evaluation(tmp_path / "b", better)]
    (found,) = compare(folders)
    assert (found.utterances, found.left_out) == (80, 0)
    assert found.scores["wa"].first == pytest.approx(np.mean(worse))
    assert found.scores["wa"].second == pytest.approx(np.mean(better))
    assert found.scores["wa"].p_value < 0.05
    assert found.disagreements == (
        sum(one and not other for one, other in zip(worse, better, strict=True)),
        sum(other and not one for one, other in zip(worse, better, strict=True)),
    )
    assert set(found.per_class) == set(EMOTIONS)
    gaps = [abs(other - one) for one, other in found.per_speaker.values()]
    assert gaps == sorted(gaps, reverse=True)
    assert found.per_speaker["c s0"] == (np.mean(worse[:10]), np.mean(better[:10]))

    shown = serctl("compare", *map(str, folders))
    assert (shown.code, shown.stdout) == (0, comparison_page(found))
    assert f"| WA % | {100 * np.mean(worse):.1f} | {100 * np.mean(better):.1f} |" in shown.stdout


@pytest.mark.parametrize(
    ("leakage", "warning"),
    [
        ({"identical_audio": 76}, "Leaky: 76 test recordings were also trained on"),
        ({"speakers_shared": 4}, "Speaker-dependent: 4 speakers were also trained on"),
        ({"training_without_speaker": 1}, "Speakers are not known"),
    ],
)
@pytest.mark.parametrize("numbers", [False, True])
def test_each_side_says_what_it_shares_with_its_training(
    tmp_path: Path, serctl: Serctl, leakage: dict[str, int], warning: str, numbers: bool
) -> None:
    names = [tmp_path / name for name in ("a", "b", "c")]
    fair, unfair, other = (
        evaluation_of_numbers(name, 0.2) if numbers else evaluation(name, flags(0.5)) for name in names
    )
    shown = serctl("compare", fair, trained_on(unfair, **leakage), other, "-q")
    assert shown.stdout.count(f"- First, {fair}: Speaker-independent: ") == 2
    assert f"- Second, {unfair}: **{warning}" in shown.stdout
    assert f"- Second, {other}: Speaker-independent: " in shown.stdout
    assert shown.stderr.startswith(f"{unfair}: {warning}")
    assert shown.stderr.count("\n") == 1


def test_each_other_one_is_compared_with_the_first(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / name, flags(share)) for name, share in (("a", 0.5), ("b", 0.6), ("c", 0.7))]
    assert [(Path(each.first).name, Path(each.second).name) for each in compare(folders)] == [("a", "b"), ("a", "c")]


def test_models_are_compared_on_a_corpus(serctl: Serctl, samples: Path, mfcc_bundle: Bundle, tmp_path: Path) -> None:
    done = serctl("compare", "serctl-fast", mfcc_bundle.folder, "--on", samples, "-q", "-j", 1)
    assert done.code == 0
    fast, other = load_bundle("serctl-fast"), mfcc_bundle
    assert done.stdout.startswith(f"# {other.identity} against {fast.identity}\n\n- First, {fast.identity}: ")
    assert "\n16 utterances." in done.stdout
    labels = LabelOptions(("neutral", "happy", "sad", "angry"))
    alone = evaluate_model([samples], model=fast, output=tmp_path / "fast", labels=labels, run=Run(jobs=1))
    assert f"| UAR % | {100 * alone.scores.uar:.1f} |" in done.stdout
    leaky = "Leaky: 16 test recordings were also trained on"
    assert f"{other.identity}: {leaky}" in done.stderr
    assert f"- Second, {other.identity}: **{leaky}" in done.stdout
    assert "expected two models or more" in serctl("compare", "serctl-fast", "--on", samples).stderr


def test_utterances_of_one_alone_are_left_out(tmp_path: Path) -> None:
    (found,) = compare([evaluation(tmp_path / "a", flags(0.5, 80)), evaluation(tmp_path / "b", flags(0.5, 60))])
    assert (found.utterances, found.left_out) == (60, 20)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", flags(0.5))
    with pytest.raises(ConfigError, match=r"expected two evaluations or more\. Received: 1"):
        compare([first])
    with pytest.raises(ConfigError, match="nothing is no evaluation"):
        compare([first, tmp_path / "nothing"])
    with pytest.raises(ConfigError, match="expected evaluations of the same emotions"):
        compare([first, evaluation(tmp_path / "b", flags(0.5), ("happy", "calm"))])
    with pytest.raises(ConfigError, match="other labels for the same utterances"):
        compare([first, evaluation(tmp_path / "c", flags(0.5), ("sad", "happy"))])
    with pytest.raises(ConfigError, match="no utterance in common"):
        compare([first, evaluation(tmp_path / "d", flags(0.5), path=[f"other{n}.wav" for n in range(80)])])


def evaluation_of_numbers(folder: Path, off: float, silent: Sequence[int] = ()) -> Path:
    """Numbers that are off by as much at every second utterance, and by half of it at the others."""
    folder.mkdir()
    truth = [index / 10 for index in range(40)]
    table = {
        "path": [f"{index}.wav" for index in range(40)],
        "corpus": ["c"] * 40,
        "speaker": [f"s{index // 10}" for index in range(40)],
        "truth": truth,
        "predicted": [None if index in silent else each + off / (1 + index % 2) for index, each in enumerate(truth)],
    }
    kinds = [Column(name, "float64" if name in ("truth", "predicted") else "text") for name in table]
    write_report(folder / "predictions.parquet", columns=kinds, tables=[table])
    folder = with_metrics(folder, {"mae": 0.2, "ccc": None, "pearson": None})
    facts = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**facts, "target": "mood"}))
    return folder


def test_numbers_are_compared_where_both_answer(tmp_path: Path, serctl: Serctl) -> None:
    near = evaluation_of_numbers(tmp_path / "near", 0.2, silent=[3])
    far = evaluation_of_numbers(tmp_path / "far", -0.8)
    (found,) = compare([near, far])
    assert (found.utterances, found.left_out, found.disagreements) == (39, 1, (39, 0))
    assert found.scores["mae"].first == pytest.approx((0.2 * 20 + 0.1 * 19) / 39)
    assert found.scores["mae"].difference > 0.4
    assert found.per_speaker["c s1"] == pytest.approx((0.15, 0.6))
    ended = serctl("compare", near, far)
    assert ended.code == 0
    assert "| MAE | 0.151 | 0.605 | +0.454 " in ended.stdout
    assert "Nearer in the first: 39 utterances; in the second: 0." in ended.stdout
    assert "recall" not in ended.stdout
    emotions = evaluation(tmp_path / "emotions", [True] * 40)
    with pytest.raises(ConfigError, match=r"same emotions\. Received: numbers, and happy, sad"):
        compare([near, emotions])
