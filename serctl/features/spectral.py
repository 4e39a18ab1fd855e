"""Frame-level spectral descriptors, all from one shared power spectrum.

Every weighted sum over frequency is one matrix product with constant weights, computed once for each config.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from serctl.features.config import FeatureConfig

FloatArray = NDArray[np.float32]

FLOOR = 1e-10
"""Power below which a level counts as silence: -100 dB re full scale."""

ROLLOFF_SHARE = 0.85
_BLOCK = 16


def frame_signal(samples: FloatArray, config: FeatureConfig) -> FloatArray:
    """Cut a signal into overlapping frames, centred on multiples of the hop, with zeros beyond the edges.

    Args:
        samples: float32, shape (n,), mono at config.sample_rate Hz.
        config: analysis parameters.

    Returns:
        float32 view, shape (1 + n // hop_length, frame_length).
    """
    half = config.frame_length // 2
    padded = np.pad(samples, (half, config.frame_length - half))
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.frame_length)
    return frames[:: config.hop_length][: 1 + len(samples) // config.hop_length]


def frame_power(samples: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the mean square of every frame.

    Args:
        samples: float32, shape (n,), mono at config.sample_rate Hz.
        config: analysis parameters.

    Returns:
        float32, shape (frames,).
    """
    half = config.frame_length // 2
    squares = np.zeros(len(samples) + config.frame_length + 1, dtype=np.float64)
    np.cumsum(np.square(samples, dtype=np.float64), out=squares[half + 1 : half + 1 + len(samples)])
    squares[half + 1 + len(samples) :] = squares[half + len(samples)]
    starts = np.arange(1 + len(samples) // config.hop_length) * config.hop_length
    power = (squares[starts + config.frame_length] - squares[starts]) / config.frame_length
    return np.maximum(power, 0).astype(np.float32)


def active_frames(power: FloatArray, config: FeatureConfig) -> slice:
    """Find the frames between the first and the last one within config.trim_db of the loudest.

    Args:
        power: float32, shape (frames,), as returned by frame_power.
        config: analysis parameters.

    Returns:
        A slice of the frames; all frames of a silent window.
    """
    threshold = float(power.max()) * 10 ** (-config.trim_db / 10)
    loud = np.flatnonzero(power >= max(threshold, FLOOR))
    return slice(int(loud[0]), int(loud[-1]) + 1) if loud.size else slice(0, len(power))


def power_spectrum(frames: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the power spectrum of Hann-windowed frames.

    Args:
        frames: float32, shape (frames, frame_length).
        config: analysis parameters.

    Returns:
        float32, shape (frames, n_fft // 2 + 1).
    """
    spectrum = np.fft.rfft(frames * hann(config.frame_length), n=config.n_fft, axis=-1)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def to_db(power: FloatArray) -> FloatArray:
    """Convert power to decibels re 1.0, with a floor of -100 dB.

    Args:
        power: float32, any shape.

    Returns:
        float32, the shape of power.
    """
    return np.float32(10) * np.log10(np.maximum(power, np.float32(FLOOR)))


def log_mel(spectrum: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the log-mel spectrogram in dB.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        config: analysis parameters.

    Returns:
        float32, shape (frames, config.n_mels).

    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420; Slaney's mel scale and area normalisation.
    """
    return to_db(spectrum @ mel_filterbank(config))


def mfcc(log_mel_db: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute mel-frequency cepstral coefficients 1 to n_mfcc: the orthonormal DCT-II of the log-mel spectrogram.

    Coefficient 0, the level, is left out.

    Args:
        log_mel_db: float32, shape (frames, n_mels).
        config: analysis parameters.

    Returns:
        float32, shape (frames, n_mfcc).

    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.
    """
    return log_mel_db @ _dct_matrix(config)


def delta(values: FloatArray) -> FloatArray:
    """Compute the slope at each frame over nine frames; the edges are repeated.

    Args:
        values: float32, shape (frames, descriptors).

    Returns:
        float32, shape (frames, descriptors), change per frame.

    Source: Furui 1986, doi:10.1109/TASSP.1986.1164788.
    """
    reach, n = 4, len(values)
    padded = np.concatenate([values[:1].repeat(reach, axis=0), values, values[-1:].repeat(reach, axis=0)])
    total = np.zeros_like(values)
    for k in range(1, reach + 1):
        total += np.float32(k) * (padded[reach + k : reach + k + n] - padded[reach - k : reach - k + n])
    return total / np.float32(60)


def zero_crossing_rate(frames: FloatArray) -> FloatArray:
    """Compute the share of neighbouring samples of different sign.

    Args:
        frames: float32, shape (frames, frame_length).

    Returns:
        float32, shape (frames,).
    """
    negative = frames < 0
    return np.mean(negative[:, 1:] != negative[:, :-1], axis=1, dtype=np.float32)


def loudness(mel_power: FloatArray) -> FloatArray:
    """Compute the perceived loudness: the sum of the auditory bands, each raised to the power 0.33.

    Args:
        mel_power: power in mel bands, float32, shape (frames, n_mels).

    Returns:
        float32, shape (frames,).

    Source: Hermansky 1990, doi:10.1121/1.399423; in eGeMAPS: Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417.
    """
    return np.power(np.maximum(mel_power, np.float32(FLOOR)), np.float32(0.33)).sum(axis=1)


def flux(magnitude: FloatArray) -> FloatArray:
    """Compute the spectral flux: the Euclidean distance of consecutive magnitude spectra, each scaled to length 1.

    Args:
        magnitude: float32, shape (frames, bins).

    Returns:
        float32, shape (frames,); 0 for the first frame and between silent frames.
    """
    norms = np.sqrt(np.einsum("tb,tb->t", magnitude, magnitude))
    products = np.einsum("tb,tb->t", magnitude[1:], magnitude[:-1])
    similarity = products / np.maximum(norms[1:] * norms[:-1], np.float32(FLOOR))
    silent = (norms[1:] < FLOOR) & (norms[:-1] < FLOOR)
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    return np.concatenate([[np.float32(0)], np.where(silent, np.float32(0), distance)]).astype(np.float32)


def moments(magnitude: FloatArray, config: FeatureConfig) -> tuple[FloatArray, FloatArray]:
    """Compute the spectral centroid and bandwidth, the standard deviation around the centroid.

    Args:
        magnitude: float32, shape (frames, bins).
        config: analysis parameters.

    Returns:
        Centroid and bandwidth in Hz, each float32, shape (frames,).
    """
    hz = frequencies(config)
    sums = magnitude @ np.stack([np.ones_like(hz), hz / 1000, np.square(hz / 1000)], axis=1)
    mass = np.maximum(sums[:, 0], np.float32(FLOOR))
    centre = sums[:, 1] / mass
    spread = np.sqrt(np.maximum(sums[:, 2] / mass - np.square(centre), 0))
    return 1000 * centre, 1000 * spread


def rolloff(magnitude: FloatArray, config: FeatureConfig) -> FloatArray:
    """Find the frequency below which 85 % of the magnitude is.

    The search is first among blocks of bins, then within one block: a running sum over all bins would take longer than
    the Fourier transform.

    Args:
        magnitude: float32, shape (frames, bins).
        config: analysis parameters.

    Returns:
        float32, shape (frames,), Hz.
    """
    bins = magnitude.shape[1]
    blocks = np.cumsum(np.add.reduceat(magnitude, np.arange(0, bins, _BLOCK), axis=1), axis=1)
    threshold = np.float32(ROLLOFF_SHARE) * blocks[:, -1:]
    block = np.argmax(blocks >= threshold, axis=1)
    rows = np.arange(len(magnitude))
    below = np.where(block > 0, blocks[rows, block - 1], np.float32(0))
    inside = np.minimum(block[:, None] * _BLOCK + np.arange(_BLOCK), bins - 1)
    reached = below[:, None] + np.cumsum(magnitude[rows[:, None], inside], axis=1) >= threshold
    # Rounding may leave the threshold just above the block's last sum: then it is its last bin.
    offset = np.where(reached.any(axis=1), np.argmax(reached, axis=1), _BLOCK - 1)
    return frequencies(config)[inside[rows, offset]]


def alpha_ratio_db(spectrum: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the alpha ratio: the power of 50-1000 Hz over that of 1-5 kHz.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        config: analysis parameters.

    Returns:
        float32, shape (frames,), dB.

    Source: Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417.
    """
    low, high = _bins(50, 1000, config), _bins(1000, 5000, config)
    return to_db(spectrum[:, low].sum(axis=1)) - to_db(spectrum[:, high].sum(axis=1))


def hammarberg_db(spectrum: FloatArray, config: FeatureConfig) -> FloatArray:
    """Compute the Hammarberg index: the strongest peak below 2 kHz over that in 2-5 kHz.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        config: analysis parameters.

    Returns:
        float32, shape (frames,), dB.

    Source: Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417.
    """
    low, high = _bins(0, 2000, config), _bins(2000, 5000, config)
    return to_db(spectrum[:, low].max(axis=1)) - to_db(spectrum[:, high].max(axis=1))


def level_slope(spectrum: FloatArray, low_hz: float, high_hz: float, config: FeatureConfig) -> FloatArray:
    """Compute the linear slope of the level over a band, by least squares.

    Args:
        spectrum: power spectrum, float32, shape (frames, bins).
        low_hz: lower edge of the band.
        high_hz: upper edge of the band.
        config: analysis parameters.

    Returns:
        float32, shape (frames,), dB per kHz.

    Source: Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417.
    """
    bins = _bins(low_hz, high_hz, config)
    khz = frequencies(config)[bins] / 1000
    centred = khz - khz.mean()
    return to_db(spectrum[:, bins]) @ (centred / np.sum(np.square(centred)))


def _bins(low_hz: float, high_hz: float, config: FeatureConfig) -> slice:
    per_bin = config.sample_rate / config.n_fft
    return slice(int(np.ceil(low_hz / per_bin)), int(np.ceil(high_hz / per_bin)))


@lru_cache(maxsize=8)
def frequencies(config: FeatureConfig) -> FloatArray:
    """Return the centre frequency of every bin of the spectrum in Hz, float32, shape (bins,)."""
    return (np.arange(config.n_fft // 2 + 1) * (config.sample_rate / config.n_fft)).astype(np.float32)


@lru_cache(maxsize=8)
def hann(length: int) -> FloatArray:
    """Return the periodic Hann window, float32, shape (length,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filterbank(config: FeatureConfig) -> FloatArray:
    """Return triangular filters on Slaney's mel scale, each of area 1.

    Args:
        config: analysis parameters.

    Returns:
        float32, shape (bins, n_mels).

    Source: Slaney 1998, Auditory Toolbox, Interval Research Technical Report 1998-010.
    """
    edges = mel_points_hz(config, config.n_mels + 2)
    rising = (frequencies(config)[:, None] - edges[None, :-2]) / np.diff(edges)[None, :-1]
    falling = (edges[None, 2:] - frequencies(config)[:, None]) / np.diff(edges)[None, 1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)


def mel_points_hz(config: FeatureConfig, number: int) -> NDArray[np.float64]:
    """Return frequencies from mel_low_hz to mel_high_hz, evenly spaced in mel.

    Args:
        config: analysis parameters.
        number: how many.

    Returns:
        In Hz, float64, shape (number,).
    """
    return _mel_to_hz(np.linspace(_hz_to_mel(config.mel_low_hz), _hz_to_mel(config.mel_high_hz), number))


def _hz_to_mel(hz: float) -> float:
    return hz / (200 / 3) if hz < 1000 else 15 + float(np.log(hz / 1000)) / (np.log(6.4) / 27)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * (200 / 3), 1000 * np.exp((mel - 15) * (np.log(6.4) / 27)))


@lru_cache(maxsize=8)
def _dct_matrix(config: FeatureConfig) -> FloatArray:
    bands, orders = np.arange(config.n_mels), np.arange(1, config.n_mfcc + 1)
    basis = np.cos(np.pi / config.n_mels * np.outer(bands + 0.5, orders)) * np.sqrt(2 / config.n_mels)
    return basis.astype(np.float32)
