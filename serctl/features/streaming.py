"""The log-mel spectrogram of a live signal: every frame once, as soon as its last sample has arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.features import spectral

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray

_DC_POLE = 0.995
"""Pole of the high-pass filter at 13 Hz that removes the constant part: the mean of a live signal is not known yet."""

_POWERS = _DC_POLE ** np.arange(1, 4097)
"""Powers of the pole over one block of samples; float64, shape (4096,)."""


class MelStream:
    """Frames of a growing signal, centred on multiples of the hop as in spectral.frame_signal.

    The frames do not depend on how the samples are cut into pieces. Frame i needs (i * hop + half a frame) samples, so
    the delay is half a frame.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self._high_pass = _HighPass()
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
            self._pending = np.concatenate([self._pending, self._high_pass.push(samples)])
        complete = max(0, 1 + (len(self._pending) - config.frame_length) // config.hop_length)
        if not complete:
            return np.empty((0, config.n_mels), np.float32), np.empty(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, config.frame_length)
        frames = windows[:: config.hop_length][:complete]
        spectrum = spectral.power_spectrum(frames, config)
        level_db = spectral.to_db(np.mean(np.square(frames), axis=1))
        self._pending = self._pending[complete * config.hop_length :].copy()
        return spectral.log_mel(spectrum, config), level_db


class _HighPass:
    """The filter y[n] = x[n] - x[n - 1] + pole * y[n - 1], the same to the last bit however the signal is cut.

    Divided by its power of the pole, each output is a running sum of inputs. The powers start again every 4096 samples
    of the signal, long before they leave the range of float64.
    """

    def __init__(self) -> None:
        self._last_input = 0.0
        self._sum = 0.0
        self._position = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Filter the next samples; float32, shape (n,)."""
        changes = np.diff(samples.astype(np.float64), prepend=self._last_input)
        self._last_input = float(samples[-1])
        cuts = range(len(_POWERS) - self._position, len(changes), len(_POWERS))
        return np.concatenate([self._push_block(piece) for piece in np.split(changes, cuts)]).astype(np.float32)

    def _push_block(self, changes: NDArray[np.float64]) -> NDArray[np.float64]:
        powers = _POWERS[self._position : self._position + len(changes)]
        sums = np.cumsum(np.concatenate([[self._sum], changes / powers]))[1:]
        filtered: NDArray[np.float64] = powers * sums
        self._position = (self._position + len(changes)) % len(_POWERS)
        self._sum = float(sums[-1] if self._position else filtered[-1])
        return filtered
