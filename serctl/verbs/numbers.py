"""What a model of numbers may be called, and may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from serctl.metrics import Scale
    from serctl.verbs.options import PredictOptions

_TAKEN = frozenset(
    (
        *("path", "channel", "start", "end", "emotion", "confidence", "novelty", "text", "status", "error", "notes"),
        *(
            "duration",
            "sample_rate",
            "channels",
            "clipping",
            "silence",
            "snr_db",
            "bandwidth_hz",
            "model",
            "adaptation",
        ),
    )
)
"""Columns that a report of predict may have besides that of the target."""


def check_target(name: str) -> None:
    """Check that a column of reports may have the name of a target.

    Raises:
        ConfigError: there is such a column already.
    """
    if name in _TAKEN or name.startswith("p_"):
        raise ConfigError(f"reports have a column {name} of their own: rename that of the manifest")


def check_number_options(scale: Scale, options: PredictOptions) -> None:
    """Check what a model of numbers is asked for.

    Args:
        scale: what the model answers.
        options: of the prediction.

    Raises:
        ConfigError: something is asked for that only emotions have.
    """
    asked = {
        "a least confidence": options.min_confidence > 0,
        "segments": options.per == "segment",
        "moments": options.moments,
        "dimensions": options.dimensions,
        "adaptation to any mix of emotions": options.adapt == "auto",
        "the answers of speech and words apart": options.explain_modalities,
    }
    if wrong := [what for what, is_asked in asked.items() if is_asked]:
        raise ConfigError(f"the model predicts {scale.name}, a number, which has no {', '.join(wrong)}")
