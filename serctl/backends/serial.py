"""Map a function over items in this process, failures as values."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

from serctl.errors import Failure, SerctlError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger(__name__)


def map_here(
    function: Callable[[T], R], waiting: deque[tuple[int, T]], *, limit_s: float | None
) -> Iterator[tuple[int, R | Failure]]:
    """Work in this process, until nothing waits or the time is up; on one thread, as the workers do."""
    from threadpoolctl import ThreadpoolController

    linear_algebra = ThreadpoolController()
    start = time.perf_counter()
    while waiting and (limit_s is None or time.perf_counter() - start < limit_s):
        index, item = waiting.popleft()
        with linear_algebra.limit(limits=1, user_api="blas"):
            result = attempt(function, item)
        yield index, result


def one_thread() -> AbstractContextManager[object]:
    """Keep the linear algebra of the libraries loaded so far to one thread during the block.

    On more, the sums of a matrix product are added up in another order, and the last bits of a feature change.
    """
    from threadpoolctl import threadpool_limits

    limit: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limit


def attempt(function: Callable[[T], R], item: T, *, passing: tuple[type[Exception], ...] = ()) -> R | Failure:
    """Return the function's result for the item, or a Failure with what it raised; what is passing is raised."""
    try:
        return function(item)
    except passing:
        raise
    except SerctlError as error:
        return Failure(type(error).__name__, str(error))
    except MemoryError:
        return Failure("MemoryError", "not enough memory for this item")
    except Exception as error:
        # The one broad except of the project: a defect that one recording brings to light must not cost the batch.
        _logger.debug("unexpected failure of %r", item, exc_info=True)
        return Failure(type(error).__name__, f"unexpected {type(error).__name__}: {error}")
