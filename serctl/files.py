"""Files and folders: whole or not at all, one run at a time, and never over what is not a regular file."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import uuid
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar

from serctl.errors import ConfigError, Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")

_LONGEST_NAME = 180
_RENAME_EXCHANGE = 2
_CURRENT_FOLDER = -100  # AT_FDCWD: both paths of renameat2 are ordinary paths


def show_path(path: Path) -> str:
    """The path in quotes, on one line whatever its name holds."""
    return repr(str(path))


# Inputs


def open_input(path: Path, *, pipe: bool = False, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading, without ever waiting for a special one.

    Args:
        path: the file to read.
        pipe: also accept a pipe that this process already holds, such as `<(...)` of a shell or /dev/stdin.
        follow: accept a link to a file, too.

    Raises:
        OSError: the file cannot be opened, or is a folder, a device, a socket or a pipe; its strerror says which.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    mode = os.fstat(descriptor).st_mode
    held = pipe and stat.S_ISFIFO(mode) and _is_descriptor(path)
    if not (stat.S_ISREG(mode) or held):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"expected a regular file, found {_kind(mode)}", str(path))
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def _is_descriptor(path: Path) -> bool:
    """Whether the path names a descriptor of this process, as /dev/fd/63 does."""
    folder = os.path.realpath(path.parent)
    return folder == os.path.realpath("/dev/fd") or str(path) in ("/dev/stdin", "/dev/stdout", "/dev/stderr")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a block device")


# Outputs


def check_new_file(path: Path, *, overwrite: bool) -> None:
    """Make sure that a file can be written, before any work.

    Raises:
        ConfigError: the file exists and is not to be overwritten; the path is a folder, a block device or a socket; its
            folder cannot be made or written.
    """
    if is_stream(path):
        return
    if _exists(path) and not overwrite:
        raise ConfigError(f"{path} exists", Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    make_folder(path.parent)
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"cannot write into the folder {path.parent}: permission denied")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a closed folder
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def check_new_folder(folder: Path, *, overwrite: bool, mark: str, kind: str) -> None:
    """Make sure that a folder may be written, before any work.

    Args:
        folder: the output.
        overwrite: replace an earlier output.
        mark: the file that every earlier output holds; a folder without it is never replaced.
        kind: what a folder with the mark is, such as "a bundle".

    Raises:
        ConfigError: the folder exists and may not be replaced, or is a file.
    """
    if not os.path.lexists(folder):
        return
    if not (folder / mark).is_file():
        raise ConfigError(f"{folder} already exists and is not {kind}", Remedy.OTHER_OUTPUT)
    if not overwrite:
        raise ConfigError(f"{folder} already exists", Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)


def make_folder(folder: Path) -> None:
    """Make a folder for an output, with its parents.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error


def is_stream(path: Path) -> bool:
    """Whether an output is a pipe, a terminal or another device that is written into, not a file that is replaced.

    Raises:
        ConfigError: nothing can be written there: a folder, a block device or a socket.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - through /dev/stdout to what it leads to
    except OSError:
        return False  # a new file, or one whose folder is closed: writing says why
    if stat.S_ISREG(status.st_mode):
        return _own_descriptor(status) is not None
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
        return True
    raise ConfigError(f"expected a file or a pipe to write to, but {path} is {_kind(status.st_mode)}")


def _own_descriptor(status: os.stat_result) -> int | None:
    """The standard descriptor that leads to the same file, such as that of `serctl ... -o /dev/stdout > FILE`."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                return descriptor
    return None


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path; when the block ends well, what was written there replaces the file in one step.

    Whatever goes wrong (a full disk, Ctrl-C), the previous file stays as it was and the temporary one is removed. A
    pipe or a device is never replaced: it receives all of the bytes when the block ends well.

    Args:
        path: the file to replace; a link stays a link.
        durable: wait until the bytes are on the disk.

    Raises:
        ConfigError: nothing can be written there: a folder, a block device or a socket.
        OSError: the disk is full or the folder cannot be written.
    """
    if is_stream(path):
        with _spooled(path) as draft:
            yield draft
        return
    target = _real(path)
    draft = _sibling(target, f".{uuid.uuid4().hex}.tmp")
    try:
        yield draft
        if durable:
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _spooled(path: Path) -> Iterator[Path]:
    """A temporary path elsewhere, whose bytes go into the stream when the block ends well."""
    with tempfile.TemporaryDirectory(prefix="serctl-") as folder:
        draft = Path(folder) / "draft"
        yield draft
        with draft.open("rb") as source, _open_stream(path) as stream:
            shutil.copyfileobj(source, stream)


def _open_stream(path: Path) -> BinaryIO:
    descriptor = _own_descriptor(os.stat(path))  # noqa: PTH116
    if descriptor is None:
        return path.open("wb")
    sys.stdout.flush()
    return os.fdopen(os.dup(descriptor), "wb")  # its own position: what was printed before is kept


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make sure that an OSError of the block names a file: writing to a full disk raises one that names none.

    Raises:
        OSError: whatever the block raises, with this path as its filename if it has none.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder, which takes the place of the folder in one step when the block ends well.

    Whatever goes wrong in the block, a previous folder stays as it was and the temporary one is removed.

    Raises:
        OSError: the disk is full or the parent folder cannot be written.
    """
    folder = _real(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = _sibling(folder, f".{uuid.uuid4().hex}.tmp")
    draft.mkdir()
    try:
        yield draft
        if folder.exists():
            _exchange(draft, folder)
        else:
            draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _exchange(draft: Path, folder: Path) -> None:
    """Swap the two in one step where the system can; else in two, which claim completes after a crash between them."""
    if not _exchange_at_once(draft, folder):
        outgoing = draft.with_suffix(".old")
        folder.replace(outgoing)
        draft.replace(folder)
        shutil.rmtree(outgoing)


def _exchange_at_once(one: Path, other: Path) -> bool:
    """Swap with renameat2(2) of Linux; False where the system or its file system has no such call."""
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is None:
        return False
    paths = (_CURRENT_FOLDER, os.fsencode(one), _CURRENT_FOLDER, os.fsencode(other))
    return bool(call(*paths, _RENAME_EXCHANGE) == 0)


@contextmanager
def claim(output: Path) -> Iterator[None]:
    """Keep every other run off an output until the block ends, and tidy up what killed runs left of it.

    The lock is a file beside the output that names this process. The system frees it when the process ends, however
    that happens. An output that is a pipe or a device is not locked.

    Args:
        output: a file or a folder, which need not exist; its parent folder is created.

    Raises:
        ConfigError: another process holds the output; the message names it. Or the parent folder cannot be written.
    """
    if not output.is_dir() and is_stream(output):
        yield
        return
    target = _real(output)
    make_folder(target.parent)
    path = _sibling(target, ".lock")
    lock = _locked(path, output)
    try:
        _recover(target)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def claiming(verb: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Make a function hold its keyword argument `output`, where that is not None, while it works; see claim."""

    @functools.wraps(verb)
    def holding(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        output = kwargs.get("output")
        with claim(output) if isinstance(output, Path) else nullcontext():
            return verb(*args, **kwargs)

    return holding


def _locked(path: Path, output: Path) -> int:
    """The descriptor of the lock, held by this process."""
    try:
        while True:
            lock = _open_lock(path)
            if not _try_lock(lock):
                _refuse(lock, output)
            if _leads_to(path, lock) and _sign(path, lock):  # not removed by its previous holder meanwhile
                return lock
            os.close(lock)
    except OSError as error:
        raise ConfigError(f"cannot write into the folder {path.parent}: {error.strerror}") from error


def _open_lock(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError as denied:
        try:
            return os.open(path, flags | os.O_RDONLY)  # that of another user, which may be locked all the same
        except FileNotFoundError:
            raise denied from None


def _sign(path: Path, lock: int) -> bool:
    """Write the number of this process into its lock; remove the one that a killed run of another user left."""
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL):  # what a descriptor for reading says
            raise
        path.unlink()
        return False
    return True


def _try_lock(lock: int) -> bool:
    try:
        import fcntl
    except ImportError:  # a system without such locks
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    return True


def _refuse(lock: int, output: Path) -> None:
    holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
    os.close(lock)
    raise ConfigError(f"{output} is being written by another run, process {holder or 'not yet known'}")


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _recover(target: Path) -> None:
    """Put back a folder that a killed run had moved aside, and remove the temporary files of killed runs."""
    prefix = _sibling(target, ".").name
    left = [path for path in target.parent.iterdir() if path.name.startswith(prefix)]
    for path in left:
        if path.suffix == ".old" and not target.exists():
            path.replace(target)
        elif path.suffix in (".tmp", ".old") and len(path.stem) == len(prefix) + 32:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sibling(target: Path, ending: str) -> Path:
    """A hidden path beside the target, whose name is never too long."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return target.with_name(f".{name}{ending}")


def _real(path: Path) -> Path:
    """What the path leads to: a link stays a link."""
    return Path(os.path.realpath(path))
