"""Find the recordings among files and folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.audio import media
from serctl.audio.file import unreadable
from serctl.errors import AudioError
from serctl.files import show_path
from serctl.urls import UrlPath, as_path, list_files

if TYPE_CHECKING:
    from collections.abc import Sequence


SUFFIXES = media.SUFFIXES | {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".snd", ".w64", ".wav")
}
"""Suffixes of the recordings that a folder is searched for; reading media.SUFFIXES takes PyAV."""

# Device and inode of the folder, name in it: one file, whatever the path to its folder.
_FileId = tuple[int, int, str]


@dataclass(frozen=True)
class Recording:
    """A file to read.

    Args:
        path: as given, or as reached by walking a given folder.
        name: its path below that folder, with slashes; empty for a file that was given itself.
        source: which of the given paths led to it, from 0 on.
        state: tells versions of what is behind a URL apart; empty for a file here.
    """

    path: Path
    name: str = ""
    source: int = 0
    state: str = ""


@dataclass(frozen=True)
class Search:
    """What a search found: the recordings, and how many other files there were of each suffix (lower case)."""

    recordings: list[Recording]
    others: Counter[str]


def find_recordings(paths: Sequence[Path]) -> list[Recording]:
    """Find the recordings among `paths`, as search does.

    Raises:
        AudioError: a path does not exist, or there is no recording in all of them.
    """
    for path in paths:
        if not isinstance(as_path(path), UrlPath) and not os.path.lexists(path):
            raise AudioError(f"{show_path(path)} does not exist: expected a recording or a folder of recordings")
    return search(paths).recordings


def search(paths: Sequence[Path]) -> Search:
    """Find the recordings among `paths`: files as given, folders searched recursively in natural order, each file once.

    Files given by name are taken whatever their suffix. In folders, hidden entries are skipped, links are followed, and
    each real folder is read once, so that a loop of links ends. A path that does not exist, what carries a recording's
    suffix but cannot be read, and a folder that cannot be listed, are returned too: reading them says why it failed.

    Raises:
        AudioError: there is no recording in all of them.
    """
    found: dict[_FileId, Recording] = {}
    seen: set[tuple[int, int]] = set()
    others: Counter[str] = Counter()
    paths = list(map(as_path, paths))
    for source, path in enumerate(paths):
        if isinstance(path, UrlPath):
            for recording in _walk_url(path, source, others):
                found.setdefault((0, 0, str(recording.path)), recording)
        elif os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where the parent folder is closed to us
            for file_id, file in _walk(path, seen, others):
                found.setdefault(file_id, Recording(file, file.relative_to(path).as_posix(), source))
        else:
            found.setdefault(_file_id(path), Recording(path, source=source))
    if not found:
        places = ", ".join(map(show_path, paths)) or "an empty list of paths"
        raise AudioError(f"no recording in {places}: looked for {' '.join(sorted(SUFFIXES))}")
    return Search(list(found.values()), others)


def _walk_url(url: UrlPath, source: int, others: Counter[str]) -> list[Recording]:
    """The recordings behind a URL in natural order; where nothing is there, itself."""
    try:
        files = list(list_files(url))
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise unreadable(url, error) from error
    if not files:
        return [Recording(url, source=source)]
    found = [each for each in files if not each.name or each.path.suffix.lower() in SUFFIXES]
    others.update(each.path.suffix.lower() for each in set(files).difference(found))
    found.sort(key=lambda each: natural_key(str(each.path)))
    return [Recording(each.path, each.name, source, each.state) for each in found]


def _file_id(path: Path) -> _FileId:
    try:
        return (*_folder_id(path.parent), path.name)
    except (OSError, ValueError):  # its folder is closed to us, or is none
        return (0, 0, str(path))


def _walk(root: Path, seen: set[tuple[int, int]], others: Counter[str]) -> list[tuple[_FileId, Path]]:
    """The recordings below root in natural order, without the folders that were `seen` before; adds its own to them.

    Counts the suffixes of all other files in others.
    """
    found: list[tuple[_FileId, str]] = []
    folders, links = [os.fspath(root)], list[str]()
    while folders or links:
        # Links come last: a folder that can be reached without one is reported by its own path.
        folder = folders.pop() if folders else links.pop(0)
        folder_id = _folder_id(Path(folder))
        if folder_id in seen:
            continue
        seen.add(folder_id)
        try:
            entries = _visible_entries(folder)
        except OSError:
            found.append(((*folder_id, ""), folder))
            continue
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - Path is too slow for 100,000 files
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif suffix in SUFFIXES:
                found.append(((*folder_id, entry.name), entry.path))
            else:
                others[suffix] += 1
    found.sort(key=lambda item: natural_key(item[1]))
    return [(file_id, Path(path)) for file_id, path in found]


def _visible_entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where we may not look
        return False


def _folder_id(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def natural_key(path: str) -> tuple[list[str | int], str]:
    """Orders take2 before take10; the path itself settles ties of case and leading zeros."""
    parts: list[str | int] = list(re.split(r"([0-9]+)", path.casefold()))
    parts[1::2] = map(int, parts[1::2])
    return parts, path
