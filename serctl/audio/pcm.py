"""Decode raw PCM samples from a pipe or a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from serctl.audio.signatures import SIGNED_BYTES, kind_of
from serctl.errors import AudioError, ConfigError, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


PCM_FORMATS: dict[str, tuple[np.dtype[Any], float]] = {
    "s16le": (np.dtype("<i2"), 2.0**15),
    "s32le": (np.dtype("<i4"), 2.0**31),
    "f32le": (np.dtype("<f4"), 1.0),
}
"""Sample formats by ffmpeg's names: type and full scale."""

LARGEST_SAMPLE = 1e6
"""Far beyond any audio, and small enough that its square stays finite in float32."""

PIPE_BYTES = 65_536


class PcmDecoder:
    """Raw samples from a pipe: bytes in pieces of any size to mono samples at the model's rate.

    Raises ConfigError for a format or a rate that is not known.
    """

    def __init__(self, *, sample_format: str, rate: int, to_rate: int) -> None:
        import soxr

        if sample_format not in PCM_FORMATS:
            raise ConfigError(f"expected a sample format among {', '.join(PCM_FORMATS)}, received {sample_format}")
        if not 4_000 <= rate <= 384_000:
            raise ConfigError(f"expected a rate from 4000 to 384000 Hz, received {rate}")
        self._type, self._full_scale = PCM_FORMATS[sample_format]
        self._resampler = soxr.ResampleStream(rate, to_rate, 1, dtype="float32") if rate != to_rate else None
        self._torn = b""
        self._beginning = b""

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """The samples that these bytes complete, float32; NaN and infinity become silence, huge values are clipped.

        Raises AudioError if the first bytes are those of a recording with a header.
        """
        self._check_beginning(data)
        data = self._torn + data
        whole = len(data) - len(data) % self._type.itemsize
        self._torn = data[whole:]
        samples = np.frombuffer(data[:whole], self._type).astype(np.float32)
        finite = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        bounded = np.clip(finite / np.float32(self._full_scale), -LARGEST_SAMPLE, LARGEST_SAMPLE)
        return self._resampler.resample_chunk(bounded) if self._resampler else bounded

    def _check_beginning(self, data: bytes) -> None:
        if len(self._beginning) == SIGNED_BYTES:
            return
        self._beginning += data[: SIGNED_BYTES - len(self._beginning)]
        if kind := kind_of(self._beginning):
            raise AudioError(
                f"expected raw samples, received {kind}: give the file's name, or pipe it through "
                "ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -"
            )

    def finish(self) -> NDArray[np.float32]:
        """What resampling still holds back. Raises AudioError if there was no sample, or the last one is torn."""
        if not self._beginning:
            raise AudioError("the stream ended before its first sample")
        if self._torn:
            raise AudioError(
                f"the stream ended in the middle of a sample: {len(self._torn)} of {self._type.itemsize} bytes",
                Remedy.SAMPLE_FORMAT,
            )
        empty = np.empty(0, np.float32)
        return self._resampler.resample_chunk(empty, last=True) if self._resampler else empty


def samples_of_pipe(pipe: BinaryIO, decoder: PcmDecoder) -> Iterator[NDArray[np.float32]]:
    """What a pipe holds, as soon as it is there, until it is closed. Raises AudioError if it holds no raw samples."""
    while data := pipe.read1(PIPE_BYTES):  # type: ignore[attr-defined]
        yield decoder.decode(data)
    yield decoder.finish()
