"""JSON into dataclasses: what is read, and what each kind of wrong value is told."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - read_record needs the types at run time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import pytest

from serctl.records import Between, RecordError, read_record


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, Between(0, 10)]
    name: str = "none"


@dataclass(frozen=True)
class Outer:
    inner: Inner
    share: Annotated[float, Between(0, 1)] | None
    kind: Literal["a", "b"]
    flags: tuple[bool, ...] = ()
    pair: tuple[str, int] = ("", 0)
    tables: Mapping[str, Inner] = field(default_factory=dict)
    free: Any = None


GOOD: dict[str, Any] = {"inner": {"size": 3}, "share": 0.5, "kind": "a"}


@pytest.mark.parametrize("share", [None, 0, 1.0])
def test_what_was_written_is_read_again(share: float | None) -> None:
    tables = {"x": Inner(0), "ü": Inner(10, "last")}
    record = Outer(Inner(3), share, "b", (True, False), ("x", 2), tables, free=[1, {"a": None}])
    assert read_record(Outer, json.loads(json.dumps(asdict(record)))) == record


def test_what_may_be_unknown_may_be_left_out() -> None:
    values = {name: value for name, value in GOOD.items() if name != "share"}
    assert read_record(Outer, values) == read_record(Outer, {**GOOD, "share": None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": None}, "inner: expected a table. Received: NoneType"),
        ({"inner": {"size": 11}}, "inner.size: expected a value from 0 to 10. Received: 11"),
        ({"inner": {"size": 3.0}}, "inner.size: expected a whole number"),
        ({"inner": {"size": True}}, "inner.size: expected a whole number"),
        ({"inner": {}}, "inner.size: expected a value, found none"),
        ({"share": 2}, "share: expected a value from 0 to 1"),
        ({"share": "0.5"}, "share: expected a number"),
        ({"share": float("inf")}, "share: expected a number"),
        ({"kind": "c"}, "kind: expected one of a, b. Received: 'c'"),
        ({"kind": ["a"]}, "kind: expected one of a, b"),
        ({"flags": "yes"}, "flags: expected a list. Received: str"),
        ({"flags": [True, 1]}, "flags[1]: expected true or false. Received: 1"),
        ({"pair": ["x"]}, "pair: expected 2 values. Received: 1"),
        ({"tables": [1]}, "tables: expected a table"),
        ({"tables": {"x": {"size": -1}}}, "tables.x.size: expected a value from 0"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as raised:
        read_record(Outer, {**GOOD, **change})
    assert str(raised.value).startswith(message)


def test_unknown_keys_are_those_of_a_later_version() -> None:
    assert read_record(Outer, {**GOOD, "mood": "sunny"}) == read_record(Outer, GOOD)
