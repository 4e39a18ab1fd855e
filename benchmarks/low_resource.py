"""Low resources: what augmentation brings on Amharic (ASED) with 5 and with 10 labelled speakers, over five seeds.

Speed 0.9 to 1.1, Gaussian noise at 10 to 20 dB and spectral masks, each alone and all together; on the fly (every epoch
draws from three copies, and draws masks anew) and offline (three copies written by `serctl augment`, trained on beside
the originals for a quarter of the epochs, so for as many gradient steps). Copies with another vocal tract length and
pitch stand for more speakers, with 5 of them: three copies alone, three and nine with the other changes. 115 trainings
in one process; each is written down as it ends, and a call that was interrupted goes on there. With `--arch speech`,
which sees no spectrogram, the same without masks and without the copies offline.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from _claims import Claim, claim_options, show_claim
from _common import RESULTS, Comparison, Row, command_line, commit, say, short_commit
from _runs import METRICS, THREADS, WORK

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from _claims import Found, Metrics

    from serctl.corpora import Utterance
    from serctl.features import FeatureConfig
    from serctl.learning.dataset import Dataset, Sample
    from serctl.learning.options import Augmentation
    from serctl.transforms.apply import Transform

CORPUS = "ased"
CHANGES = ("speed", "noise", "mask")
WAYS = ("on the fly", "offline")
SPEAKERS = (5, 10)
SEEDS = (0, 1, 2, 3, 4)
COPIES, MANY_COPIES = 3, 9
VALIDATION_SHARE = 0.1
DEFAULT_ARCHITECTURE = "cnn"
"""Masks need a network that hears the spectrogram."""

ENCODER_ALONE = "speech"
"""The network on the statistics of the pretrained speech encoder."""

DEFAULT_EPOCHS = 40
CLAIMED = (58.3, 71.6)


@dataclass(frozen=True)
class Setting:
    """Changes, and how they come into training; no change at all is the baseline."""

    changes: tuple[str, ...] = ()
    way: str = ""
    copies: int = COPIES

    @property
    def name(self) -> str:
        """What results are filed under."""
        changes = "all three" if self.changes == CHANGES else " and ".join(self.changes)
        copies = "" if self.copies == COPIES else f", {self.copies} copies of each"
        return f"{changes}, {self.way}{copies}" if changes else "none"


BASELINE = Setting()
WITHOUT_NOISE = Setting(("speed", "mask"), "on the fly")
"""What `serctl train` does by default, but for the range of speeds."""

SETTINGS = (
    BASELINE,
    *(Setting(changes, way) for way in WAYS for changes in (*((each,) for each in CHANGES), CHANGES)),
    WITHOUT_NOISE,
    Setting(("vocal tract",), "on the fly"),
    Setting(("speed", "vocal tract", "mask"), "on the fly"),
    Setting(("speed", "vocal tract", "mask"), "on the fly", MANY_COPIES),
)
WITHOUT_SPECTROGRAM = (
    BASELINE,
    Setting(("vocal tract",), "on the fly"),
    Setting(("speed", "vocal tract"), "on the fly"),
)


def settings_of(architecture: str) -> tuple[Setting, ...]:
    """What is tried with an architecture: masks only where it sees the spectrogram."""
    return WITHOUT_SPECTROGRAM if architecture == ENCODER_ALONE else SETTINGS


def speaker_counts(setting: Setting) -> tuple[int, ...]:
    """How many speakers a setting is tried with: copies that stand for more speakers where there are fewest."""
    return SPEAKERS[:1] if "vocal tract" in setting.changes else SPEAKERS


def on_the_fly(setting: Setting, seed: int) -> Augmentation:
    """The copies that every epoch draws from."""
    from serctl.learning.options import Augmentation
    from serctl.transforms.speed import Speed

    drawn = setting.changes if setting.way == "on the fly" else ()
    speed = Speed(0.9, 1.1) if "speed" in drawn else Speed(1, 1)
    vocal_tract = setting.copies if "vocal tract" in drawn else 0
    if "noise" in drawn:
        return Augmentation(copies=0, noisy_copies=setting.copies, speed=speed, seed=seed)
    copies = setting.copies if "speed" in drawn else 0
    return Augmentation(copies=copies, vocal_tract_copies=vocal_tract, speed=speed, seed=seed)


def offline(setting: Setting) -> tuple[Transform, ...]:
    """The transforms of the copies that `serctl augment` writes."""
    from serctl.transforms.noise import Noise
    from serctl.transforms.spectral_mask import SpectralMask
    from serctl.transforms.speed import Speed

    known = {"speed": Speed(0.9, 1.1), "noise": Noise(10, 20), "mask": SpectralMask()}
    return tuple(known[change] for change in setting.changes) if setting.way == "offline" else ()


def draw_speakers(dataset: Dataset, seed: int) -> list[str]:
    """The training speakers of a seed, of those who spoke every emotion; fewer of them are the first ones."""
    import numpy as np

    emotions: dict[str, set[str]] = {}
    for utterance in dataset.utterances:
        emotions.setdefault(utterance.speaker or "", set()).add(utterance.emotion)
    whole = sorted(speaker for speaker, spoken in emotions.items() if len(spoken) == len(dataset.classes))
    order = np.random.default_rng(seed).permutation(len(whole))
    return [whole[index] for index in order[: max(SPEAKERS)]]


def training_samples(
    setting: Setting, samples: Sequence[Sample], seed: int, config: FeatureConfig
) -> tuple[list[Sample], list[Sample]]:
    """The samples with their copies on the fly, and those of the copies written offline."""
    from serctl.learning.dataset import featurise

    augmentation = on_the_fly(setting, seed)
    utterances = [sample.utterance for sample in samples]
    originals = list(samples)
    if augmentation.recipes():
        originals = [featurise(each, config=config, augmentation=augmentation, cache=None) for each in utterances]
    return originals, _written(offline(setting), utterances, seed, config)


def _written(
    transforms: tuple[Transform, ...], utterances: Sequence[Utterance], seed: int, config: FeatureConfig
) -> list[Sample]:
    from serctl.corpora.manifest import utterance_cells, write_manifest
    from serctl.learning.dataset import load_dataset
    from serctl.learning.options import LabelOptions
    from serctl.run import Run
    from serctl.verbs.augment import AugmentOptions, augment

    if not transforms:
        return []
    with tempfile.TemporaryDirectory() as folder:
        manifest, copies = Path(folder, "training.csv"), Path(folder, "copies")
        write_manifest(manifest, (utterance_cells(each, manifest.parent, None) for each in utterances))
        augment([manifest], output=copies, options=AugmentOptions(COPIES, transforms, seed))
        return list(
            load_dataset([copies], labels=LabelOptions(), config=config, augmentation=None, run=Run(jobs=-1)).samples
        )


def train_and_test(
    setting: Setting,
    speakers: Sequence[str],
    seed: int,
    samples: tuple[list[Sample], list[Sample]],
    dataset: Dataset,
    args: argparse.Namespace,
) -> Metrics:
    """Train on some speakers, one or so of them held out to choose the epoch, and test on all others."""
    import keras

    from serctl.corpora import hold_out
    from serctl.learning.calibrate import predict_samples
    from serctl.learning.learn import learn
    from serctl.learning.options import FitOptions
    from serctl.learning.recipe import Recipe
    from serctl.metrics import score
    from serctl.verbs.train import ignore_epoch

    originals = [sample for sample in samples[0] if sample.utterance.speaker in speakers]
    split = hold_out([sample.utterance for sample in originals], share=VALIDATION_SHARE, seed=seed)
    training, validation = [originals[i] for i in split.train], [originals[i] for i in split.held_out]
    learning_from = {sample.utterance.speaker for sample in training}
    written = [sample for sample in samples[1] if sample.utterance.speaker in learning_from]
    epochs = round(args.epochs * len(training) / (len(training) + len(written)))
    masked = {} if setting.way == "on the fly" and "mask" in setting.changes else {"time_mask": 0.0, "band_mask": 0.0}
    recipe = Recipe(args.arch, fit=FitOptions(epochs=epochs, patience=epochs, seed=seed, **masked))
    with tempfile.TemporaryDirectory() as folder:
        learned = learn(
            recipe,
            [*training, *written],
            validation,
            classes=dataset.classes,
            folder=Path(folder),
            on_epoch=ignore_epoch,
        )
    tested = [i for i, utterance in enumerate(dataset.utterances) if utterance.speaker not in speakers]
    probabilities = predict_samples(learned, [dataset.samples[i] for i in tested])
    groups = [dataset.utterances[i].speaker_id for i in tested]
    scores = score(dataset.labels[tested], probabilities, classes=dataset.classes, groups=groups, seed=seed)
    parameters = learned.parameters
    keras.utils.clear_session()
    return {
        "setting": setting.name,
        "speakers": len(speakers),
        "seed": seed,
        "training_speakers": sorted(learning_from),
        "validation_speakers": sorted(set(speakers) - learning_from),
        "n_train": len(training),
        "n_copies": len(written),
        "n_validation": len(validation),
        "n_test": len(tested),
        "epochs": epochs,
        "best_epoch": learned.fitted.best_epoch,
        "parameters": parameters,
        **{name: value for name, value in scores.to_dict().items() if name in ("uar", "wa", "macro_f1", "intervals")},
        "commit": commit()["commit"],
    }


def measure(args: argparse.Namespace, path: Path) -> None:
    """Do what the file does not hold yet, and add each result as it comes."""
    os.environ.update(dict.fromkeys(THREADS, str(args.threads)) if args.threads else {})
    from serctl.learning.backend import import_tensorflow
    from serctl.learning.recipe import Recipe

    results = _load(path, args)
    done = {(each["setting"], each["speakers"], each["seed"]) for each in results["runs"]}
    import_tensorflow()
    config = Recipe(args.arch).network_features
    dataset = _load_corpus(args.data, config)
    for seed in SEEDS:
        drawn = draw_speakers(dataset, seed)
        for setting in settings_of(args.arch):
            missing = [count for count in speaker_counts(setting) if (setting.name, count, seed) not in done]
            needed = drawn[: max(missing, default=0)]
            candidates = [sample for sample in dataset.samples if sample.utterance.speaker in needed]
            samples = training_samples(setting, candidates, seed, config) if missing else ([], [])
            for count in missing:
                found = train_and_test(setting, drawn[:count], seed, samples, dataset, args)
                results["runs"].append(found)
                _save(path, results)
                say(f"seed {seed}, {count} speakers, {setting.name}: WA {100 * found['wa']:.1f} %")


def _load_corpus(data: Path, config: FeatureConfig) -> Dataset:
    from serctl.cache import Cache, default_folder
    from serctl.learning.dataset import load_dataset
    from serctl.learning.options import LabelOptions
    from serctl.run import Run

    return load_dataset(
        [data / CORPUS],
        labels=LabelOptions(),
        config=config,
        augmentation=None,
        run=Run(Cache(default_folder()), jobs=-1),
    )


def _load(path: Path, args: argparse.Namespace) -> Metrics:
    """What is there to go on from. Ends with a message if it was made with another network or another length."""
    from serctl import __version__
    from serctl.bundle.versions import package_versions

    asked = {"architecture": args.arch, "epochs": args.epochs}
    if path.exists():
        results: Metrics = json.loads(path.read_text(encoding="utf-8"))
        if any(results[name] != value for name, value in asked.items()):
            sys.exit(f"{path.parent.name} was made with other options; remove it to start anew: {results['command']}")
        return results
    return {
        **asked,
        "corpus": [CORPUS],
        "protocol": {
            "name": "few speakers",
            "speaker_independent": True,
            "description": f"{' or '.join(map(str, SPEAKERS))} speakers drawn by the seed to train and validate on, "
            "all others to test on",
        },
        "package_version": __version__,
        "packages": package_versions(),
        "command": command_line(),
        "runs": [],
    }


def _save(path: Path, results: Metrics) -> None:
    from serctl.files import atomic_path

    results["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


# What is made of the results


def scores_by_seed(metrics: Metrics | None, setting: Setting, speakers: int, name: str) -> dict[int, float]:
    """A score in per cent by seed."""
    runs: list[Metrics] = metrics["runs"] if metrics else []
    chosen = [run for run in runs if (run["setting"], run["speakers"]) == (setting.name, speakers)]
    return {run["seed"]: 100 * run[name] for run in chosen}


def gains(metrics: Metrics | None, setting: Setting, speakers: int) -> list[float]:
    """Points of WA above no augmentation, seed by seed: the same speakers, the same validation part."""
    ours, theirs = (scores_by_seed(metrics, each, speakers, "wa") for each in (setting, BASELINE))
    return [ours[seed] - theirs[seed] for seed in SEEDS if seed in ours and seed in theirs]


def mean_gain(metrics: Metrics | None, setting: Setting, speakers: int) -> float | None:
    """Their mean, None unless every seed is measured."""
    found = gains(metrics, setting, speakers)
    return statistics.mean(found) if len(found) == len(SEEDS) else None


def make_rows(metrics: Metrics | None, encoder: Metrics | None) -> list[Row]:
    """What all three together gain against the claim, which setting gains most, and what the encoder brings alone."""
    claimed = round(CLAIMED[1] - CLAIMED[0], 1)
    rows = []
    for speakers in SPEAKERS:
        for way in WAYS:
            gain = mean_gain(metrics, Setting(CHANGES, way), speakers)
            measure = f"WA gained by all three, {way}, {speakers} training speakers"
            rows.append(Row(measure, gain, "points", claimed, at_least=True))
        tried = [each for each in SETTINGS[1:] if speakers in speaker_counts(each)]
        found = {each.name: mean_gain(metrics, each, speakers) for each in tried}
        complete = {name: gain for name, gain in found.items() if gain is not None}
        if len(complete) == len(found):
            best = max(complete, key=lambda name: complete[name])
            rows.append(Row(f"the most that a setting gains there: {best}", complete[best], "points"))
        for setting in WITHOUT_SPECTROGRAM:
            alone = list(scores_by_seed(encoder, setting, speakers, "wa").values())
            if len(alone) == len(SEEDS):
                rows.append(Row(f"WA of {ENCODER_ALONE}, changes: {setting.name}", statistics.mean(alone), "%"))
    return rows


def make_table(metrics: Metrics | None, speakers: int, architecture: str) -> Comparison:
    """Every setting: mean and standard deviation over the seeds."""
    about = "not measured yet"
    runs = [run for run in metrics["runs"] if run["speakers"] == speakers] if metrics else []
    if metrics and runs:
        commits = sorted({short_commit(run["commit"]) for run in runs})
        network = (
            f"{metrics['architecture']} ({runs[0]['parameters'] / 1e6:.2f} M parameters), {metrics['epochs']} epochs"
        )
        parts = f"{_span(runs, 'n_train')} utterances to train on, {_span(runs, 'n_test')} of other speakers to test on"
        about = f"{network}, {parts}; commit {', '.join(commits)}"
    return Comparison(
        f"{speakers} labelled speakers: {about}. Mean and standard deviation over the seeds, each of which draws other "
        "speakers; gains are taken seed by seed.",
        ("augmentation", "WA %", "UAR %", "gain in WA, points", "seeds"),
        tuple(
            _setting_cells(metrics, setting, speakers)
            for setting in settings_of(architecture)
            if speakers in speaker_counts(setting)
        ),
    )


def _span(runs: Sequence[Metrics], name: str) -> str:
    values = [run[name] for run in runs]
    return f"{min(values)} to {max(values)}"


def _setting_cells(metrics: Metrics | None, setting: Setting, speakers: int) -> tuple[str, ...]:
    scores: list[dict[int, float]] = [scores_by_seed(metrics, setting, speakers, name) for name in ("wa", "uar")]
    gained = "" if setting == BASELINE else _mean_and_spread(gains(metrics, setting, speakers))
    shown = [_mean_and_spread(list(each.values())) for each in scores]
    return setting.name, *shown, gained, str(len(scores[0]))


def _mean_and_spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.1f}" for value in values)
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def result_name(architecture: str) -> str:
    """Folder of the results with an architecture."""
    return f"low-resource-{architecture}"


def make_claim(architecture: str) -> Claim:
    """The claim, tried with one architecture, and with the pretrained speech encoder beside it."""
    names = tuple(dict.fromkeys((architecture, ENCODER_ALONE)))

    def tables(found: Found) -> list[Comparison]:
        return [make_table(found[result_name(name)], speakers, name) for name in names for speakers in SPEAKERS]

    return Claim(
        name="low_resource",
        title="Augmentation where labels are scarce",
        text=f"Claimed (on Arabic): speed 0.9 to 1.1, Gaussian noise at 10 to 20 dB and spectral masking lift accuracy "
        f"from {CLAIMED[0]} to {CLAIMED[1]} %. Tried on Amharic (ASED) with few labelled speakers, one or so of whom "
        f"is held out to choose the epoch; all others are tested on. The network is {architecture}. On the fly means "
        "three copies, of which every epoch draws, and masks that are drawn anew; offline means three copies written "
        "by `serctl augment`, trained on beside the originals for as many gradient steps. The row without noise was "
        "settled after the scores of a first seed, with another network, had been seen. Beside it stands "
        f"{ENCODER_ALONE}, a small network on the pretrained speech encoder, on the same speakers.",
        results=tuple(map(result_name, names)),
        rows=lambda found: make_rows(found[result_name(architecture)], found[result_name(ENCODER_ALONE)]),
        tables=tables,
    )


CLAIM = make_claim(DEFAULT_ARCHITECTURE)


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", default=DEFAULT_ARCHITECTURE, help="architecture (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, default=DEFAULT_EPOCHS, help="epochs without offline copies (default: %(default)s)"
    )


def main() -> None:
    """Measure what is missing, print, save."""
    args = claim_options(__doc__, _own_options)
    claim = make_claim(args.arch)
    if args.dry_run:
        for seed in SEEDS:
            print(
                "\n".join(
                    f"seed {seed}, {count} speakers, {each.name}"
                    for each in settings_of(args.arch)
                    for count in speaker_counts(each)
                )
            )
        return
    if args.data:
        folder = RESULTS if args.save else WORK
        measure(args, folder / claim.results[0] / METRICS)
    show_claim(claim, save=args.save)


if __name__ == "__main__":
    main()
