"""Is the importance of moments that `serctl explain` shows faithful? Measured on RAVDESS.

For each recording, its moments are hidden one after the other, the most important first. The probability of the answer
must fall faster than in random order: deletion AUC below the mean AUC of random orders that the explanation has not
seen. Agreement and stability are those that each explanation states. No label is used. Recordings that the model was
trained on are left out; a model that was trained on all of RAVDESS, such as the bundled ones, is measured on these.

The model of an EmoBox fold is trained by `serctl train` on a manifest that marks the speakers of the fold as test.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from _common import Row, find_files, finish, make_parser, parse, say

from serctl.audio.file import content_digest
from serctl.audio.segments import read_audio
from serctl.backends.serial import one_thread
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.explanation.counterfactuals import change_all, counterfactuals, most_telling
from serctl.explanation.faithfulness import Faithfulness, measure
from serctl.explanation.listener import Listener
from serctl.explanation.occlusion import Occluder, try_random_orders
from serctl.runtime.recogniser import Recogniser

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle

TARGET = 95.0
FRESH_ORDERS = 8
QUICK = 4


def explain(path: Path, recogniser: Recogniser, *, seed: int) -> tuple[Faithfulness, float]:
    """Measure one recording: its faithfulness, and the AUC of random orders that it has not seen."""
    config = recogniser.bundle.facts.features
    samples = read_audio(path, sample_rate=config.sample_rate)[: round(config.window_s * config.sample_rate)]
    probabilities = Listener(recogniser, 0).all_answers([samples])[0]
    listener = Listener(recogniser, int(probabilities.argmax()))
    rng = np.random.default_rng(seed)
    occluder = Occluder.of(samples, config, rng)
    orders = try_random_orders(occluder, listener, rng=rng)
    changed = change_all(samples, config.sample_rate)
    telling = most_telling(counterfactuals(changed, listener), float(probabilities.max()))
    found = measure(occluder, listener, orders, changed=None if telling is None else changed[telling], rng=rng)
    fresh = try_random_orders(occluder, listener, rng=rng, orders=FRESH_ORDERS)
    return found, float(np.trapezoid(fresh.curves.mean(axis=0)) / occluder.parts)


def main() -> None:
    """Measure recordings drawn from RAVDESS, evenly over speakers."""
    parser = make_parser(__doc__, data=True, model=True)
    parser.add_argument("--recordings", type=int, default=60, metavar="N", help="how many, drawn at random")
    args = parse(parser)
    bundle = load_bundle(args.model or DEFAULT_MODEL)
    paths, unseen = not_trained_on(find_files(args.data / "ravdess"), bundle)
    number = QUICK if args.quick else args.recordings
    chosen = sorted(np.random.default_rng(0).permutation(len(paths))[:number])
    recogniser = Recogniser(bundle)
    found = []
    with one_thread():
        for row in chosen:
            found.append(explain(paths[row], recogniser, seed=int(row)))
            say(f"{len(found)} of {len(chosen)}: {found[-1][0].deletion_auc:.3f} against {found[-1][1]:.3f}")
    report(found, bundle, unseen=unseen, save=args.save)


def not_trained_on(paths: list[Path], bundle: Bundle) -> tuple[list[Path], bool]:
    """The recordings that were in no training of the model, and True; all and False where there are none."""
    trained = {entry.digest for entry in bundle.training_list()}
    others = [path for path in paths if content_digest(path) not in trained]
    return others or paths, bool(others)


def report(found: list[tuple[Faithfulness, float]], bundle: Bundle, *, unseen: bool, save: bool) -> None:
    """Print the figures, and save them if asked to."""
    if not found:
        sys.exit("no recordings")
    deletion = np.array([each.deletion_auc for each, _ in found])
    insertion = np.array([each.insertion_auc for each, _ in found])
    random = np.array([fresh for _, fresh in found])
    agreement = [each.agreement for each, _ in found if each.agreement is not None]
    stability = [each.stability for each, _ in found if each.stability is not None]
    rows = [
        Row("deletion better than random", 100 * float((deletion < random).mean()), "%", TARGET, at_least=True),
        Row("insertion better than random", 100 * float((insertion > random).mean()), "%"),
        Row("deletion AUC", float(deletion.mean()), ""),
        Row("insertion AUC", float(insertion.mean()), ""),
        Row("random AUC", float(random.mean()), ""),
        Row("agreement with changed voice, median", float(np.median(agreement)), ""),
        Row("stability under inaudible noise, median", float(np.median(stability)), ""),
    ]
    figures = {
        "recordings": len(found),
        "model": bundle.identity,
        "architecture": bundle.facts.architecture,
        "unseen": unseen,
        "deletion": deletion.tolist(),
        "random": random.tolist(),
    }
    finish(f"explain-{bundle.facts.name}", rows, figures=figures, save=save)


if __name__ == "__main__":
    main()
