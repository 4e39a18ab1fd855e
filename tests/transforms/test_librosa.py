"""librosa keeps compiled code in a cache folder: one that can be written, and that nobody else can."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from threading import Thread

import pytest

from serctl.transforms._librosa import _alone, _cache_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows keeps it elsewhere")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cache folder that could be made; the place of the one that stands in for it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"serctl-{os.getuid()}"


def test_without_a_cache_folder_a_private_one_is_used(homeless: Path) -> None:
    before = os.environ["XDG_CACHE_HOME"]
    with _cache_folder():
        assert os.environ["XDG_CACHE_HOME"] == str(homeless)
        assert stat.S_IMODE(homeless.stat().st_mode) == 0o700
    assert os.environ["XDG_CACHE_HOME"] == before


@pytest.mark.parametrize("kind", ["open to others", "link", "file"])
def test_a_folder_that_others_may_write_is_never_used(homeless: Path, kind: str) -> None:
    if kind == "file":
        homeless.touch()
    elif kind == "link":
        homeless.symlink_to(homeless.parent)
    else:
        homeless.mkdir()
        homeless.chmod(0o777)
    with _cache_folder():
        used = Path(os.environ["XDG_CACHE_HOME"])
    assert used != homeless
    assert stat.S_IMODE(used.stat().st_mode) == 0o700


def test_the_users_own_folder_is_used_where_it_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new" / "cache"))
    with _cache_folder():
        assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "new" / "cache")


def test_the_mask_is_librosas_transform_without_a_cache_folder(homeless: Path) -> None:
    import numpy as np

    from serctl.transforms._librosa import import_librosa

    import_librosa.cache_clear()
    spectrum = import_librosa().stft(np.ones(64, np.float32), n_fft=16, hop_length=4)
    assert spectrum.shape == (9, 17)


def test_librosa_is_imported_under_the_lock(tmp_path: Path) -> None:
    """Two processes that fill numba's cache at once leave code in it that crashes every later one."""
    code = """
        import fcntl, sys
        from pathlib import Path
        from serctl.transforms._librosa import import_librosa

        class Look:
            def find_spec(self, name, *_):
                if name in {"librosa", "librosa.util.utils", "librosa.core.spectrum"}:
                    with Path(sys.argv[1]).open() as lock:
                        try:
                            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        except BlockingIOError:
                            print(name, "held")

        sys.meta_path.insert(0, Look())
        import_librosa()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "numba" / "serctl.lock")]
    seen = subprocess.run(
        command, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, stdout=subprocess.PIPE, check=True
    )
    assert {*seen.stdout.decode().splitlines()} == {
        "librosa held",
        "librosa.util.utils held",
        "librosa.core.spectrum held",
    }


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    entered = []

    def enter() -> None:
        with _alone(tmp_path):
            entered.append("second")

    second = Thread(target=enter)
    with _alone(tmp_path):
        second.start()
        second.join(0.1)
        entered.append("first")
    second.join()
    assert entered == ["first", "second"]


def test_where_no_lock_can_be_made_librosa_is_imported_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with _alone(tmp_path / "file" / "numba"):
        pass
