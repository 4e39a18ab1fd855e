"""Words: the text expert on GoEmotions, how long a sentence takes, other languages, fixed sentences, and CMU-MOSI.

    python benchmarks/text.py --data DIR [--save]

DIR holds goemotions/, mosi/, nemo/ and cremad/. Of MOSI there are transcripts and 73 openSMILE features of each
utterance, no recordings: these features stand for the speech.
"""

from __future__ import annotations

import csv
import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import Row, finish, make_parser, parse, say
from text_encoder import Split, f1, read_split

from serctl.audio.find import find_recordings
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.encoders import text
from serctl.encoders.english import is_english
from serctl.metrics import temperature_scale
from serctl.verbs.options import PredictOptions
from serctl.verbs.predict import predict

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PUBLISHED_F1 = 0.64
PENALTIES = tuple(10.0**power for power in np.arange(-1, 5, 0.5))


def main() -> None:
    """Measure everything and print the table."""
    args = parse(make_parser(__doc__, data=True, quick=False))
    rows = [*goemotions(args.data / "goemotions"), *speed(), *languages(args.data)]
    rows += [*fixed_sentences(args.data / "cremad"), *mosi(args.data / "mosi")]
    finish("text", rows, figures={}, save=args.save)


def goemotions(folder: Path) -> list[Row]:
    """Macro-F1 of the test split, each emotion from a threshold of its own that the development split chose."""
    say("GoEmotions")
    scores, truth = {}, {}
    for name in ("dev", "test"):
        split: Split = read_split(folder, name)
        logits = np.stack([text.encode_text(sentence).logits for sentence in split.sentences])
        scores[name], truth[name] = temperature_scale(logits, 1.0), split.labels
    grid = np.linspace(0.05, 0.8, 76)
    best = grid[np.argmax([f1(scores["dev"] >= level, truth["dev"]) for level in grid], axis=0)]
    found = f1(scores["test"] >= best, truth["test"])
    by_label = [Row(f"F1 of {label}", float(each), "") for label, each in zip(text.LABELS, found, strict=True)]
    peer = "BERT base (Demszky et al. 2020)"
    return [
        Row("GoEmotions, Ekman level: macro-F1", float(found.mean()), "", 0.62, True, peer, PUBLISHED_F1),
        *by_label,
    ]


def speed() -> list[Row]:
    """CPU time of a sentence of 15 words, and what the encoder adds to the memory of the process."""
    sentence = "I have been waiting for two hours now and nobody has told me anything, really"
    text.encode_text(sentence)
    start = time.process_time()
    for _ in range(100):
        text.encode_text(sentence)
    spent = (time.process_time() - start) / 100
    return [
        Row("CPU time of a sentence of 15 words", spent * 1e3, "ms"),
        Row("peak memory of this process so far", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB"),
    ]


def languages(data: Path) -> list[Row]:
    """Share of sentences that count as English."""
    english = read_split(data / "goemotions", "test").sentences
    polish = sorted({row["text"] for row in read(data / "nemo" / "manifest.csv")})
    return [
        Row("GoEmotions (test) taken for English", 100 * float(np.mean([*map(is_english, english)])), "%"),
        Row("nEMO (Polish) taken for English", 100 * float(np.mean([*map(is_english, polish)])), "%", 1),
    ]


def read(path: Path) -> list[dict[str, str]]:
    """Read a manifest."""
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def fixed_sentences(folder: Path) -> list[Row]:
    """UAR on CREMA-D, whose sentences say nothing of the emotion, from speech alone and with the words."""
    say("CREMA-D")
    model = load_bundle(DEFAULT_MODEL)
    rows = [row for row in read(folder / "manifest.csv") if row["emotion"] in model.facts.labels]
    truth = {str(folder / row["path"]): row["emotion"] for row in rows}
    tables: list[dict[str, Any]] = []
    options = PredictOptions(transcripts=str(folder / "manifest.csv"), explain_modalities=True)
    recordings = [each for each in find_recordings([folder]) if str(each.path) in truth]
    predict(recordings, model=model, options=options, on_table=tables.append)
    ok = [table for table in tables if table["status"] == "ok"]
    labels = np.array([truth[table["path"]] for table in ok])
    scores = {}
    for prefix in ("p_speech_", "p_"):
        found = np.array([[table[f"{prefix}{label}"][0] for label in model.facts.labels] for table in ok])
        said = np.array(model.facts.labels)[np.nan_to_num(found).argmax(axis=1)]
        scores[prefix] = 100 * float(np.mean([(said[labels == each] == each).mean() for each in sorted(set(labels))]))
    return [
        Row("CREMA-D, bundled model: UAR of speech alone", scores["p_speech_"], "%"),
        Row("with its fixed sentences: loss", scores["p_speech_"] - scores["p_"], "points", 0.5),
    ]


def mosi(folder: Path) -> list[Row]:
    """Mean absolute error of the sentiment, -3 to 3, by ridge regression; the validation split chooses the penalty."""
    say("MOSI")
    rows = read(folder / "manifest.csv")
    parts = {name: np.array([row["split"] == name for row in rows]) for name in ("train", "valid", "test")}
    truth = np.array([float(row["label"]) for row in rows])
    audio = np.nan_to_num(np.load(folder / "opensmile73.npy").astype(np.float64))
    words = np.stack([sentence_features(row["text"]) for row in rows])
    constant = float(abs(truth[parts["test"]] - np.median(truth[parts["train"]])).mean())
    found = [Row("MOSI, MAE of a constant", constant, "")]
    for name, features, target in (
        ("audio features alone", audio, None),
        ("text alone", words, None),
        ("both", np.hstack([audio, words]), 0.90),
    ):
        predicted = ridge(features, truth, parts)
        error = float(abs(predicted - truth[parts["test"]]).mean())
        correlation = float(np.corrcoef(predicted, truth[parts["test"]])[0, 1])
        signs = truth[parts["test"]] != 0
        right = ((predicted > 0) == (truth[parts["test"]] > 0))[signs]
        found += [
            Row(f"MOSI, MAE of {name}", error, "", target),
            Row(f"MOSI, Pearson r of {name}", correlation, ""),
            Row(f"MOSI, positive or negative right, {name}", 100 * float(right.mean()), "%"),
        ]
    return found


def sentence_features(sentence: str) -> Floats:
    """Mean and first of the token states, and the emotion logits."""
    found = text.encode_text(sentence)
    return np.concatenate([found.states.mean(axis=0), found.states[0], found.logits]).astype(np.float64)


def ridge(features: Floats, truth: Floats, parts: dict[str, NDArray[np.bool_]]) -> Floats:
    """Predict the test split; the penalty is that of the least error on the validation split."""
    train = features[parts["train"]]
    mean, deviation = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-6)
    scaled = np.clip((features - mean) / deviation, -5, 5)
    level = truth[parts["train"]].mean()
    left, singular, right = np.linalg.svd(scaled[parts["train"]], full_matrices=False)
    projected = left.T @ (truth[parts["train"]] - level)
    weights = [right.T @ (singular / (singular**2 + penalty) * projected) for penalty in PENALTIES]
    errors = [abs(scaled[parts["valid"]] @ each + level - truth[parts["valid"]]).mean() for each in weights]
    best: Floats = np.clip(scaled[parts["test"]] @ weights[int(np.argmin(errors))] + level, -3, 3)
    return best


if __name__ == "__main__":
    main()
