"""Keep what native libraries write to stderr off the terminal."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = threading.RLock()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C code writes to stderr nowhere; the whole process is affected, so keep the block short."""
    with _LOCK, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - not a file of ours
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
