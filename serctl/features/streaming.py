"""The log-mel spectrogram of a live signal: every frame once, as soon as its last sample has arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.signal

from serctl.features import spectral

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray

_DC_POLE = 0.995
"""Pole of the high-pass filter at 13 Hz that removes the constant part: the mean of a live signal is not known yet."""


class MelStream:
    """Frames of a growing signal, centred on multiples of the hop as in spectral.frame_signal.

    The frames do not depend on how the samples are cut into pieces. Frame i needs (i * hop + half a frame) samples, so
    the delay is half a frame.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self._filter_state: NDArray[np.float64] = np.zeros(1)
        self._pending = np.zeros(config.frame_length // 2, np.float32)

    def push(self, samples: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Add samples and return the frames that they complete.

        Args:
            samples: float32, shape (n,), mono at config.sample_rate Hz, full scale 1.0, all finite.

        Returns:
            log_mel (frames, n_mels) in dB and level_db (frames,) in dB re full scale, both float32.
        """
        config = self._config
        if len(samples):
            steady, self._filter_state = scipy.signal.lfilter(
                [1.0, -1.0], [1.0, -_DC_POLE], samples.astype(np.float64), zi=self._filter_state
            )
            self._pending = np.concatenate([self._pending, steady.astype(np.float32)])
        complete = max(0, 1 + (len(self._pending) - config.frame_length) // config.hop_length)
        if not complete:
            return np.empty((0, config.n_mels), np.float32), np.empty(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, config.frame_length)
        frames = windows[:: config.hop_length][:complete]
        spectrum = spectral.power_spectrum(frames, config)
        level_db = spectral.to_db(np.mean(np.square(frames), axis=1))
        self._pending = self._pending[complete * config.hop_length :].copy()
        return spectral.log_mel(spectrum, config), level_db
