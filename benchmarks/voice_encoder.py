"""Where the weights of serctl's voice encoder come from: the first two layers of Resemblyzer's, as numpy arrays.

    pip download --no-deps Resemblyzer==0.1.4
    python benchmarks/voice_encoder.py Resemblyzer-0.1.4-py3-none-any.whl

Writes serctl/pretrained/voice-encoder/weights.npz and says how far our layers are from PyTorch's. Needs torch.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from serctl.encoders import voice as voice_encoder

MEMBER = "resemblyzer/pretrained.pt"
ORDER = (0, 1, 3, 2)
"""PyTorch has the gates input, forget, candidate, output; ours come with the candidate last."""


def main() -> None:
    """Convert the weights in a wheel and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    with zipfile.ZipFile(parser.parse_args().wheel) as wheel:
        state = torch.load(io.BytesIO(wheel.read(MEMBER)), map_location="cpu", weights_only=False)["model_state"]
    lstm = {name.removeprefix("lstm."): values for name, values in state.items() if name.startswith("lstm.")}
    np.savez(voice_encoder.WEIGHTS, allow_pickle=False, **converted(lstm))
    print(f"{voice_encoder.WEIGHTS.name}: largest difference to PyTorch {difference(lstm):.1e}, in states up to 1")


def converted(lstm: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The arrays of weights.npz, float16."""
    arrays = {}
    for layer in (1, 2):
        bias = lstm[f"bias_ih_l{layer - 1}"] + lstm[f"bias_hh_l{layer - 1}"]
        arrays[f"kernel_{layer}"] = reordered(lstm[f"weight_ih_l{layer - 1}"]).T
        arrays[f"recurrent_{layer}"] = reordered(lstm[f"weight_hh_l{layer - 1}"]).T
        arrays[f"bias_{layer}"] = reordered(bias)
    return {name: np.ascontiguousarray(array, dtype=np.float16) for name, array in arrays.items()}


def reordered(values: torch.Tensor) -> np.ndarray:
    """Rows by gate in our order."""
    return np.concatenate([values.numpy().reshape(4, voice_encoder.UNITS, -1)[gate] for gate in ORDER]).squeeze()


def difference(lstm: dict[str, torch.Tensor]) -> float:
    """Of the hidden states that both make of 300 frames of noise."""
    frames = np.random.default_rng(0).random((300, voice_encoder.N_MELS), dtype=np.float32)
    reference = torch.nn.LSTM(voice_encoder.N_MELS, voice_encoder.UNITS, num_layers=2, batch_first=True)
    reference.load_state_dict({name: lstm[name] for name in reference.state_dict()})
    with torch.no_grad():
        expected = reference(torch.from_numpy(frames)[None])[0][0].numpy()
    return float(np.abs(voice_encoder.encode_frames(frames[:, None])[:, 0] - expected).max())


if __name__ == "__main__":
    main()
