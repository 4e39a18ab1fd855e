"""How well `serctl predict --novelty` tells recordings unlike the training data from held-out ones like it.

AUC of the column, between recordings that training held out (those marked validation in the model's training list) and
each kind of other recording: a corpus that training never saw, held-out recordings through a telephone line, noise,
music (synthesised chords), and a synthetic voice (espeak-ng, Debian's package). 0.5 is chance, 1 is perfect. The order
of the column does not depend on its calibration, so it does not matter that the same recordings calibrated it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _common import Row, finish, make_parser, parse, say

from serctl.audio.file import content_digest
from serctl.audio.segments import read_audio
from serctl.backends.serial import one_thread
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.features.compute import compute_features
from serctl.transforms.telephone import Telephone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle

    Samples = NDArray[np.float32]

SUFFIXES = {".wav", ".flac", ".ogg"}
VOICES = ("en-us", "de", "pl", "it", "en-gb", "fr", "es", "am")
SENTENCES = (
    "The train to the coast leaves at seven.",
    "I did not expect to see you here today.",
    "Put it on the table.",
)
QUICK = 3


def held_out(bundle: Bundle, data: Path, number: int, rng: np.random.Generator) -> list[Path]:
    """Recordings of the corpora that training held out, drawn at random."""
    wanted = {entry.digest for entry in bundle.training_list() if entry.part == "validation" and not entry.source}
    names = {entry.corpus for entry in bundle.training_list()}
    paths = [path for name in sorted(names) if (data / name).is_dir() for path in recordings(data / name)]
    found = []
    for row in rng.permutation(len(paths)):
        if content_digest(paths[row]) in wanted:
            found.append(paths[row])
        if len(found) == number:
            break
    return found


def recordings(folder: Path) -> list[Path]:
    """Every recording below a folder, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def drawn(paths: list[Path], number: int, rng: np.random.Generator) -> list[Path]:
    """Some of the paths."""
    return [paths[row] for row in rng.permutation(len(paths))[:number]]


def music(rng: np.random.Generator, rate: int) -> Samples:
    """Three seconds of chords of decaying harmonic tones."""
    time = np.arange(3 * rate) / rate
    total = np.zeros(len(time))
    for start in np.arange(0, 3, rng.choice([0.25, 0.5, 0.75])):
        since = np.maximum(time - start, 0)
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        for interval in (0, 4, 7):
            hz = root * 2 ** (interval / 12)
            tone = sum(np.sin(2 * np.pi * k * hz * since) / k for k in range(1, 6))
            total += tone * np.exp(-3 * since) * (since > 0)
    return (0.3 * total / np.abs(total).max()).astype(np.float32)


def synthetic_voices(number: int, rate: int) -> Iterator[Samples]:
    """Speech of espeak-ng, in several voices and tempos."""
    if shutil.which("espeak-ng") is None:
        say("no espeak-ng: the synthetic voice is left out")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        for row in range(number):
            voice, text = VOICES[row % len(VOICES)], SENTENCES[row % len(SENTENCES)]
            speed = str(130 + 10 * (row % 7))
            subprocess.run(["espeak-ng", "-v", voice, "-s", speed, "-w", str(path), text], check=True)
            yield read_audio(path, sample_rate=rate)


def novelty_of(windows: Iterable[Samples], bundle: Bundle) -> NDArray[np.float64]:
    """The log-distance behind the column, which has no ties at 1, for each recording's first window."""
    config = bundle.facts.features
    length = round(config.window_s * config.sample_rate)
    features = [compute_features(samples[:length], config) for samples in windows]
    return bundle.novelty.log_distances(features, bundle.normaliser) if features else np.empty(0)


def auc(known: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """Share of pairs in which the new one has the larger value."""
    return float((new[:, None] > known[None]).mean() + 0.5 * (new[:, None] == known[None]).mean())


def main() -> None:
    """Print the AUC of every kind."""
    parser = make_parser(__doc__, data=True, model=True)
    parser.add_argument("--recordings", type=int, default=100, metavar="N", help="of each kind, at most")
    parser.add_argument("--other", default="cremad", metavar="CORPUS", help="folder of a corpus not in training")
    args = parse(parser)
    bundle = load_bundle(args.model or DEFAULT_MODEL)
    number, rate = QUICK if args.quick else args.recordings, bundle.facts.features.sample_rate
    rng = np.random.default_rng(0)
    own = [read_audio(path, sample_rate=rate) for path in held_out(bundle, args.data, number, rng)]
    others = {
        "another corpus": (
            read_audio(path, sample_rate=rate) for path in drawn(recordings(args.data / args.other), number, rng)
        ),
        "telephone": (Telephone(("mulaw", "gsm"))(each, rate, rng)[0] for each in own),
        "music": (music(rng, rate) for _ in range(number)),
        "noise": (
            read_audio(path, sample_rate=rate, end_s=4.0)
            for path in drawn(recordings(args.data / "noise"), number, rng)
        ),
        "synthetic voice": synthetic_voices(number, rate),
    }
    if not own:
        sys.exit("none of the recordings that training held out are in the folder")
    rows, figures = [], {"model": bundle.identity, "held_out": len(own)}
    with one_thread():
        known = novelty_of(own, bundle)
        for name, windows in others.items():
            new = novelty_of(windows, bundle)
            if len(new):
                rows.append(Row(f"AUC, {name} ({len(new)}) against held-out ({len(own)})", auc(known, new), ""))
                say(f"{rows[-1].measure}: {rows[-1].figure:.3f}")
    finish("novelty", rows, figures=figures, save=args.save)


if __name__ == "__main__":
    main()
