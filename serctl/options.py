"""An option of a verb, written once: the field of a frozen dataclass owns its name, default, range and help.

The command line makes its flags from these fields; the dataclass checks the ranges whoever made it.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its type and default.

    Args:
        help: one sentence or two; units and range where they are not obvious.
        name: as users know it, where that differs from the field's.
        short: one letter that stands for the name.
        low: smallest value.
        high: largest value.
        above: what the value has to be larger than.
        below: what the value has to be smaller than.
        choices: the values allowed.
        kind: type of the value, where the default does not tell it.
        parse: makes the value out of text, where it is not a number, a text or a path.
        metavar: what the help shows for the value.
        repeatable: the value is a tuple, one item each time the option is given.
        unset: what holds without the option is more than a value; the help says it.
        group: of the help, where it is not that of the dataclass.
        envvar: environment variable that stands in for it.
        secret: left out of what prints the dataclass.
    """

    help: str
    name: str = ""
    short: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    kind: type | None = None
    parse: Callable[[str], Any] | None = None
    metavar: str = ""
    repeatable: bool = False
    unset: bool = False
    group: str = ""
    envvar: str = ""
    secret: bool = False

    def expected(self) -> str:
        """The range in words, such as `from 0 to below 1`; empty if there is none."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = (("at least", self.low), ("above", self.above), ("at most", self.high), ("below", self.below))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def allows(self, value: Any) -> bool:
        """Whether a value is in the range; None always is, it stands for a default."""
        return value is None or (
            (not self.choices or value in self.choices)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def option(default: Any, help: str, **facts: Any) -> Any:
    """Return a dataclass field that is an option; facts: those of Option. A callable default makes the value."""
    made = Option(help, **facts)
    metadata = {_KEY: made}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not made.secret)
    return field(default=default, metadata=metadata, repr=not made.secret)


def options_of(kind: type) -> dict[str, Option]:
    """Return the options of a dataclass by the names of their fields; its other fields are none."""
    return {each.name: each.metadata[_KEY] for each in fields(kind) if _KEY in each.metadata}


def some_options(kind: type, *names: str) -> type:
    """Return a dataclass with some of the options of another, for a command that takes no others."""

    def again(each: Any) -> Any:
        default = (
            {"default": each.default} if each.default_factory is MISSING else {"default_factory": each.default_factory}
        )
        return field(**default, metadata=each.metadata)

    return make_dataclass(
        kind.__name__, [(each.name, each.type, again(each)) for each in fields(kind) if each.name in names], frozen=True
    )


def check_options(values: Any) -> None:
    """Check that every option of an instance is in its range.

    Raises:
        ConfigError: one is not.
    """
    for name, option in options_of(type(values)).items():
        value = getattr(values, name)
        if not option.allows(value):
            raise ConfigError(f"expected {option.name or name} {option.expected()}. Received: {value}")
