"""Apply transforms of recordings, for augmentation.

Each transform is a frozen description of what may happen. It draws from the numpy Generator it is given, and returns
the new samples with the parameters that were drawn. The same transforms serve `augment` and training on the fly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serctl.transforms.parameters import Parameters, Transform


def apply_transforms(
    samples: NDArray[np.float32], sample_rate: int, *, transforms: Sequence[Transform], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Parameters]:
    """Apply transforms one after the other to mono float32 samples, shape (n,), full scale 1.0.

    Returns float32 samples that never exceed full scale, and the parameters of all transforms with `gain`, the factor
    that keeps the peak at 1.0 (1.0 where none was needed).
    Raises AudioError if the samples are empty or not mono, ConfigError if a transform is given twice.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise AudioError(f"expected mono samples of shape (n,), n >= 1. Received: shape {samples.shape}")
    if len({type(transform) for transform in transforms}) < len(transforms):
        raise ConfigError("expected each transform once: the parameters of the second would hide those of the first")
    parameters: Parameters = {}
    for transform in transforms:
        samples, drawn = transform(samples, sample_rate, rng)
        parameters.update(drawn)
    peak = float(np.abs(samples).max())
    gain = 1.0 / max(peak, 1.0)
    # The clip catches what rounding the gain to float32 leaves above the peak.
    limited = np.clip(samples * np.float32(gain), -1, 1) if gain < 1 else samples
    return limited.astype(np.float32, copy=False), parameters | {"gain": gain}


def file_generator(seed: int, content_digest: str, copy: int, *, start_s: float = 0.0) -> np.random.Generator:
    """The generator of one copy of one recording, the same whatever the order or number of workers.

    content_digest: hexadecimal, as audio.content_digest gives it. start_s: of the part that is changed, lest all parts
    of a long recording draw the same parameters.
    """
    part = (round(start_s * 1e6),) if start_s else ()
    return np.random.default_rng((seed, int(content_digest, 16), copy, *part))
