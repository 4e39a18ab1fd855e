"""Try a network in a process of its own: one that crashes the interpreter ends no run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serctl.bundle.store import load_bundle
from serctl.errors import BundleError, SerctlError
from serctl.features import Features, functional_names
from serctl.runtime.recogniser import Recogniser, check_runtime
from serctl.runtime.step import StepRecogniser

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle

LONGEST_TRIAL_S = 120
"""Seconds that a network may take for one window."""

_TOLERANCE = 0.05
"""How far the probabilities of an int8 network may miss a sum of 1."""


def try_network(bundle: Bundle) -> None:
    """Run the networks of a bundle once, in a process of its own, before any work that would be lost with it.

    Nothing is started for the models that come with serctl, nor for a bundle that has passed in this process.

    Args:
        bundle: a verified bundle.

    Raises:
        BundleError: a network crashes, takes too long, cannot be loaded, or does not fit its bundle.json.
        ConfigError: ONNX Runtime is needed and not installed.
    """
    check_runtime(bundle.model_path)
    if not bundle.bundled:
        _try_once(bundle.folder, bundle.digest)


@cache  # of those that passed: an exception is not remembered
def _try_once(folder: Path, digest: str) -> None:  # noqa: ARG001 - a bundle of other content is tried again
    """Run the networks of a bundle whose bundle.json has this digest."""
    package = Path(__file__).parents[2]  # as the current folder: nothing is imported from the user's
    command = [sys.executable, "-m", __name__, str(folder.resolve())]
    try:
        ended = subprocess.run(
            command,
            cwd=package,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_TRIAL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{folder}: the network takes over {LONGEST_TRIAL_S} s for one window") from error
    if ended.returncode:
        raise BundleError(f"{folder}: the network cannot be run: {_reason(ended.returncode, ended.stderr)}")


def _reason(code: int, said: str) -> str:
    if code < 0:
        return f"it crashes the process ({signal.Signals(-code).name})"
    lines = said.strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"


def main() -> None:
    """Run in a process of its own; argument: the folder of a bundle. The last line of stderr says what is wrong."""
    bundle = load_bundle(Path(sys.argv[1]))
    features, n_frames = bundle.facts.features, bundle.facts.n_frames
    log_mel = np.zeros((n_frames, features.n_mels), np.float16)
    functionals = np.zeros(len(functional_names(features)), np.float32)
    window = Features(log_mel, np.empty((0, 0), np.float32), functionals, 0)
    try:
        probabilities = Recogniser(bundle).probabilities([window])
        if bundle.causal:
            step = StepRecogniser(bundle)
            probabilities, _ = step.step(np.zeros((step.context, features.n_mels), np.float32), step.start())
    except SerctlError as error:
        sys.exit(str(error))
    if not abs(float(probabilities.sum()) - 1) <= _TOLERANCE:
        sys.exit(f"expected probabilities. Received: {probabilities.ravel().tolist()}")


if __name__ == "__main__":
    main()
