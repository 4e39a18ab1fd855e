"""Where the network of serctl's speech encoder comes from: the lower layers of Whisper tiny.en's audio encoder.

    python benchmarks/speech_encoder.py whisper-tiny-en-encoder.npz

Takes the encoder's weights as numpy arrays (names as in CTranslate2), writes serctl/pretrained/speech-encoder/
encoder.tflite, and says how far its statistics in float16 are from those of the network in float32 on sample_audio.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from serctl.audio.segments import read_audio
from serctl.encoders import speech
from serctl.encoders.speech_network import build_encoder, to_litert

SAMPLES = Path(__file__).parents[1] / "sample_audio"


def main() -> None:
    """Convert the weights and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    with np.load(parser.parse_args().weights, allow_pickle=False) as arrays:
        weights = {name: arrays[name].astype(np.float32) for name in arrays.files}
    model = build_encoder(weights)
    speech.MODEL.write_bytes(to_litert(model))
    encodings = abs(speech.position_encodings() - weights["position_encodings.encodings"]).max()
    print(f"position encodings: largest difference {encodings:.1e}")
    differences = [difference(model, path) for path in sorted(SAMPLES.glob("*.flac"))]
    print(f"{speech.MODEL.stat().st_size / 1e6:.1f} MB, states up to {max(size for _, size in differences):.0f}")
    print(f"largest difference of the states, float16 in LiteRT from float32: {max(d for d, _ in differences):.1e}")


def difference(model: object, path: Path) -> tuple[float, float]:
    """Return the largest difference of the states of a recording, and the largest state."""
    log_mel = speech.speech_bands(read_audio(path, sample_rate=speech.SAMPLE_RATE)).log_mel
    tokens = len(log_mel) // 2
    expected = model([log_mel[None, :, None], speech.position_encodings()[None, :tokens]])  # type: ignore[operator]
    layers = [np.asarray(expected[f"layer_{number}"])[0] for number in range(1, speech.LAYERS + 1)]
    found = speech.encode_bands(log_mel)
    return max(float(abs(a - b).max()) for a, b in zip(found, layers, strict=True)), float(abs(layers[-1]).max())


if __name__ == "__main__":
    main()
