"""Confidence of answers to short speech: recordings of held-out speakers, cut to their loudest stretch.

python benchmarks/short_speech.py --data DIR [--save]

For each length the share of right answers and the mean confidence, as the network gives it (calibrated, softened by
nothing) and as `predict` says it. The recordings are 300 of those that training held out, drawn at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from _common import Row, finish, make_parser, parse, say
from novelty import held_out

from serctl.audio.file import content_digest
from serctl.audio.segments import read_audio
from serctl.backends.serial import one_thread
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.features.compute import compute_features
from serctl.metrics import temperature_scale
from serctl.runtime.recogniser import ENOUGH_SPEECH_S, Recogniser

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.features import Features

LENGTHS_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
RECORDINGS, QUICK = 300, 20


def loudest(samples: NDArray[np.float32], rate: int, length_s: float) -> NDArray[np.float32]:
    """The stretch of that length around the loudest 0.1 s."""
    power = np.convolve(np.square(samples), np.ones(rate // 10), "same")
    length = min(round(length_s * rate), len(samples))
    first = min(max(int(np.argmax(power)) - length // 2, 0), len(samples) - length)
    return samples[first : first + length]


def unsoftened(found: NDArray[np.float64], windows: list[Features], hop_s: float) -> NDArray[np.float64]:
    """The probabilities as they were before short speech lowered them."""
    seconds = hop_s * np.array([len(window.log_mel) for window in windows])
    powers = np.maximum(ENOUGH_SPEECH_S / seconds, 1.0)
    rows = zip(np.log(found), powers, strict=True)
    return np.stack([temperature_scale(logs[None], 1 / power)[0] for logs, power in rows])


def measure(bundle: Bundle, paths: list[Path], length_s: float) -> dict[str, float]:
    """Share of right answers and mean confidences in percent."""
    emotions = {entry.digest: entry.emotion for entry in bundle.training_list()}
    config = bundle.facts.features
    rate = config.sample_rate
    windows = [compute_features(loudest(read_audio(path, sample_rate=rate), rate, length_s), config) for path in paths]
    said = Recogniser(bundle).probabilities(windows)
    answers = [bundle.facts.labels[best] for best in said.argmax(axis=1)]
    right = [answer == emotions[content_digest(path)] for answer, path in zip(answers, paths, strict=True)]
    shares = np.mean(right), unsoftened(said, windows, config.hop_s).max(axis=1).mean(), said.max(axis=1).mean()
    return dict(zip(("right", "network", "said"), (100 * float(each) for each in shares), strict=True))


def main() -> None:
    """Print shares and confidences of every length."""
    args = parse(make_parser(__doc__, data=True, model=True))
    bundle = load_bundle(args.model or DEFAULT_MODEL)
    paths = held_out(bundle, args.data, QUICK if args.quick else RECORDINGS, np.random.default_rng(0))
    rows, figures = [], {}
    with one_thread():
        for length_s in LENGTHS_S:
            found = figures[f"{length_s:g}"] = measure(bundle, paths, length_s)
            label = f"loudest {length_s:g} s"
            rows += [
                Row(f"{label}: right answers", found["right"], "%"),
                Row(
                    f"{label}: mean confidence", found["said"], "%", peer="of the network", peer_figure=found["network"]
                ),
            ]
            say(f"{label}: {found}")
    finish("short_speech", rows, figures={"recordings": len(paths), "lengths": figures}, save=args.save)


if __name__ == "__main__":
    main()
