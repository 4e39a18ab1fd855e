"""Telephone line: 300 to 3400 Hz, 8 kHz, coded as a land line (mu-law) or a mobile phone (GSM full rate) does."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.signal
import soundfile

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters

TELEPHONE_RATE = 8_000
PEAK = 0.5
"""What the loudest sample is brought to before coding: a line has a gain control, and codes quiet speech coarsely."""

_SUBTYPES = {"mulaw": "ULAW", "gsm": "GSM610"}


@dataclass(frozen=True)
class Telephone:
    """A telephone call; the level of the recording is kept.

    Attributes:
        codings: what to draw from: mulaw (ITU-T G.711, 64 kbit/s), gsm (ETSI GSM 06.10 full rate, 13 kbit/s).
    """

    codings: tuple[str, ...] = ("mulaw",)

    def __post_init__(self) -> None:
        if not self.codings or set(self.codings) - set(_SUBTYPES):
            raise ConfigError(f"expected codings among {', '.join(_SUBTYPES)}. Received: {self.codings}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Pass mono float32 samples, shape (n,), through a call; parameter telephone_coding."""
        coding = self.codings[int(rng.integers(len(self.codings)))]
        peak = float(np.abs(samples).max(initial=0.0))
        if peak == 0:
            return samples, {"telephone_coding": coding}
        narrow = scipy.signal.resample_poly(samples * (PEAK / peak), TELEPHONE_RATE, sample_rate)
        coded = _code(scipy.signal.sosfilt(_band_pass(), narrow), _SUBTYPES[coding])
        wide = scipy.signal.resample_poly(coded, sample_rate, TELEPHONE_RATE)
        wide = np.pad(wide, (0, max(len(samples) - len(wide), 0)))[: len(samples)]
        return (wide * (peak / PEAK)).astype(np.float32), {"telephone_coding": coding}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "telephone", **asdict(self), "codings": list(self.codings)}


@lru_cache(maxsize=1)
def _band_pass() -> NDArray[np.float64]:
    sections: NDArray[np.float64] = scipy.signal.butter(4, (300, 3_400), "bandpass", fs=TELEPHONE_RATE, output="sos")
    return sections


def _code(samples: NDArray[np.float64], subtype: str) -> NDArray[np.float32]:
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), TELEPHONE_RATE, format="WAV", subtype=subtype)
    stream.seek(0)
    coded: NDArray[np.float32] = soundfile.read(stream, dtype="float32")[0]
    return coded
