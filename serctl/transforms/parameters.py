"""What every transform is: samples in, samples and the drawn parameters out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Parameters = dict[str, float | str]
"""What a transform has drawn, by name."""


class Transform(Protocol):
    """A frozen description of a change to a recording, drawn anew at each call."""

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], Parameters]:
        """Change mono samples, float32, shape (n,), full scale 1.0; returns them with the drawn parameters."""
        ...

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-able description, equal for equal transforms."""
        ...
