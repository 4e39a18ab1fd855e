"""The folder of augmented copies: what may lie there, what an earlier run left, how a copy is written."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import soundfile

from serctl.errors import ConfigError, Remedy
from serctl.files import atomic_path, make_folder
from serctl.reports.journal import journal_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from serctl.audio.decode import AudioInfo
    from serctl.corpora import Corpus

MANIFEST = "manifest.csv"
RECORD = ".augment"
"""The manifest of the copies, and the hidden file that keeps the account of a run."""

_COPY_NAME = re.compile(r"\.aug[0-9]+\.wav")
_BEYOND_16_BITS = frozenset({"PCM_24", "PCM_32", "FLOAT", "DOUBLE"})


def check_places(paths: Sequence[Path], corpora: Sequence[Corpus], output: Path) -> None:
    """Check that the output and the corpora do not hold one another.

    Raises:
        ConfigError: the output lies in a corpus, or a corpus or one of its recordings in the output.
    """
    place = output.resolve()
    for path in paths:
        # A manifest says what belongs to the corpus; a folder is searched, and the copies would be found.
        if path.is_dir() and place.is_relative_to(path.resolve()):
            raise ConfigError(f"{output} lies in the corpus {path} and would become a part of it", Remedy.OTHER_OUTPUT)
        if path.resolve().is_relative_to(place):
            raise ConfigError(f"the corpus {path} lies in the output folder {output}", Remedy.OTHER_OUTPUT)
    for folder in {utterance.path.parent for corpus in corpora for utterance in corpus.utterances}:
        if folder.resolve().is_relative_to(place):
            raise ConfigError(f"recordings in {folder} lie in the output folder {output}", Remedy.OTHER_OUTPUT)


def make_output(output: Path) -> None:
    """Make the folder if it is not there. Raises ConfigError if it cannot be one."""
    if output.exists() and not output.is_dir():
        raise ConfigError(f"expected a folder to write to, but {output} is a file")
    make_folder(output)


def prepare(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the output folder ready, and remove what an earlier run left half written, or all of it to overwrite.

    Raises:
        ConfigError: it holds copies and neither resume nor overwrite is given, or anything else.
    """
    if all(path.suffix == ".lock" for path in output.iterdir()):  # but for this run's own lock, it is empty
        return
    if not journal_path(output / RECORD).is_file():
        raise ConfigError(f"{output} is not empty, and not written by serctl augment", Remedy.OTHER_OUTPUT)
    if not (resume or overwrite):
        raise ConfigError(f"{output} exists", Remedy.RESUME, Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    remove_drafts(output)
    if not resume:
        _remove_copies(output)


def remove_drafts(output: Path) -> None:
    """Remove the temporary files of workers that were killed while they wrote."""
    for draft in output.rglob(".*.tmp"):
        draft.unlink(missing_ok=True)


def _remove_copies(output: Path) -> None:
    # The manifest first: should this be interrupted, it must not list what is gone.
    (output / MANIFEST).unlink(missing_ok=True)
    for path in output.rglob("*.wav"):
        if _COPY_NAME.search(path.name):
            path.unlink()


def write_copy(path: Path, samples: NDArray[np.float32], header: AudioInfo) -> None:
    """Write a copy as mono WAV at the rate of its source, in 16 bits, or in 24 where the source has more.

    Args:
        path: of the copy; its folder is made.
        samples: float32, shape (n,), full scale 1.0.
        header: the facts of the source.

    Raises:
        ConfigError: it cannot be written.
    """
    # Never in float: libsndfile stamps float WAVs with the time, and samples within full scale lose nothing in 24 bits.
    subtype = "PCM_24" if header.subtype in _BEYOND_16_BITS else "PCM_16"
    # Encoded in memory, since soundfile answers a full disk with a failed assertion.
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, header.sample_rate, subtype=subtype, format="WAV")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as draft:
            draft.write_bytes(encoded.getbuffer())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
