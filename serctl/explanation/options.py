"""What an explanation can be asked for; kept apart from what loads numpy."""

from __future__ import annotations

from dataclasses import dataclass

from serctl.options import check_options, option


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained.

    Args:
        emotion: the one to explain; None for the answer to the recording.
        channel: the one to explain, from 1 on; None for the mix of all.
        at_s: a time in the window to explain, in seconds; None for the window with the highest probability or number.
        language: code of the language spoken, for a model that tells languages apart.
        seed: of the noise that hides parts, and of the orders in which they are hidden.

    Raises:
        ConfigError: a value is out of range.
    """

    emotion: str | None = option(None, "Explain this emotion. Default: the answer to the recording.", kind=str)
    channel: int | None = option(
        None,
        "Explain this channel, counted from 1, such as one speaker of a call. Default: the mix of all.",
        kind=int,
        low=1,
    )
    at_s: float | None = option(
        None,
        "Explain the window at this time, in seconds. Default: where the emotion is likeliest, or the number highest.",
        kind=float,
        low=0,
    )
    language: str | None = option(
        None,
        "Code of the language spoken (de, am), for a model that tells languages apart.",
        kind=str,
        metavar="CODE",
    )
    seed: int = option(0, "Random seed of the noise and the orders: the same seed gives the same result.", low=0)

    def __post_init__(self) -> None:
        check_options(self)
