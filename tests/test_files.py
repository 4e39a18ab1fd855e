from __future__ import annotations

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serctl import files
from serctl.errors import ConfigError, Remedy
from serctl.files import atomic_folder, atomic_path, check_new_file, check_new_folder, claim, open_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def start(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start Python on the code, which finds the arguments in sys.argv."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)


def run(code: str, *arguments: object) -> int:
    process = start(code, *arguments)
    process.communicate()
    return process.returncode


# Inputs


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_fifo, make_socket, link_to_zeros, Path.mkdir])
def test_a_special_file_is_refused_as_input_and_never_waited_for(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make(Path("special"))
    with pytest.raises(OSError, match=r"expected a regular file|No such device"):
        open_input(Path("special"))


def test_a_pipe_that_this_process_holds_is_read_where_it_may_be() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a.wav\n")
    os.close(writing)
    path = Path(f"/dev/fd/{reading}")
    with pytest.raises(OSError, match="found a pipe"):
        open_input(path)
    with open_input(path, pipe=True) as stream:
        assert stream.read() == b"a.wav\n"
    os.close(reading)


def test_a_link_is_followed_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_input(tmp_path / "link") as stream:
        assert stream.read() == b"content"
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        open_input(tmp_path / "link", follow=False)


# Files


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "report.csv"
    real.parent.mkdir()
    link = tmp_path / "report.csv"
    link.symlink_to(real)
    with atomic_path(link) as draft:
        draft.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("name", ["report.csv", "x" * 251 + ".csv"])
def test_a_file_is_replaced_at_the_end_or_not_at_all(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_path(path) as draft:
        draft.write_text("half\udc80", encoding="utf-8")
    assert path.read_text() == "old"
    with atomic_path(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert [each.read_text() for each in tmp_path.iterdir()] == ["new"]


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    content: list[bytes] = []
    reader = threading.Thread(target=lambda: content.append(path.read_bytes()))
    reader.start()
    with atomic_path(path) as draft:
        draft.write_bytes(b"x" * 200_000)
    reader.join()
    assert content == [b"x" * 200_000]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_terminal_is_written_into_through_a_link(tmp_path: Path) -> None:
    master, slave = os.openpty()
    link = tmp_path / "link.csv"
    link.symlink_to(os.ttyname(slave))
    with atomic_path(link) as draft:
        draft.write_text("rows")
    assert os.read(master, 100) == b"rows"
    assert link.is_symlink()
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("make", [make_socket, Path.mkdir])
def test_what_cannot_be_written_into_is_refused_and_left(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("special")
    make(path)
    before = path.stat().st_mode
    with pytest.raises(ConfigError, match="expected a file or a pipe to write to"):
        check_new_file(path, overwrite=True)
    with pytest.raises(ConfigError, match="expected a file or a pipe to write to"), atomic_path(path):
        pass
    assert path.stat().st_mode == before


def test_the_shells_output_file_keeps_what_was_printed_before(tmp_path: Path) -> None:
    code = """
        from pathlib import Path
        from serctl.files import atomic_path
        print("rows")
        with atomic_path(Path("/dev/stdout")) as draft:
            draft.write_text("summary\\n")
        print("end")
    """
    with (tmp_path / "all").open("w") as output:
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], stdout=output, check=True)
    assert (tmp_path / "all").read_text().split() == ["rows", "summary", "end"]


def test_an_existing_file_needs_leave_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.csv"
    check_new_file(path, overwrite=False)
    path.touch()
    with pytest.raises(ConfigError, match="exists") as refused:
        check_new_file(path, overwrite=False)
    assert Remedy.OVERWRITE in refused.value.remedies
    check_new_file(path, overwrite=True)
    os.mkfifo(tmp_path / "fifo")
    check_new_file(tmp_path / "fifo", overwrite=False)


# Folders


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "folder"
    with pytest.raises(FileNotFoundError), atomic_folder(output) as draft:
        (draft / "missing").read_text()
    assert list(output.parent.iterdir()) == []
    with atomic_folder(output) as draft:
        (draft / "whole").touch()
    assert [path.name for path in output.iterdir()] == ["whole"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_previous_folder_is_replaced_only_at_the_end(
    tmp_path: Path, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not at_once:
        monkeypatch.setattr(files, "_exchange_at_once", lambda *_: False)
    output = tmp_path / "folder"
    output.mkdir()
    (output / "previous").touch()
    with atomic_folder(output) as draft:
        (draft / "next").touch()
        assert (output / "previous").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "next"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders in one step")
def test_the_folder_is_never_missing_while_it_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "folder"
    output.mkdir()
    code = """
        import sys
        from pathlib import Path
        from serctl.files import atomic_folder
        for _ in range(300):
            with atomic_folder(Path(sys.argv[1])):
                pass
    """
    process = start(code, output)
    missing = 0
    while process.poll() is None:
        for _ in range(100):
            missing += not output.exists()
    process.communicate()
    assert (process.returncode, missing) == (0, 0)


def test_a_folder_that_must_not_be_replaced_is_refused(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "new", overwrite=False, mark="mark", kind="a model")
    with pytest.raises(ConfigError, match="already exists and is not a model") as refused:
        check_new_folder(tmp_path, overwrite=True, mark="mark", kind="a model")
    assert refused.value.remedies == (Remedy.OTHER_OUTPUT,)
    (tmp_path / "mark").touch()
    with pytest.raises(ConfigError, match="exists") as refused:
        check_new_folder(tmp_path, overwrite=False, mark="mark", kind="a model")
    assert Remedy.OVERWRITE in refused.value.remedies
    check_new_folder(tmp_path, overwrite=True, mark="mark", kind="a model")
    with pytest.raises(ConfigError, match="exists"):
        check_new_folder(tmp_path / "mark", overwrite=True, mark="mark", kind="a model")


# One run at a time

HOLD = """
    import sys, time
    from pathlib import Path
    from serctl.files import atomic_folder, atomic_path, claim
    with claim(Path(sys.argv[1])), atomic_path(Path(sys.argv[1])) as file, atomic_folder(Path(sys.argv[1])) as folder:
        file.touch()
        (folder / "part").touch()
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work on tmp_path/output."""
    process = start(HOLD, tmp_path / "output")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_told_which_process_is_at_work(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    (tmp_path / "link").symlink_to("output")
    for path in (tmp_path / "output", tmp_path / "link"):
        with pytest.raises(ConfigError, match=f"{path} is being written by another run, process {holder.pid}$"):
            claim(path).__enter__()
    with claim(tmp_path / "other"):
        pass


def test_the_death_of_a_run_frees_its_output_and_the_next_run_tidies_up(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    foreign = tmp_path / ".output.notes.tmp"
    foreign.touch()
    assert len(list(tmp_path.iterdir())) == 4
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with claim(tmp_path / "output"):
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {".output.lock", foreign.name}
    assert list(tmp_path.iterdir()) == [foreign]


STRANGER = 54_321  # a user id without a name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_the_lock_of_another_users_killed_run_is_no_obstacle_but_that_of_a_live_one_is() -> None:
    code = """
        import fcntl, os, sys
        from pathlib import Path
        from serctl.errors import ConfigError
        from serctl.files import claim
        os.setuid(int(sys.argv[2]))
        try:
            with claim(Path(sys.argv[1])):
                sys.exit(0)
        except ConfigError as error:
            sys.exit(3 if f"another run, process {sys.argv[3]}" in str(error) else 4)
    """
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is closed to others
        Path(folder).chmod(0o777)
        output = Path(folder) / "output"
        with claim(output):
            assert run(code, output, STRANGER, os.getpid()) == 3
        (Path(folder) / ".output.lock").write_text("1\n")
        assert run(code, output, STRANGER, os.getpid()) == 0
        assert list(Path(folder).iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root may write everywhere: the test becomes somebody who may not")
def test_a_folder_that_may_not_be_written_is_named_with_the_reason() -> None:
    code = """
        import os, sys
        from pathlib import Path
        from serctl.errors import ConfigError
        from serctl.files import claim
        os.setuid(int(sys.argv[2]))
        try:
            with claim(Path(sys.argv[1])):
                pass
        except ConfigError as error:
            print(error)
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        said, _ = start(code, Path(folder) / "output", STRANGER).communicate()
    assert said == f"cannot write into the folder {folder}: Permission denied\n"


def test_a_folder_moved_aside_by_a_killed_run_is_put_back(tmp_path: Path) -> None:
    """As where the system cannot exchange two folders at once."""
    output = tmp_path / "model"
    output.mkdir()
    (output / "weights").write_text("trained")
    code = """
        import os, sys
        from pathlib import Path
        from serctl import files
        files._exchange_at_once = lambda *_: False
        rename = Path.replace
        Path.replace = lambda source, target: os._exit(9) if source.suffix == ".tmp" else rename(source, target)
        with files.atomic_folder(Path(sys.argv[1])):
            pass
    """
    assert run(code, output) == 9
    assert not output.exists()
    with claim(output):
        assert (output / "weights").read_text() == "trained"
    assert list(tmp_path.iterdir()) == [output]


def test_many_runs_on_one_output_exclude_each_other(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from serctl.errors import ConfigError
        from serctl.files import claim
        inside = Path(sys.argv[1] + ".inside")
        done = 0
        while done < 30:
            try:
                with claim(Path(sys.argv[1])):
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                    inside.unlink()
                    done += 1
            except ConfigError:
                pass
    """
    processes = [start(code, tmp_path / "output") for _ in range(3)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=re.escape(f"cannot make the folder {tmp_path / 'file' / 'below'}")):
        claim(tmp_path / "file" / "below" / "report.csv").__enter__()
