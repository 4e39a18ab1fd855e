"""Detect speech at any level: by how far the loud frames stand out from the noise floor of the recording.

Speech rises and falls with its syllables; digital silence, dither, hum and steady noise do not. How loud a recording is
says nothing: a quiet one is no silence.
"""

from __future__ import annotations

import bisect
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from serctl.features import spectral
from serctl.features.functionals import functional_names

if TYPE_CHECKING:
    from serctl.features.config import FeatureConfig
    from serctl.features.spectral import FloatArray

SPEECH_OVER_FLOOR_DB = 6.0
"""The loud frames (95th percentile) of a window with speech are at least so far above its floor (5th percentile).

White noise has 1 dB from the one to the other, speech of corpora 14 to 30, speech in noise as loud as itself about 6.
"""

FLOOR_FROM_S = 0.5
"""What is shorter has no floor of its own, for it may be a syllable: all that is no digital silence is speech."""

LOWEST_FLOOR_DB = 10 * float(np.log10(spectral.FLOOR))
"""Re full scale; what spectral.to_db gives for digital silence."""

REMEMBERED_S = 3.0
"""The floor of a stream is that of so much before: as long as the windows of a recording."""

ASSUMED_FLOOR_DB, ASSUMED_S = -65.0, 0.5
"""Re full scale; the level of so much before the stream, of which nothing is known."""

_QUIET_SHARE = 0.05


def stands_out(loud_db: float, floor_db: float) -> bool:
    """Return whether a level is that of speech over a floor; both in dB re full scale."""
    return loud_db >= max(floor_db, LOWEST_FLOOR_DB) + SPEECH_OVER_FLOOR_DB


def is_silent(functionals: FloatArray, config: FeatureConfig) -> bool:
    """Return whether a window holds no speech.

    Args:
        functionals: of the window, float32, shape (functionals,).
        config: what they were computed with.
    """
    names = functional_names(config)
    quiet, loud, active = (names.index(name) for name in ("level_db_p05", "level_db_p95", "active_s"))
    return _is_silent(float(functionals[quiet]), float(functionals[loud]), float(functionals[active]))


def is_silent_window(samples: FloatArray, config: FeatureConfig) -> bool:
    """Return whether a window holds no speech, by its samples: what is_silent says of its functionals.

    Args:
        samples: float32, shape (n,), mono at config.sample_rate Hz.
        config: analysis parameters.
    """
    power = spectral.frame_power(samples - samples.mean(dtype=np.float64).astype(np.float32), config)
    levels = spectral.to_db(power[spectral.active_frames(power, config)])
    quiet_db, loud_db = np.percentile(levels, [100 * _QUIET_SHARE, 95])
    return _is_silent(float(quiet_db), float(loud_db), len(levels) * config.hop_s)


def _is_silent(quiet_db: float, loud_db: float, active_s: float) -> bool:
    return not stands_out(loud_db, quiet_db if active_s >= FLOOR_FROM_S else LOWEST_FLOOR_DB)


class SpeechGate:
    """Tells, frame by frame of a stream, speech from what goes on all the time; it knows nothing of later frames.

    The floor is the 5th percentile of the frames of the last REMEMBERED_S, ASSUMED_S of ASSUMED_FLOOR_DB before the
    first. Frames of digital silence do not count: a microphone that was switched off says nothing of the room.
    """

    def __init__(self, frame_s: float) -> None:
        self._remembered = max(round(REMEMBERED_S / frame_s), 1)
        self._ordered = [ASSUMED_FLOOR_DB] * max(round(ASSUMED_S / frame_s), 1)
        self._levels = deque(self._ordered)

    def is_speech(self, level_db: float) -> bool:
        """Return whether the next frame, of this level in dB re full scale, is speech."""
        if level_db <= LOWEST_FLOOR_DB:
            return False
        if len(self._levels) == self._remembered:
            del self._ordered[bisect.bisect_left(self._ordered, self._levels.popleft())]
        self._levels.append(level_db)
        bisect.insort(self._ordered, level_db)
        return stands_out(level_db, self._ordered[int(_QUIET_SHARE * (len(self._ordered) - 1))])
