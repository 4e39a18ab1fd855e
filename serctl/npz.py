"""Read the arrays of an npz file that may be damaged or made to harm: sizes are checked before anything is read."""

from __future__ import annotations

import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from numpy.lib import format as npy

from serctl.errors import NpzError
from serctl.files import open_input

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


UNREADABLE_NPZ = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise on a damaged npz, depending on the byte that is damaged."""


def read_npz(path: Path, *, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file.

    Args:
        path: the file; never unpickled.
        most_bytes: of all arrays together.

    Returns:
        The arrays by name, in the order of their names.

    Raises:
        NpzError: the file is unreadable, too large, or holds anything but floating-point numbers; the caller adds its
            name.
    """
    try:
        with open_input(path) as stream, zipfile.ZipFile(stream) as content:
            members = content.infolist()
            if sum(member.file_size for member in members) > most_bytes:
                raise NpzError(f"expected at most {most_bytes:,} bytes of arrays")
            arrays = {}
            for member in sorted(members, key=lambda each: each.filename):
                with content.open(member) as file:
                    _check_header(file, member.file_size)
                with content.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = npy.read_array(file, allow_pickle=False)
            return arrays
    except NpzError:
        raise
    except UNREADABLE_NPZ as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise NpzError(f"cannot be read: {reason}") from error


def _check_header(file: Any, size: int) -> None:
    """Raise NpzError if an array is not of floating-point numbers or claims more than its member holds."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise NpzError(f"expected an array of version 1 or 2. Received: {version}")
    shape, _, dtype = readers[version](file)
    if dtype.kind != "f":
        raise NpzError(f"expected floating-point numbers. Received: {dtype}")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise NpzError(f"expected {size - file.tell()} bytes of numbers. Received: the shape {shape} of {dtype}")
