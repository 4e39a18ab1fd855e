"""Lossy codecs: MP3 and Opus at low bit rates, there and back."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters

_FORMATS = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS")}
_LIMITS_KBPS = {"mp3": (8.0, 160.0), "opus": (6.0, 256.0), "vorbis": (16.0, 100.0)}
"""Bit rates of the ends of libsndfile's compression level, for mono at CODING_RATE."""

CODING_RATE = 16_000
"""Sample rate that is coded, whatever that of the recording: not every codec takes every rate."""


@dataclass(frozen=True)
class Codec:
    """A lossy codec drawn from `codecs`, at a bit rate drawn from [low_kbps, high_kbps] as nearly as it has it.

    Attributes:
        codecs: among mp3, opus and vorbis.
    """

    codecs: tuple[str, ...] = ("mp3", "opus")
    low_kbps: float = 16.0
    high_kbps: float = 48.0

    def __post_init__(self) -> None:
        if not self.codecs or set(self.codecs) - set(_FORMATS):
            raise ConfigError(f"expected codecs among {', '.join(_FORMATS)}. Received: {self.codecs}")
        if not 6 <= self.low_kbps <= self.high_kbps <= 256:
            raise ConfigError(f"expected 6 <= low <= high <= 256 kbit/s. Received: {self.low_kbps}, {self.high_kbps}")

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Code and decode mono float32 samples, shape (n,); parameters codec, codec_kbps."""
        codec = self.codecs[int(rng.integers(len(self.codecs)))]
        low, high = _LIMITS_KBPS[codec]
        kbps = float(np.clip(rng.uniform(self.low_kbps, self.high_kbps), low, high))
        import soxr  # here, for the options of a training are read before anything is loaded

        given = soxr.resample(samples, sample_rate, CODING_RATE)
        decoded = soxr.resample(_code(given, codec, (high - kbps) / (high - low)), CODING_RATE, sample_rate)
        decoded = np.pad(decoded, (0, max(len(samples) - len(decoded), 0)))[: len(samples)]
        return decoded, {"codec": codec, "codec_kbps": kbps}

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        return {"transform": "codec", **asdict(self), "codecs": list(self.codecs)}


def _code(samples: NDArray[np.float32], codec: str, compression: float) -> NDArray[np.float32]:
    """There and back, at CODING_RATE; compression: from 0 to 1, as libsndfile has it."""
    stream = io.BytesIO()
    form, subtype = _FORMATS[codec]
    constant = {"bitrate_mode": "CONSTANT"} if codec == "mp3" else {}
    soundfile.write(
        stream,
        np.clip(samples, -1, 1),
        CODING_RATE,
        format=form,
        subtype=subtype,
        compression_level=compression,
        **constant,
    )
    stream.seek(0)
    decoded: NDArray[np.float32] = soundfile.read(stream, dtype="float32")[0]
    return decoded
