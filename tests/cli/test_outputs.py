"""What the commands do with outputs, lists and caches that are not what they should be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serctl.audio.find import find_recordings
from serctl.files import claim
from serctl.reports.tables import read_report

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def recordings(samples: Path, tmp_path: Path) -> Path:
    """A folder with two recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for recording in find_recordings([samples])[:2]:
        (folder / recording.path.name).symlink_to(recording.path)
    return folder


@pytest.fixture
def extract(serctl: Any, recordings: Path) -> Callable[..., Any]:
    return lambda *arguments: serctl("extract", recordings, "-j", 1, *arguments)


def test_a_second_run_is_told_which_process_is_at_work(extract: Callable[..., Any], tmp_path: Path) -> None:
    with claim(tmp_path / "o.csv"):
        done = extract("-o", tmp_path / "o.csv", "--overwrite")
    assert done.code == 2
    assert done.stderr == f"error: {tmp_path / 'o.csv'} is being written by another run, process {os.getpid()}\n"


def test_a_finished_report_is_resumed_without_work_and_updated_with_what_is_new(
    extract: Callable[..., Any], recordings: Path, samples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "o.csv"
    assert extract("-o", output).code == 0
    done = extract("-o", output, "--resume")
    assert (done.code, done.stderr) == (0, f"nothing to do: {output} is finished\n")
    (recordings / "zz-new.wav").symlink_to(find_recordings([samples])[2].path)
    done = extract("-o", output, "--resume")
    assert done.stderr == (
        f"nothing to do: {output} is finished; 1 recording is new or changed since: --update adds what is new\n"
    )
    done = extract("-o", output, "--update")
    assert done.code == 0
    assert "2 of them were finished in an earlier run" in done.stderr
    assert [Path(row["path"]).name for row in read_report(output)][-1] == "zz-new.wav"


def test_a_finished_report_with_failures_ends_again_with_their_exit_code(
    extract: Callable[..., Any], recordings: Path, tmp_path: Path
) -> None:
    (recordings / "broken.wav").write_bytes(b"RIFF")
    output = tmp_path / "o.csv"
    assert extract("-o", output).code == 3
    done = extract("-o", output, "--resume")
    said = f"nothing to do: {output} is finished; 1 recording in it failed: --update tries again\n"
    assert (done.code, done.stderr) == (3, said)


def test_a_run_without_a_cache_that_can_be_used_warns_once(recordings: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serctl", "extract", recordings, "-j", "2", "-q", "--cache-dir", "/proc/none"]
    done = subprocess.run([*command, "-o", tmp_path / "o.csv"], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("the cache /proc/none cannot be used (")


def test_a_tilde_in_the_cache_folder_leads_home(serctl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SERCTL_CACHE_DIR", "~/cache")
    assert f"folder   {tmp_path / 'cache'}\n" in serctl("cache", "info").stdout


def test_a_special_file_as_a_list_is_refused_and_never_waited_for(serctl: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    done = serctl("extract", "--files-from", tmp_path / "list")
    assert done.code == 2
    assert f"{tmp_path / 'list'}: expected a regular file, found a pipe" in done.stderr


def test_a_list_through_the_shell_and_a_summary_on_its_stdout(recordings: Path, tmp_path: Path) -> None:
    script = (
        f"{sys.executable} -m serctl extract --files-from <(ls {recordings}/*) -j 1 -q --summary-json /dev/stdout"
        f" -o {tmp_path / 'o.csv'}"
    )
    (tmp_path / "all").write_text("before\n")
    with (tmp_path / "all").open("a") as stdout:
        subprocess.run(["bash", "-c", script], stdout=stdout, check=True)
    text = (tmp_path / "all").read_text()
    assert text.startswith("before\n{")
    assert '"recordings": 2' in text
