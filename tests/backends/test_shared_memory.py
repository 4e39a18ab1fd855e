"""Worker processes need /dev/shm: without it the work is done in one process, and that is said once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path


def _in_own_mounts(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--mount", "--map-root-user", "sh", "-ec", script, "sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or _in_own_mounts("mount -t tmpfs none /dev/shm").returncode != 0,
    reason="needs a mount namespace of its own",
)


@pytest.mark.parametrize(
    ("command", "mount", "reason"),
    [
        ("extract", "mount -t tmpfs -o ro none /dev/shm", "Read-only file system"),
        ("extract", "mount -t tmpfs -o size=40k none /dev/shm", "No space left on device"),
        ("augment", "mount -t tmpfs -o size=4k none /dev/shm; echo full > /dev/shm/full", "No space left on device"),
    ],
    ids=["not-writable", "nearly-full", "full"],
)
def test_without_shared_memory_one_process_works(
    samples: Path, tmp_path: Path, command: str, mount: str, reason: str
) -> None:
    source, names = tmp_path / "corpus", [f"anna-{number}-sad.flac" for number in range(40)]
    source.mkdir()
    for name in names:  # so many that workers are wanted at once, however quick this machine is
        shutil.copy(samples / "tom-sad.flac", source / name)
    (source / "manifest.csv").write_text("\n".join(["path,emotion", *(f"{name},sad" for name in names)]))
    output = "out.csv" if command == "extract" else "out"
    options = ["--jobs", 2, "--output", tmp_path / output, *([] if command == "extract" else ["--copies", 1])]
    ended = _in_own_mounts(f'{mount}; exec "$@"', sys.executable, "-m", "serctl", command, source, *options)
    said = f"working in one process, for worker processes need shared memory in /dev/shm: {reason}\n"
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(said) == 1
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr


KILLED = """
import os, signal
from serctl.backends.loky import map_unordered

def main():
    for _ in map_unordered(abs, range(200), jobs=2):
        os.kill(os.getpid(), signal.SIGKILL)

main()
"""


def test_a_killed_run_leaves_no_message_about_shared_memory(tmp_path: Path) -> None:
    script, log = tmp_path / "killed.py", tmp_path / "stderr"
    script.write_text(KILLED)
    with log.open("wb") as stderr:
        run = subprocess.Popen([sys.executable, script], stderr=stderr, start_new_session=True)
        assert run.wait(60) == -9
    left = [each for each in psutil.process_iter(["cmdline"]) if _session(each) == run.pid]
    # A worker may wait for minutes for a lock that another one held when it died.
    for worker in (each for each in left if "LokyProcess" in " ".join(each.info["cmdline"] or ())):
        worker.kill()
    _, alive = psutil.wait_procs(left, timeout=60)  # the trackers speak as they end
    assert not alive
    assert log.read_text() == ""


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
