"""Words: the text expert on GoEmotions, how long a sentence takes, other languages, fixed sentences, and CMU-MOSI.

    python benchmarks/text.py --data DIR [--save]

DIR holds goemotions/, mosi/, nemo/ and cremad/. Of MOSI there are transcripts and 73 openSMILE features of each
utterance, no recordings: these features stand for the speech.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import Row, finish, make_parser, parse, say
from text_encoder import Split, f1, read_split

from serctl.audio.find import find_recordings
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.encoders import text
from serctl.encoders.english import is_english
from serctl.features.words import MOST_TOKENS
from serctl.learning.backend import import_tensorflow
from serctl.metrics import Scale, temperature_scale
from serctl.verbs.options import PredictOptions
from serctl.verbs.predict import predict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PUBLISHED_F1 = 0.64
PENALTIES = tuple(10.0**power for power in np.arange(-2, 1.1, 0.5))
WIDTHS = (0.1, 0.3, 0.6, 1.0)
SHARES = (0.03, 0.1, 0.3)
"""Penalties, widths and weights of kernels that the validation part chooses from."""

SEEDS, EPOCHS = 2, 8


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


MEASURE = """
import re, time
import numpy, serctl.npz
def peak():  # in KiB; the figure of getrusage would be that of the process which started this one
    return int(re.search(r"VmHWM: *\t* *([0-9]+)", open("/proc/self/status").read())[1])
before = peak()
from serctl.encoders import text
sentence = "I have been waiting for two hours now and nobody has told me anything, really"
text.encode_text(sentence)
start = time.process_time()
for _ in range(100):
    text.encode_text(sentence)
spent = (time.process_time() - start) / 100
print(spent * 1e3, (peak() - before) / 1024)
"""


def speed() -> list[Row]:
    """CPU time of a sentence of 15 words, and what the encoder adds to the memory of a process."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    spent, memory = map(float, done.stdout.split())
    return [
        Row("CPU time of a sentence of 15 words", spent, "ms"),
        Row("memory that the text encoder adds", memory, "MiB"),
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


class Mosi:
    """CMU-MOSI: sentiment from -3 to 3 of 2,199 utterances, by its standard split.

    Attributes:
        truth: float64, shape (utterances,).
        audio: 73 openSMILE features, scaled; float64.
        words: pooled states of the tokens and the emotion logits, scaled; float64.
        states: states of the tokens of each utterance.
        parts: the rows of the train, valid and test parts.
    """

    def __init__(self, folder: Path) -> None:
        rows = read(folder / "manifest.csv")
        split = np.array([row["split"] for row in rows])
        self.parts = {name: np.flatnonzero(split == name) for name in ("train", "valid", "test")}
        self.truth = np.array([float(row["label"]) for row in rows])
        self.audio = self._scaled(np.nan_to_num(np.load(folder / "opensmile73.npy").astype(np.float64)))
        encoded = [text.encode_text(row["text"]) for row in rows]
        self.states = [each.states[:MOST_TOKENS] for each in encoded]
        pooled = [np.concatenate([text.pooled(each.states), each.logits]) for each in encoded]
        self.words = self._scaled(np.stack(pooled).astype(np.float64))

    def _scaled(self, features: Floats) -> Floats:
        train = features[self.parts["train"]]
        deviation = np.maximum(train.std(axis=0), 1e-6)
        found: Floats = np.clip((features - train.mean(axis=0)) / deviation, -5, 5)
        return found

    def error(self, predicted: Floats, part: str) -> float:
        """Mean absolute error of a part, predictions within the scale."""
        rows = self.parts[part]
        return float(abs(np.clip(predicted[rows], -3, 3) - self.truth[rows]).mean())

    def rows(self, name: str, predicted: Floats, target: float | None = None) -> list[Row]:
        """Scores of the test part: error, correlation, and how often the sign is right where the truth has one."""
        test = self.parts["test"]
        truth, found = self.truth[test], predicted[test]
        signs = truth != 0
        varies = np.ptp(found) > 0
        return [
            Row(f"MOSI, MAE of {name}", self.error(predicted, "test"), "", target),
            *([Row(f"MOSI, Pearson r of {name}", float(np.corrcoef(found, truth)[0, 1]), "")] if varies else []),
            Row(f"MOSI, Acc-2 of {name}", 100 * float(((found > 0) == (truth > 0))[signs].mean()), "%"),
        ]


def mosi(folder: Path) -> list[Row]:
    """Sentiment from audio features, from text, and from both; the validation part makes every choice."""
    say("MOSI")
    data = Mosi(folder)
    constant = np.full(len(data.truth), np.median(data.truth[data.parts["train"]]))
    audio, words = ({width: kernel(data, of, width) for width in WIDTHS} for of in (data.audio, data.words))
    joined = [one + share * other for one in words.values() for share in SHARES for other in audio.values()]
    concatenated = best_of(data, joined)
    nets = {name: coattention(data, name) for name in ("audio", "text", "both")}
    text_alone = best_of(data, words.values())
    return [
        *data.rows("a constant", constant),
        *data.rows("audio features alone", best_of(data, audio.values())),
        *data.rows("text alone", text_alone),
        *data.rows("both, concatenated", concatenated),
        *data.rows("audio features alone, co-attention", nets["audio"]),
        *data.rows("text alone, co-attention", nets["text"]),
        *data.rows("both, co-attention", nets["both"]),
        *data.rows("both, mean of the two ways", (concatenated + nets["both"]) / 2, 0.90),
    ]


def kernel(data: Mosi, features: Floats, width: float) -> Floats:
    """Gaussian kernel of all utterances with those of the training part; a sum of two is that of joined features."""
    train = features[data.parts["train"]]
    squares = (features**2).sum(axis=1)
    distances = squares[:, None] + squares[data.parts["train"]] - 2 * features @ train.T
    found: Floats = np.exp(-width * np.maximum(distances, 0) / features.shape[1])
    return found


def best_of(data: Mosi, kernels: Iterable[Floats]) -> Floats:
    """Kernel ridge regression by that kernel and penalty which the validation part is predicted best with."""
    train = data.parts["train"]
    level = data.truth[train].mean()
    found = []
    for each in kernels:
        values, vectors = np.linalg.eigh(each[train])
        projected = vectors.T @ (data.truth[train] - level)
        found += [level + each @ (vectors @ (projected / (values + penalty))) for penalty in PENALTIES]
    return min(found, key=lambda predicted: data.error(predicted, "valid"))


def coattention(data: Mosi, name: str) -> Floats:
    """Mean of networks of co-attention over the states of tokens and over the audio features, from several seeds."""
    return np.mean([_network(data, name, seed) for seed in range(SEEDS)], axis=0)


def _network(data: Mosi, name: str, seed: int) -> Floats:
    """One network; the epoch is that of the least validation error. The features stand as one segment of speech."""
    import_tensorflow()
    from keras import Input, Model, layers, losses, ops, optimizers, utils

    from serctl.models.coattention import UNITS, answer

    utils.set_random_seed(seed)
    scale = Scale("sentiment", -3, 3)
    audio, heard = Input((data.audio.shape[1],)), Input((1,))
    tokens, mask = Input((MOST_TOKENS, text.UNITS)), Input((MOST_TOKENS,))
    speech = layers.Dense(UNITS, activation="relu")(layers.Dropout(0.3)(audio))
    words = layers.Dense(UNITS, activation="relu")(layers.Dropout(0.3)(tokens))
    outputs = answer(ops.expand_dims(speech, axis=1), heard, words, mask, n_outputs=scale.bins)
    model = Model([audio, heard, tokens, mask], outputs)
    model.compile(optimizers.AdamW(5e-4, weight_decay=0.05), [losses.CategoricalCrossentropy() for _ in outputs])
    inputs = _inputs(data, name)
    train = data.parts["train"]
    answers = scale.histograms(data.truth)
    best = np.zeros(len(data.truth))
    least = np.inf
    for _ in range(EPOCHS):
        model.fit([each[train] for each in inputs], [answers[train]] * len(outputs), batch_size=32, verbose=0)
        predicted = scale.values(model.predict(inputs, batch_size=256, verbose=0)[0])
        if (error := data.error(predicted, "valid")) < least:
            best, least = predicted, error
    return best


def _inputs(data: Mosi, name: str) -> list[NDArray[np.float32]]:
    """Audio features, whether they count, states of tokens and their mask; what is left out has a mask of zeros."""
    count = len(data.states)
    tokens, mask = np.zeros((count, MOST_TOKENS, text.UNITS), np.float32), np.zeros((count, MOST_TOKENS), np.float32)
    if name != "audio":
        for row, states in enumerate(data.states):
            tokens[row, : len(states)], mask[row, : len(states)] = states, 1
    heard = np.full((count, 1), name != "text", np.float32)
    return [data.audio.astype(np.float32) * heard, heard, tokens, mask]


if __name__ == "__main__":
    main()
