"""The text of a flag as the value of an option of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from serctl.errors import ConfigError

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle


def recordings_in(text: str) -> tuple[Path, ...]:
    """Find the recordings in a folder of noise or of voices."""
    from serctl.audio.find import find_recordings

    return tuple(recording.path for recording in find_recordings([Path(text)]))


def names(text: str) -> tuple[str, ...]:
    """Read names that are separated by commas."""
    return tuple(name.strip() for name in text.split(","))


def renaming(text: str) -> tuple[str, str]:
    """Read FROM=TO. Raises ConfigError if it is not that."""
    old, equals, new = text.partition("=")
    if not (old and equals and new) or "=" in new:
        raise ConfigError(f"expected FROM=TO, such as calm=neutral. Received: {text}")
    return old, new


def model(reference: str) -> Bundle:
    """Load a model by its name or folder. Raises BundleError if there is none."""
    from serctl.bundle.store import load_bundle

    return load_bundle(reference)
