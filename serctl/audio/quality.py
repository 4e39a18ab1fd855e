"""Measure the quality of a recording: clipping, silence, noise, bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Powers relative to full scale, and numbers of frames, that Quality documents.
_SILENCE = 1e-6
_SILENCE_BELOW_LOUD = 1e-4
_AUDIBLE = 1e-10
_SNR_FRAMES = 10
_BANDWIDTH_BELOW_PEAK = 1e-6
_BANDWIDTH_FLOOR = 4 / 12 / 32768**2
# Enough of a block's frames for its long-term spectrum.
_SPECTRUM_FRAMES = 64
# The largest code of these subtypes is clearly below 1.0.
_FULL_SCALE = {"PCM_S8": 127 / 128, "PCM_U8": 127 / 128, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}


@dataclass(frozen=True)
class Quality:
    """Quality facts of a recording, or of the stretch of it that was read; nan where undefined.

    All but clipping are measured on 20 ms frames of the downmix at the recording's own rate, each without its mean.

    clipping: share of samples (of all channels) at or beyond 0.999 of full scale.
    silence: share of frames whose RMS is below -60 dBFS, or over 40 dB below that of the loud ones (95th percentile).
    snr_db: level of the loud frames (95th percentile) over that of the noise floor (10th percentile), among the frames
        above -100 dBFS, so that digital zeros around an utterance do not count as its noise floor. nan if there are
        fewer than ten of these.
    bandwidth_hz: highest frequency at which the long-term average spectrum is within 60 dB of its peak, and 6 dB above
        the rounding noise of 16-bit samples; nan if there is none.
    """

    clipping: float
    silence: float
    snr_db: float
    bandwidth_hz: float


def frame_length(sample_rate: int) -> int:
    """Samples in 20 ms."""
    return max(round(0.02 * sample_rate), 1)


def frame_powers(mono: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return the power of every 20 ms, relative to full scale, without its mean; float32, shape (n // frame,)."""
    return _powers(_centred(mono, frame_length(sample_rate)))


def _centred(mono: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Frames without their mean (DC is no sound), shape (n // length, length)."""
    frames = mono[: len(mono) // length * length].reshape(-1, length)
    centred: NDArray[np.float32] = frames - frames.mean(axis=1, keepdims=True)
    return centred


def _powers(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.einsum("ij,ij->i", frames, frames) / np.float32(frames.shape[1])


class QualityMeter:
    """Accumulates the facts of Quality block by block."""

    def __init__(self, sample_rate: int, subtype: str) -> None:
        self._sample_rate = sample_rate
        self._length = frame_length(sample_rate)
        self._clip_level = np.float32(0.999 * _FULL_SCALE.get(subtype, 1.0))
        self._window = np.hanning(self._length + 2)[1:-1].astype(np.float32)
        self._clipped = self._values = 0
        self._energies: list[NDArray[np.float32]] = []
        self._spectrum = np.zeros(self._length // 2 + 1)
        self._spectrum_weight = 0.0

    def add(self, block: NDArray[np.float32], mono: NDArray[np.float32]) -> None:
        """Take in a block, float32 (n, channels), and its mix, float32 (n,)."""
        self._values += block.size
        self._clipped += int(np.count_nonzero(np.abs(block) >= self._clip_level))
        frames = self._frames(mono)
        if len(frames):
            self._energies.append(_powers(frames))
            self._add_spectrum(frames)

    def result(self) -> Quality:
        """The facts of all blocks so far."""
        energies = np.sort(np.concatenate(self._energies))
        loud = _percentile(energies, 95)
        silent = max(_SILENCE, loud * _SILENCE_BELOW_LOUD)
        return Quality(
            clipping=self._clipped / self._values,
            silence=float(np.searchsorted(energies, silent)) / len(energies),
            snr_db=_snr_db(energies),
            bandwidth_hz=self._bandwidth_hz(),
        )

    def _frames(self, mono: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames without their mean, shape (n, length); a recording shorter than one is padded."""
        if len(mono) >= self._length:
            return _centred(mono, self._length)
        if self._energies:
            return np.empty((0, self._length), np.float32)
        padded = np.zeros((1, self._length), np.float32)
        padded[0, : len(mono)] = mono - mono.mean()
        return padded

    def _add_spectrum(self, frames: NDArray[np.float32]) -> None:
        step = -(-len(frames) // _SPECTRUM_FRAMES)
        spectra = np.fft.rfft(frames[::step] * self._window)
        # Every block counts by its length.
        self._spectrum += step * np.einsum("ij,ij->j", spectra, spectra.conj()).real
        self._spectrum_weight += step * len(spectra) * float(self._window @ self._window)

    def _bandwidth_hz(self) -> float:
        floor = max(self._spectrum.max() * _BANDWIDTH_BELOW_PEAK, self._spectrum_weight * _BANDWIDTH_FLOOR)
        above = np.flatnonzero(self._spectrum > floor)
        return float(above[-1]) * self._sample_rate / self._length if len(above) else math.nan


def _percentile(ordered: NDArray[np.float32], percent: int) -> float:
    """The sample percentile of sorted values, by nearest rank; numpy.percentile takes longer than all the rest here."""
    return float(ordered[(len(ordered) - 1) * percent // 100])


def _snr_db(ordered: NDArray[np.float32]) -> float:
    audible = ordered[np.searchsorted(ordered, _AUDIBLE) :]
    if len(audible) < _SNR_FRAMES:
        return math.nan
    return 10 * math.log10(_percentile(audible, 95) / _percentile(audible, 10))
