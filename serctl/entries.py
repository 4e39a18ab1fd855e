"""The format of a cache entry: named numeric arrays behind a digest; see serctl.cache for why."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.arrays import UNREADABLE, describe_arrays, view_arrays
from serctl.errors import DamagedEntryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_MAGIC = b"serctl\x00\x01"  # the last byte is the version of the format
_DIGEST_SIZE = 16
_HEADER_LENGTH = struct.Struct("<I")
_PREFIX_SIZE = len(_MAGIC) + _DIGEST_SIZE + _HEADER_LENGTH.size
_ALIGNMENT = 16


def encode_entry(key: str, arrays: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """The parts of an entry's file, in order; the arrays' bytes are views where the arrays are contiguous."""
    header = json.dumps(describe_arrays(arrays)).encode()
    length = _HEADER_LENGTH.pack(len(header))
    body: list[bytes | memoryview] = [length, header, _padding(_PREFIX_SIZE + len(header))]
    for array in arrays.values():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        body += [data, _padding(data.nbytes)]
    return [_MAGIC, _digest(key, body), *body]


def _padding(size: int) -> bytes:
    """Zeros up to the next aligned offset: numpy works slowly on arrays that straddle their natural boundary."""
    return bytes(-size % _ALIGNMENT)


def _digest(key: str, pieces: Sequence[bytes | memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE, key=key.encode())
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def decode_entry(content: bytearray, key: str) -> dict[str, NDArray[Any]]:
    """The arrays, as writable views of the content."""
    view = memoryview(content)
    body = view[len(_MAGIC) + _DIGEST_SIZE :]
    if view[: len(_MAGIC)] != _MAGIC:
        raise DamagedEntryError("not an entry of this version")
    if view[len(_MAGIC) : len(_MAGIC) + _DIGEST_SIZE] != _digest(key, [body]):
        raise DamagedEntryError("its digest does not fit its content")
    try:
        return _decode_body(content)
    except (*UNREADABLE, struct.error) as error:
        raise DamagedEntryError(f"its header is not one of ours: {error}") from error


def _decode_body(content: bytearray) -> dict[str, NDArray[Any]]:
    (header_length,) = _HEADER_LENGTH.unpack_from(content, len(_MAGIC) + _DIGEST_SIZE)
    offset = _PREFIX_SIZE + header_length
    header = json.loads(content[_PREFIX_SIZE:offset])
    return view_arrays(header, content, offset=offset, alignment=_ALIGNMENT)[0]
