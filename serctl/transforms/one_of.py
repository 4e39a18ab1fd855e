"""One of several transforms, drawn at random: for recordings that meet different conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serctl.errors import ConfigError
from serctl.transforms.babble import Babble
from serctl.transforms.codec import Codec
from serctl.transforms.level import Level
from serctl.transforms.noise import Noise
from serctl.transforms.room import Room
from serctl.transforms.telephone import Telephone

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters, Transform


@dataclass(frozen=True)
class OneOf:
    """One of the chains of transforms, applied with the chance of its weight.

    Raises:
        ConfigError: there is no chain, or not one positive weight for each.
    """

    chains: tuple[tuple[Transform, ...], ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.chains or len(self.chains) != len(self.weights) or min(self.weights) <= 0:
            raise ConfigError(f"expected a positive weight for each of {len(self.chains)} chains")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change mono float32 samples, shape (n,); the parameters are those of the chain that was drawn."""
        total = sum(self.weights)
        chain = self.chains[int(rng.choice(len(self.chains), p=[weight / total for weight in self.weights]))]
        parameters: Parameters = {}
        for transform in chain:
            samples, drawn = transform(samples, sample_rate, rng)
            parameters.update(drawn)
        return samples, parameters

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        chains = [[transform.to_dict() for transform in chain] for chain in self.chains]
        return {"transform": "one_of", "chains": chains, "weights": list(self.weights)}


def recording_conditions(noise_files: tuple[Path, ...] = (), voice_files: tuple[Path, ...] = ()) -> OneOf:
    """Return what befalls recordings in use: telephone, noise, room, codec, level, voices, or several of them.

    Args:
        noise_files: recordings to take noise from; without any, the noise is white.
        voice_files: recordings of speech to make babble of; without any, there is none.
    """
    telephone = Telephone(("mulaw", "gsm"))
    noise, room = Noise(4.0, 25.0, noise_files), Room()
    codec, level = Codec(("mp3", "opus"), 16.0, 40.0), Level(-35.0, 15.0)
    chains = ((telephone,), (noise,), (room,), (codec,), (level,), (room, noise), (noise, telephone))
    weights = (0.2, 0.3, 0.18, 0.1, 0.06, 0.08, 0.08)
    if not voice_files:
        return OneOf(chains, weights)
    babble = Babble(voice_files, 4.0, 25.0)
    return OneOf((*chains, (babble,), (room, babble)), (*weights, 0.2, 0.06))
