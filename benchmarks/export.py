"""Export: separable-small in int8 against float32: size, equal labels, UAR on speakers it never heard, speed.

Trains it on RAVDESS without the test speakers of the first fold of emobox-ravdess-6, exports it in float32 and in int8
(ranges measured on the training recordings), and scores both on the test speakers. The speed is that of the network
alone, on one thread, each in a process of its own, the median of five exports. Minutes on 2 cores.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Row, finish, make_parser, parse, say, serctl

from serctl.corpora import load_corpora, make_protocol
from serctl.corpora.manifest import utterance_cells, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serctl.corpora import Utterance

MOST_KB = 300
MOST_LOST = 1.0
LEAST_SPEED = 2.0
PROTOCOL = "emobox-ravdess-6"
ROUNDS = 5


def list_utterances(path: Path, utterances: Sequence[Utterance]) -> Path:
    """Write a manifest of the utterances, which serctl reads as a corpus."""
    write_manifest(path, (utterance_cells(each, path.parent, None) for each in utterances))
    return path


def run(*arguments: object) -> None:
    """Run serctl; exits with what it said if it failed."""
    ended = subprocess.run([serctl(), *map(str, arguments)], capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"serctl {' '.join(map(str, arguments))} ended with {ended.returncode}:\n{ended.stderr}")


def export(model: Path, output: Path, quantize: str, test: Path) -> list[dict[str, Any]]:
    """What export.json says, of several exports; whether they agree is a figure here, not a condition."""
    found = []
    for _ in range(ROUNDS):
        options = ("--quantize", quantize, "--verify", test, "--min-agreement", 0, "--overwrite")
        run("export", model, "-o", output, *options)
        found.append(json.loads((output / "export.json").read_text(encoding="utf-8")))
    return found


def uar(model: Path, manifest: Path, output: Path) -> float:
    """Of a model on the test speakers, in per cent."""
    run("evaluate", manifest, "--model", model, "-o", output)
    metrics: dict[str, Any] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return 100 * float(metrics["uar"])


def link_recordings(folder: Path, utterances: Sequence[Utterance]) -> Path:
    """A folder that leads to the utterances' recordings."""
    folder.mkdir()
    for each in utterances:
        (folder / each.path.name).symlink_to(each.path.resolve())
    return folder


def main() -> None:
    """Train, export, score, print, save."""
    args = parse(make_parser(__doc__, data=True))
    utterances = [each for corpus in load_corpora([args.data.resolve() / "ravdess"]) for each in corpus.utterances]
    fold = make_protocol(PROTOCOL, utterances, seed=0).folds[0]
    test = [utterances[index] for index in fold.test]
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path()  # export.json keeps paths as they were typed, and results are to be the same on each machine
        training = list_utterances(folder / "train.csv", [utterances[index] for index in fold.train])
        testing = list_utterances(folder / "test.csv", test)
        recordings = link_recordings(folder / "recordings", test)
        say("training")
        few = ("--epochs", 2, "--copies", 0) if args.quick else ()
        run("train", training, "-o", folder / "model", "--arch", "separable-small", "--seed", 0, *few)
        proofs, scores = {}, {}
        for quantize in ("none", "int8"):
            say(f"export: {quantize}")
            proofs[quantize] = export(folder / "model", folder / quantize, quantize, recordings)
            scores[quantize] = uar(folder / quantize, testing, folder / f"scores-{quantize}")
    times = {
        quantize: statistics.median(proof["parity"]["after"]["ms_per_audio_s"] for proof in found)
        for quantize, found in proofs.items()
    }
    parity = proofs["int8"][0]["parity"]
    floats = proofs["none"][0]["parity"]
    rows = [
        Row(
            "separable-small in int8, the network",
            parity["after"]["size_bytes"] / 1e3,
            "KB",
            MOST_KB,
            peer="in float32",
            peer_figure=floats["after"]["size_bytes"] / 1e3,
        ),
        Row("labels equal to the original's", 100 * parity["equal_labels"], "%", 95, at_least=True),
        Row("UAR lost against float32", scores["none"] - scores["int8"], "points", MOST_LOST),
        Row("int8 against float32, the network alone", times["none"] / times["int8"], "x", LEAST_SPEED, at_least=True),
        Row(
            "the network in int8, for a second of audio",
            times["int8"],
            "ms",
            peer="in float32",
            peer_figure=times["none"],
        ),
    ]
    finish("export", rows, figures={"uar": scores, "ms_per_audio_s": times, "exports": proofs}, save=args.save)


if __name__ == "__main__":
    main()
