"""Named arrays as raw bytes behind a description, for files that anyone may have changed: reading trusts nothing."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Description = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape of an array, as JSON keeps them."""

_NUMERIC_KINDS = "biufc"
_DTYPE = re.compile(rf"[<>|=][{_NUMERIC_KINDS}][0-9]{{1,2}}")

UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What reading a description that is not one of ours raises."""


def describe_arrays(arrays: Mapping[str, NDArray[Any]]) -> list[Description]:
    """Describe arrays, so that view_arrays finds them again in their bytes.

    Raises:
        TypeError: an array is not of boolean, integer, float or complex dtype.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in _NUMERIC_KINDS:
            raise TypeError(f"only numbers are stored. Received: {name!r} of dtype {array.dtype}")
    return [(name, array.dtype.str, array.shape) for name, array in arrays.items()]


def view_arrays(
    descriptions: Any, content: bytes | bytearray, *, offset: int, alignment: int = 1
) -> tuple[dict[str, NDArray[Any]], int]:
    """View the arrays that lie in the content one after the other; nothing is copied or allocated.

    Args:
        descriptions: what describe_arrays returned, after a way through JSON, or anything else.
        content: the bytes that hold the arrays.
        offset: where the first array starts, in bytes.
        alignment: each array starts at a multiple of so many bytes.

    Returns:
        The arrays by name, and the offset behind the last one.

    Raises:
        ValueError, TypeError, KeyError, OverflowError, RecursionError: the descriptions are not ours, or do not fit the
            content.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype_text, shape in descriptions:
        offset += -offset % alignment
        dtype = _numeric_dtype(dtype_text)
        size = dtype.itemsize * _count(shape)
        if not isinstance(name, str) or name in arrays or offset + size > len(content):
            raise ValueError(f"no room for {name!r}, {dtype_text} of shape {shape}")
        arrays[name] = np.ndarray(shape, dtype, buffer=content, offset=offset if size else 0)
        offset += size
    return arrays, offset


def _numeric_dtype(text: Any) -> np.dtype[Any]:
    """The dtype. Nothing else may reach numpy: bytes read as objects would be followed as pointers."""
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise ValueError(f"expected a numeric dtype. Received: {text!r}")
    return np.dtype(text)


def _count(shape: Any) -> int:
    """The number of elements of an array of that shape."""
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"expected a shape. Received: {shape!r}")
    return math.prod(shape)
