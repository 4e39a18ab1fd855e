"""Federated trainings with real processes: one in which a party and the server are killed, one with cheating parties.

python benchmarks/federated_kills.py --data DIR --work FOLDER [--rounds 30] [--save]

Three parties of four speakers of RAVDESS each, a server, all over TLS on loopback, each of them the command that a user
types. The same training runs undisturbed, and with `kill -9` of a party in one round and of the server in another; both
models are scored on four other speakers. In a third training four further parties send weights that are not numbers, a
huge update, other shapes, or come from another version. What is finished is kept in FOLDER. Needs serctl[federated].
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Row, find_files, finish, make_parser, parse, say

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTIES = {"north": range(1, 5), "south": range(5, 9), "west": range(9, 13)}
TESTED = range(13, 17)
NETWORK = ("--arch", "mfcc", "--copies", "0", "--strategy", "scaffold", "--patience", "1000")
ALL_AWAITED = ("--least-parties", "3")
WITHIN_S = 1800.0
CHEATS = ("nan", "huge", "shapes", "version")
CHEAT = """
import sys
from dataclasses import replace
import numpy as np
from serctl.learning.federated import parties
from serctl.learning.federated.network import Weights

kind = sys.argv.pop(1)
honest_train, honest_describe = parties.Party.train, parties.Party.describe

def train(self, *given, **others):
    update = honest_train(self, *given, **others)
    trainable = update.weights.trainable
    changed = {
        "nan": [np.full_like(each, np.nan) for each in trainable],
        "huge": [each + 1e6 for each in trainable],
        "shapes": [each.ravel() for each in trainable],
        "version": trainable,
    }[kind]
    return replace(update, weights=Weights(changed, update.weights.statistics))

def describe(self, plan):
    found = honest_describe(self, plan)
    return replace(found, version="0.0.1, features 0") if kind == "version" else found

parties.Party.train, parties.Party.describe = train, describe
from serctl.cli import main
main()
"""
"""A party that does not do what it should."""


def serctl(*words: object) -> list[str]:
    """The command line of this environment."""
    return [sys.executable, "-m", "serctl", *map(str, words)]


def write_manifests(data: Path, work: Path) -> None:
    """A manifest for each party, and one of the speakers that belong to none."""
    files = find_files(data / "ravdess")
    for name, speakers in {**PARTIES, "tested": TESTED}.items():
        codes = {f"{speaker:02d}" for speaker in speakers}
        chosen = [path for path in files if path.stem.rpartition("-")[2] in codes]
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in chosen:
            link = folder / path.name
            if not link.exists():
                link.symlink_to(path.resolve())


class Federation:
    """The processes of a training.

    Args:
        folder: keeps keys, states, logs and the model.
        names: of the parties.
        rounds: how many.
    """

    def __init__(self, folder: Path, names: Sequence[str], rounds: int) -> None:
        from serctl.learning.federated.flower import free_port
        from serctl.learning.federated.keys import make_certificate, make_key

        folder.mkdir(parents=True)
        self.folder, self.names, self.rounds = folder, names, rounds
        self.certificate = make_certificate(folder, "127.0.0.1")
        for name in names:
            make_key(folder / f"{name}.key")
        self.address = f"127.0.0.1:{free_port()}"
        self.model = folder / "model"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start_server(self, *words: object) -> None:
        """Start the server, for the first time or with --resume."""
        options = ["--tls-cert", self.certificate, "--tls-key", self.folder / "server.key", "--keys", self.folder]
        options += ["--rounds", self.rounds, *NETWORK, *words]
        self._start("server", serctl("federate", "server", "--listen", self.address, "-o", self.model, *options))

    def start_party(self, name: str, corpus: Path, cheat: str = "") -> None:
        """Start a party, honest or not."""
        words = ["federate", "party", corpus, "--server", self.address, "--ca", self.certificate]
        words += ["--key", self.folder / f"{name}.key", "--jobs", "1"]
        command = [sys.executable, "-c", CHEAT, cheat, *map(str, words)] if cheat else serctl(*words)
        self._start(name, command)

    def _start(self, name: str, command: list[str]) -> None:
        one = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        with (self.folder / f"{name}.out").open("ab") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | one)

    @property
    def round(self) -> int:
        """The last finished round."""
        from serctl.learning.checkpoints import load_checkpoint

        path = self.model.with_name("model.partial") / "federated.npz"
        return int(load_checkpoint(path)[0]["round"]) if path.exists() else 0

    def wait_for_round(self, number: int) -> None:
        """Wait until a round is finished."""
        self._wait(lambda: self.round >= number)

    def wait_for_end(self) -> None:
        """Wait until all processes have ended."""
        self._wait(lambda: all(each.poll() is not None for each in self.running.values()))

    def _wait(self, condition: Any) -> None:
        until = time.monotonic() + WITHIN_S
        while not condition():
            if time.monotonic() > until:
                self.end()
                sys.exit(f"{self.folder}: it took longer than {WITHIN_S:.0f} s; see the .out files there")
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """End a process by force."""
        say(f"kill -9 of {name} after round {self.round}")
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()

    def end(self) -> None:
        """End all that still runs."""
        for each in self.running.values():
            if each.poll() is None:
                each.kill()

    def leftovers(self) -> int:
        """Processes that name the folder, which should be none."""
        found = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += str(self.folder).encode() in path.read_bytes()
            except OSError:
                continue
        return found


def train(work: Path, name: str, rounds: int, *, killed: bool) -> dict[str, Any]:
    """Train, undisturbed or not; returns figures, those of an earlier run if there are some."""
    kept = work / f"{name}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    shutil.rmtree(work / f"run-{name}", ignore_errors=True)
    federation = Federation(work / f"run-{name}", list(PARTIES), rounds)
    began = time.monotonic()
    with ExitStack() as stack:
        stack.callback(federation.end)
        federation.start_server(*ALL_AWAITED)
        for party in PARTIES:
            federation.start_party(party, work / party)
        if killed:
            federation.wait_for_round(rounds * 3 // 10)
            federation.kill("west")
            federation.start_party("west", work / "west")
            federation.wait_for_round(rounds // 2)
            federation.kill("server")
            federation.start_server(*ALL_AWAITED, "--resume")
        federation.wait_for_end()
    figures = {"wall_s": time.monotonic() - began, "leftovers": federation.leftovers(), **facts_of(federation)}
    figures["uar"] = score(work, federation.model, name)
    kept.write_text(json.dumps(figures, indent=1))
    return figures


def facts_of(federation: Federation) -> dict[str, Any]:
    """What the bundle says of its training."""
    made = json.loads((federation.model / "bundle.json").read_text())["training"]["federation"]
    return {
        "rounds": {each["name"]: each["rounds"] for each in made["parties"]},
        "megabytes": {each["name"]: round(sum(each["sent"].values()) / 1e6, 2) for each in made["parties"]},
        "refused": made["refused"],
        "best_round": made["best_round"],
    }


def score(work: Path, model: Path, name: str) -> float:
    """UAR of a model on the speakers of no party."""
    output = work / f"scores-{name}"
    command = serctl("evaluate", work / "tested", "--model", model, "-o", output, "--overwrite", "--jobs", "1", "-q")
    subprocess.run(command, check=True)
    return float(json.loads((output / "metrics.json").read_text())["uar"])


def cheat(work: Path) -> dict[str, Any]:
    """Train two rounds with two honest parties and four that cheat."""
    kept = work / "cheat.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    shutil.rmtree(work / "run-cheat", ignore_errors=True)
    honest = ["north", "south"]
    federation = Federation(work / "run-cheat", [*honest, *CHEATS], 2)
    with ExitStack() as stack:
        stack.callback(federation.end)
        federation.start_server()
        for party in honest:
            federation.start_party(party, work / party)
        for kind in CHEATS:
            federation.start_party(kind, work / "west", kind)
        federation._wait(lambda: federation.running["server"].poll() is not None)
    figures = facts_of(federation)
    kept.write_text(json.dumps(figures, indent=1))
    return figures


def largest_difference(work: Path) -> float:
    """Between the weights of both models."""
    import numpy as np

    one, other = (np.load(work / f"run-{name}" / "model" / "weights.npz") for name in ("undisturbed", "killed"))
    return max(float(np.abs(one[name].astype(np.float32) - other[name]).max()) for name in one.files)


def main() -> None:
    """Run what is not finished yet, and print the figures."""
    parser = make_parser(__doc__, data=True, quick=False)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="keeps what is finished")
    parser.add_argument("--rounds", type=int, default=30)
    args = parse(parser)
    work = args.work.resolve()
    write_manifests(args.data, work)
    undisturbed = train(work, "undisturbed", args.rounds, killed=False)
    killed = train(work, "killed", args.rounds, killed=True)
    cheated = cheat(work)
    refused = [kind for kind in CHEATS if any(f", {kind}:" in each for each in cheated["refused"])]
    lost = 100 * abs(undisturbed["uar"] - killed["uar"])
    rows = [
        Row("UAR on new speakers, undisturbed", 100 * undisturbed["uar"], "%"),
        Row("UAR on new speakers, a party and the server killed", 100 * killed["uar"], "%"),
        Row("difference by the kills", lost, "points", target=1.0),
        Row("largest difference of a weight", largest_difference(work), ""),
        Row("rounds without the killed party", float(args.rounds - killed["rounds"]["west"]), "rounds"),
        Row("processes left over", float(undisturbed["leftovers"] + killed["leftovers"]), "processes", target=1),
        Row("kinds of bad updates refused by name", float(len(refused)), "of 4", target=4, at_least=True),
    ]
    figures = {"undisturbed": undisturbed, "killed": killed, "cheated": cheated, "rounds": args.rounds}
    finish("federated_kills", rows, figures=figures, save=args.save)


if __name__ == "__main__":
    main()
