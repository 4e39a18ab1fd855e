"""What a result depends on: the versions of packages, and the commit of a checkout."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from serctl import __version__


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("numpy", "scipy", "soundfile", "soxr", "keras", "tensorflow", "ai-edge-litert")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"serctl": __version__, "python": platform.python_version(), **found}


def current_commit() -> str | None:
    """Return the commit of the checkout that serctl runs from, marked if it was changed since; None if installed."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    describe = ["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty= with local changes"]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        found = subprocess.run([*git, *describe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
