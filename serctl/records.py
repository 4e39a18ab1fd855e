"""JSON into dataclasses, every field checked: its type, its range, and that none is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from serctl.errors import RecordError

T = TypeVar("T")


@dataclass(frozen=True)
class Between:
    """Bounds of a number, or of the length of a text, a list or a table; for use in Annotated."""

    low: float
    high: float

    def check(self, value: Any, where: str) -> None:
        """Raise RecordError if the value, or its length, is out of range."""
        measured = value if isinstance(value, int | float) else len(value)
        if not self.low <= measured <= self.high:
            what = "a value" if measured is value else "a length"
            raise RecordError(f"{where}: expected {what} from {self.low:g} to {self.high:g}. Received: {measured:g}")


Name = Annotated[str, Between(1, 200)]
Text = Annotated[str, Between(0, 20_000)]
Count = Annotated[int, Between(0, 1e12)]
Share = Annotated[float, Between(0, 1)]
Measure = Annotated[float, Between(0, 1e12)]
Number = Annotated[float, Between(-1e12, 1e12)]


def read_record(record: type[T], values: Any, *, where: str = "") -> T:
    """Make a dataclass of what json.loads gave.

    Args:
        record: the dataclass. Its types may be bool, int, float, str, Literal, tuples, Mapping with str keys, other
            dataclasses, X | None, Any, and each of them Annotated with Between.
        values: a table; unknown keys are ignored, so that later versions may add some.
        where: name of the table in messages.

    Raises:
        RecordError: a field is missing, of another type or out of range.
    """
    if not isinstance(values, Mapping):
        raise RecordError(f"{where or 'record'}: expected a table. Received: {type(values).__name__}")
    found = {}
    key: Any = record  # mypy takes no type variable for hashable
    for name, expected, required in _fields(key):
        place = f"{where}.{name}" if where else name
        if name in values:
            found[name] = _read(expected, values[name], place)
        elif required and _may_be_none(expected):  # a writer leaves out what is not known
            found[name] = None
        elif required:
            raise RecordError(f"{place}: expected a value, found none")
    return record(**found)


@cache
def _fields(record: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type and whether it is required, of each field."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(
        (each.name, hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(record)
    )


def _may_be_none(expected: Any) -> bool:
    return get_origin(expected) in (Union, UnionType) and NoneType in get_args(expected)


def _read(expected: Any, value: Any, where: str) -> Any:
    origin = get_origin(expected)
    if origin is Annotated:
        inner, bounds = get_args(expected)
        found = _read(inner, value, where)
        if found is not None:
            bounds.check(found, where)
        return found
    if origin in (Union, UnionType):
        inner = [each for each in get_args(expected) if each is not NoneType]
        return None if value is None else _read(inner[0], value, where)
    if origin is tuple:
        return _read_list(get_args(expected), value, where)
    if origin is Mapping:
        return _read_table(get_args(expected)[1], value, where)
    if hasattr(expected, "from_dict"):
        return _read_own(expected, value, where)
    if isinstance(expected, type) and is_dataclass(expected):
        return read_record(expected, value, where=where)
    return _read_scalar(expected, value, where)


def _read_own(expected: Any, value: Any, where: str) -> Any:
    """A class that reads its own table."""
    if not isinstance(value, dict):
        raise RecordError(f"{where}: expected a table. Received: {type(value).__name__}")
    return expected.from_dict(value)


def _read_list(expected: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise RecordError(f"{where}: expected a list. Received: {type(value).__name__}")
    kinds = (expected[0],) * len(value) if expected[-1] is Ellipsis else expected
    if len(kinds) != len(value):
        raise RecordError(f"{where}: expected {len(kinds)} values. Received: {len(value)}")
    return tuple(_read(kinds[row], each, f"{where}[{row}]") for row, each in enumerate(value))


def _read_table(expected: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise RecordError(f"{where}: expected a table. Received: {type(value).__name__}")
    return {name: _read(expected, each, f"{where}.{name}") for name, each in value.items()}


def _read_scalar(expected: Any, value: Any, where: str) -> Any:
    if expected is Any:
        return value
    if get_origin(expected) is Literal:
        known = get_args(expected)
        if value not in known:
            raise RecordError(f"{where}: expected one of {', '.join(map(str, known))}. Received: {value!r:.60}")
        return value
    accepted = (int, float) if expected is float else (expected,)
    if type(value) not in accepted or (expected is float and not math.isfinite(value)):
        raise RecordError(f"{where}: expected {_NAMES[expected]}. Received: {value!r:.60}")
    return float(value) if expected is float else value


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
