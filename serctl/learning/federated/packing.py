"""The arrays of a message as one: Flower carries each array by requests of its own, which cost more than its bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from serctl.arrays import UNREADABLE, describe_arrays, view_arrays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flwr.app import Message

_PACKED, _LAYOUT = "packed", "layout"


def pack(content: RecordDict) -> RecordDict:
    """Return what a message holds with all of its arrays in one."""
    arrays = {
        f"{record}/{name}": each.numpy()
        for record, named in content.array_records.items()
        for name, each in named.items()
    }
    packed = RecordDict({name: each for name, each in content.items() if not isinstance(each, ArrayRecord)})
    everything = b"".join(each.tobytes() for each in arrays.values())
    packed[_PACKED] = ArrayRecord({_PACKED: Array(np.frombuffer(everything, np.uint8))})
    packed[_LAYOUT] = ConfigRecord({"json": json.dumps([list(content.array_records), describe_arrays(arrays)])})
    return packed


def unpack(content: RecordDict) -> RecordDict:
    """Return what a message held before pack.

    Args:
        content: of a message of anybody; it is returned as it is where it was not packed.
    """
    try:
        return _unpacked(content)
    except UNREADABLE:
        return content


def _unpacked(content: RecordDict) -> RecordDict:
    everything = content[_PACKED][_PACKED].numpy().tobytes()
    names, descriptions = json.loads(str(content[_LAYOUT]["json"]))
    arrays, _ = view_arrays(descriptions, everything, offset=0)
    records: dict[str, dict[str, Array]] = {name: {} for name in names}
    for path, each in arrays.items():
        record, _, name = path.partition("/")
        records[record][name] = Array(np.array(each))
    rest = {name: each for name, each in content.items() if name not in (_PACKED, _LAYOUT)}
    return RecordDict({**rest, **{name: ArrayRecord(named) for name, named in records.items()}})


class PackingGrid:
    """A grid whose messages hold one array each on their way.

    Args:
        grid: Flower's.
    """

    def __init__(self, grid: Any) -> None:
        self._grid = grid

    def get_node_ids(self) -> list[int]:
        """Return the nodes that are connected."""
        return list(self._grid.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:
        """Send messages; returns their ids, None for one that could not be sent."""
        sent = list(messages)
        packed: dict[int, RecordDict] = {}
        for each in sent:
            key = id(each.content)  # one content may go to all
            if key not in packed:
                packed[key] = pack(each.content)
            each.content = packed[key]
        return list(self._grid.push_messages(sent))

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that are there."""
        replies = list(self._grid.pull_messages(message_ids))
        for each in replies:
            if each.has_content():
                each.content = unpack(each.content)
        return replies
