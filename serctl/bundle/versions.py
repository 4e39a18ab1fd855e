"""Versions of the packages that a result depends on."""

from __future__ import annotations

import importlib.metadata
import platform

from serctl import __version__


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("numpy", "scipy", "soundfile", "soxr", "keras", "tensorflow", "ai-edge-litert")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"serctl": __version__, "python": platform.python_version(), **found}
