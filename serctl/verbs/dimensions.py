"""Arousal and valence derived from the probabilities of emotions, for a curve to plot; no model measures them.

Source: mean ratings of Russell & Mehrabian 1977, doi:10.1016/0092-6566(77)90037-X.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import ConfigError
from serctl.reports.schema import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COORDINATES = {
    "neutral": (0.0, 0.0),
    "calm": (-0.46, 0.68),
    "happy": (0.51, 0.81),
    "sad": (-0.27, -0.63),
    "angry": (0.59, -0.51),
    "fearful": (0.60, -0.64),
    "disgust": (0.35, -0.60),
    "surprised": (0.67, 0.40),
    "boredom": (-0.62, -0.65),
}
"""Arousal and valence of an emotion, each from -1 to 1. calm, disgust, boredom: those of relaxed, disgusted,
bored. neutral: the origin."""


DIMENSION_COLUMNS = (Column("arousal", decimals=4), Column("valence", decimals=4))


def coordinates_of(labels: Sequence[str]) -> NDArray[np.float64]:
    """Return the coordinates of emotions.

    Args:
        labels: the emotions of a model.

    Returns:
        float64, shape (labels, 2): arousal and valence.

    Raises:
        ConfigError: an emotion has none.
    """
    unknown = [label for label in labels if label not in COORDINATES]
    if unknown:
        raise ConfigError(
            f"no arousal and valence are known of {', '.join(unknown)}: expected {', '.join(COORDINATES)}"
        )
    return np.array([COORDINATES[label] for label in labels])


def dimensions_of(probabilities: NDArray[np.float64], labels: Sequence[str]) -> dict[str, list[float]]:
    """Compute the columns arousal and valence: the expectation of the coordinates under the probabilities.

    Args:
        probabilities: float64, shape (rows, labels); NaN without speech.
        labels: the emotions.

    Returns:
        One value for each row, -1 to 1; NaN without speech.

    Raises:
        ConfigError: an emotion has no coordinates.
    """
    arousal, valence = (probabilities @ coordinates_of(labels)).T.tolist()
    return {"arousal": arousal, "valence": valence}
