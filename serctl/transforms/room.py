"""Room: reverberation of a simulated room, early reflections by the image method and a diffuse tail."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.signal

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters

SPEED_OF_SOUND = 343.0
EARLY_S = 0.05
"""How long reflections are traced one by one; later ones are so dense that noise stands for them."""

_SMALLEST_M, _LARGEST_M = (3.0, 3.0, 2.4), (9.0, 7.0, 3.6)
_REACH = 6


@dataclass(frozen=True)
class Room:
    """A box-shaped room whose reverberation time RT60 is drawn from [rt60_low_s, rt60_high_s].

    Size, and the places of speaker and microphone (distance_low_m to distance_high_m apart) are drawn too. The direct
    sound stays where it was, and the power of the recording is kept.

    Sources: Allen & Berkley 1979, doi:10.1121/1.382599 (image method); Eyring 1930, doi:10.1121/1.1915175 (absorption);
    Polack 1988 (the tail as decaying Gaussian noise).
    """

    rt60_low_s: float = 0.2
    rt60_high_s: float = 0.9
    distance_low_m: float = 0.5
    distance_high_m: float = 3.0

    def __post_init__(self) -> None:
        if not 0.05 <= self.rt60_low_s <= self.rt60_high_s <= 10:
            raise ConfigError(f"expected 0.05 <= low <= high <= 10 s. Received: {self.rt60_low_s}, {self.rt60_high_s}")
        if not 0.1 <= self.distance_low_m <= self.distance_high_m:
            raise ConfigError(f"expected 0.1 <= low <= high m. Received: {self.distance_low_m}, {self.distance_high_m}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Put mono float32 samples, shape (n,), into a room; parameters room_rt60_s, room_distance_m."""
        rt60_s = float(rng.uniform(self.rt60_low_s, self.rt60_high_s))
        distance_m = float(rng.uniform(self.distance_low_m, self.distance_high_m))
        response = impulse_response(rt60_s, distance_m, sample_rate, rng)
        wet = scipy.signal.fftconvolve(samples.astype(np.float64), response)[: len(samples)]
        power = float(np.mean(np.square(wet)))
        gain = np.sqrt(float(np.mean(np.square(samples, dtype=np.float64))) / power) if power > 0 else 1.0
        return (wet * gain).astype(np.float32), {"room_rt60_s": rt60_s, "room_distance_m": distance_m}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "room", **asdict(self)}


def impulse_response(
    rt60_s: float, distance_m: float, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The response of a room from the direct sound on; shape (n,), the direct sound about 1 at sample 0."""
    size = rng.uniform(_SMALLEST_M, _LARGEST_M)
    microphone = rng.uniform(0.3 * size, 0.7 * size)
    direction = rng.standard_normal(3) * (1, 1, 0.2)
    speaker = microphone + distance_m * direction / np.linalg.norm(direction)
    speaker = np.clip(speaker, 0.2, size - 0.2)
    direct_m = max(float(np.linalg.norm(speaker - microphone)), 0.1)
    distances, gains = _images(size, speaker, microphone, _reflection(size, rt60_s))
    delays_s = (distances - direct_m) / SPEED_OF_SOUND
    early = (delays_s >= 0) & (delays_s < EARLY_S)
    response = np.zeros(max(round(rt60_s * sample_rate), round(EARLY_S * sample_rate) + 1))
    np.add.at(response, np.round(delays_s[early] * sample_rate).astype(int), (gains * direct_m / distances)[early])
    return response + _tail(response, size, direct_m, rt60_s, sample_rate, rng)


def _reflection(size: NDArray[np.float64], rt60_s: float) -> float:
    """The walls' reflection coefficient of pressure that gives the reverberation time."""
    volume = float(np.prod(size))
    surface = 2 * float(size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    return float(np.exp(-0.161 * volume / (surface * rt60_s) / 2))


def _images(
    size: NDArray[np.float64], speaker: NDArray[np.float64], microphone: NDArray[np.float64], reflection: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance in m and gain of every image of the speaker, the speaker among them."""
    number = np.arange(-_REACH, _REACH + 1)
    axes = []
    for axis in range(3):
        place = np.where(
            number % 2 == 0, number * size[axis] + speaker[axis], (number + 1) * size[axis] - speaker[axis]
        )
        axes.append(np.square(place - microphone[axis]))
    squares = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    bounces = np.abs(number)[:, None, None] + np.abs(number)[None, :, None] + np.abs(number)[None, None, :]
    return np.maximum(np.sqrt(squares), 0.1).ravel(), (reflection**bounces).ravel()


def _tail(
    early: NDArray[np.float64],
    size: NDArray[np.float64],
    direct_m: float,
    rt60_s: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Decaying noise behind the early part, as strong as a diffuse field is against the direct sound."""
    first = round(EARLY_S * sample_rate)
    decay = 10 ** (-3 * np.arange(len(early)) / (rt60_s * sample_rate))
    # Critical distance, where direct and diffuse sound are equally strong: Kuttruff, Room Acoustics, 0.057 sqrt(V / T).
    critical_m = 0.057 * np.sqrt(float(np.prod(size)) / rt60_s)
    noise = rng.standard_normal(len(early)) * decay
    noise *= direct_m / critical_m / np.sqrt(np.sum(np.square(decay)))
    noise[:first] = 0
    return noise
