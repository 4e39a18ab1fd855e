"""A share of the recordings of a run, for machines that work side by side and know nothing of each other."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from serctl.errors import ConfigError

SLURM = "slurm"
_SLURM_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")


@dataclass(frozen=True)
class Shard:
    """One of several shares.

    Args:
        number: which one, from 1 on.
        of: how many there are.

    Raises:
        ConfigError: the number is not one of them.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"expected a shard I/N with I from 1 to N. Received: {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, name: str) -> bool:
        """Whether a recording of that name is in this share; it follows from the name alone."""
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1


def parse_shard(text: str) -> Shard:
    """Make a shard of `I/N`, or of `slurm` that of the task of a SLURM array.

    Raises:
        ConfigError: the text is neither; or this process is no task of an array.
    """
    if text == SLURM:
        return _shard_of_slurm()
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None:
        raise ConfigError(f"expected I/N, such as 1/8, or {SLURM}. Received: {text!r}")
    return Shard(int(match[1]), int(match[2]))


def _shard_of_slurm() -> Shard:
    values = [os.environ.get(name, "") for name in _SLURM_ARRAY]
    if not all(value.isdecimal() for value in values):
        raise ConfigError(f"expected a task of a SLURM array, which sets {', '.join(_SLURM_ARRAY)}")
    number, first, count = map(int, values)
    return Shard(number - first + 1, count)
