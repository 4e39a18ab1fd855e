"""Early: how well the causal model judges after 0.5, 1, 2 and 3 s of speech, beside the offline model given as much.

RAVDESS in the six speaker-independent folds of EmoBox: for each, lstm --causal and hybrid are trained on the training
speakers (12 trainings, each done once, in runs/). A test recording is followed by `SpeechStream`, as `serctl stream`
does; what counts is the prediction so many seconds after speech began. hybrid hears the same stretch alone. A recording
that holds less speech is judged at its end; one without any prediction counts as wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import HERE, Comparison, make_parser, parse, print_table, save_result, say, serctl
from _runs import THREADS, WORK

from serctl.audio.segments import read_audio
from serctl.bundle.store import load_bundle
from serctl.corpora import load_corpora, make_protocol
from serctl.corpora.manifest import utterance_cells, write_manifest
from serctl.features import compute_features
from serctl.live.stream import SpeechStream
from serctl.metrics import confusion_matrix, uar
from serctl.runtime.recogniser import Recogniser
from serctl.runtime.step import StepRecogniser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.corpora import Fold, Utterance

PROTOCOL = "emobox-ravdess-6"
TIMES_S = (0.5, 1.0, 2.0, 3.0)
HOP_S = 0.1
# A recurrence learns slowly: as the bundled live model, it gets more epochs and a higher learning rate.
ARCHITECTURES = {
    "lstm": ("--arch", "lstm", "--causal", "--epochs", "80", "--lr", "0.004"),
    "hybrid": ("--arch", "hybrid"),
}
PLOT = HERE.parent / "docs" / "early.png"


def train(arch: str, fold: Fold, utterances: Sequence[Utterance], args: argparse.Namespace) -> Path:
    """The model of a fold, trained unless it is there."""
    folder = WORK / f"early-{arch}-{fold.name}"
    if (folder / "bundle.json").exists():
        return folder
    WORK.mkdir(exist_ok=True)
    manifest = WORK / f"early-{fold.name}.csv"
    write_manifest(manifest, (utterance_cells(utterances[index], WORK, None) for index in fold.train))
    limits = dict.fromkeys(THREADS, str(args.threads)) if args.threads else {}
    options = (*ARCHITECTURES[arch], "--seed", "0", "--resume", *(("--epochs", "2") if args.quick else ()))
    say(f"{folder.name}: training")
    subprocess.run(
        [serctl(), "train", str(manifest), "-o", str(folder), *options], env={**os.environ, **limits}, check=True
    )
    return folder


def early_answers(recogniser: StepRecogniser, samples: NDArray[np.float32]) -> tuple[list[int], float]:
    """The label (-1 for none) so many seconds after speech began, and the seconds of the recording before it began."""
    judged = [each for each in SpeechStream(recogniser).push(samples) if each.voiced]
    if not judged:
        return [-1] * len(TIMES_S), 0.0
    onset_s = judged[0].time_s - HOP_S
    answers = []
    for after_s in TIMES_S:
        so_far = [each for each in judged if each.time_s <= onset_s + after_s + 1e-6]
        answers.append(int(so_far[-1].probabilities.argmax()))
    return answers, onset_s


def offline_answers(recogniser: Recogniser, samples: NDArray[np.float32], onset_s: float) -> list[int]:
    """The label of the same stretches, each as a recording of its own."""
    config = recogniser.bundle.facts.features
    first = round(onset_s * config.sample_rate)
    stretches = [samples[first : first + round(after_s * config.sample_rate)] for after_s in TIMES_S]
    return [int(recogniser.probabilities([compute_features(stretch, config)])[0].argmax()) for stretch in stretches]


def judge_fold(models: dict[str, Path], test: Sequence[Utterance]) -> list[dict[str, Any]]:
    """Truth and answers for every test recording."""
    step = StepRecogniser(load_bundle(models["lstm"]))
    whole = Recogniser(load_bundle(models["hybrid"]))
    labels = {"lstm": step.bundle.facts.labels, "hybrid": whole.bundle.facts.labels}
    rows = []
    for utterance in test:
        samples = read_audio(utterance.path, sample_rate=step.bundle.facts.features.sample_rate)
        answers, onset_s = early_answers(step, samples)
        said = {"lstm": answers, "hybrid": offline_answers(whole, samples, onset_s)}
        named = {arch: [labels[arch][each] if each >= 0 else "" for each in said[arch]] for arch in said}
        rows.append({"emotion": utterance.emotion, "speaker": utterance.speaker, **named})
    return rows


def scores(rows: Sequence[dict[str, Any]], arch: str, classes: Sequence[str]) -> list[float]:
    """UAR in per cent by time; no answer is a wrong one."""
    found = []
    truth = np.array([classes.index(row["emotion"]) for row in rows])
    for position in range(len(TIMES_S)):
        said = [row[arch][position] for row in rows]
        wrong = [(classes.index(row["emotion"]) + 1) % len(classes) for row in rows]
        answers = np.array([classes.index(each) if each else other for each, other in zip(said, wrong, strict=True)])
        found.append(100 * uar(confusion_matrix(truth, answers, n_classes=len(classes))))
    return found


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """UAR by seconds of speech, a line for each model."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    names = {"lstm": "lstm --causal, live", "hybrid": "hybrid, offline, given the same stretch"}
    styles = (("o-", (0, -15)), ("s--", (0, 7)))
    for (arch, values), (style, place) in zip(curves.items(), styles, strict=True):
        axes.plot(TIMES_S, values, style, label=names[arch], linewidth=2)
        for seconds, value in zip(TIMES_S, values, strict=True):
            axes.annotate(f"{value:.0f}", (seconds, value), xytext=place, textcoords="offset points", ha="center")
    axes.set(xlabel="seconds of speech heard", ylabel="UAR (%)", ylim=(0, 100), xticks=TIMES_S)
    axes.set_title("RAVDESS, 8 emotions, speakers never heard (emobox-ravdess-6)", loc="left")
    axes.axhline(12.5, color="grey", linewidth=1, linestyle=":")
    axes.annotate("chance", (3, 12.5), xytext=(0, 4), textcoords="offset points", ha="right", color="grey")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Train what is missing, judge, print, draw, save."""
    parser = make_parser(__doc__, data=True)
    parser.add_argument("--threads", type=int, metavar="N", help="threads of TensorFlow, to run scripts side by side")
    args = parse(parser)
    utterances = [each for corpus in load_corpora([args.data / "ravdess"]) for each in corpus.utterances]
    folds = make_protocol(PROTOCOL, utterances, seed=0).folds[: 1 if args.quick else None]
    rows = []
    for fold in folds:
        judged = WORK / f"early-{fold.name}.json"
        if not judged.exists():
            models = {arch: train(arch, fold, utterances, args) for arch in ARCHITECTURES}
            say(f"fold {fold.name}: judging {len(fold.test)} recordings")
            found = judge_fold(models, [utterances[index] for index in fold.test])
            judged.write_text(json.dumps(found), encoding="utf-8")
        rows += json.loads(judged.read_text(encoding="utf-8"))
    classes = sorted({row["emotion"] for row in rows})
    curves = {arch: scores(rows, arch, classes) for arch in ARCHITECTURES}
    unanswered = sum(not row["lstm"][0] for row in rows)
    speakers = len({row["speaker"] for row in rows})
    table = Comparison(
        f"UAR in % on RAVDESS, {PROTOCOL} ({len(classes)} emotions, {speakers} speakers, each tested by "
        f"models trained without them, {len(rows):,} recordings, seed 0) by the seconds of speech received: "
        f"the causal network live, and the offline one given the same stretch. {unanswered} recordings got no answer.",
        ("network", *(f"{seconds:g} s" for seconds in TIMES_S)),
        tuple((arch, *(f"{value:.1f}" for value in curves[arch])) for arch in ARCHITECTURES),
    )
    print_table(table.titles, table.rows)
    if args.save:
        draw(curves, PLOT)
        figures = {"times_s": TIMES_S, "uar": curves, "unanswered": unanswered, "recordings": len(rows)}
        save_result("early", [], figures=figures, comparison=table)


if __name__ == "__main__":
    main()
