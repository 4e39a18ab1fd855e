"""What starting the command line loads: seconds and hundreds of megabytes if it is the wrong thing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.bundle.store import Bundle

FOR_TRAINING = {
    "tensorflow",
    "keras",
    "numba",
    "librosa",
    "pandas",
    "sklearn",
    "matplotlib",
    "scipy",
    "dask",
    "distributed",
}

FOR_TRANSCRIPTS = {
    *("serctl.corpora.transcripts", "serctl.corpora.transcript_formats", "serctl.encoders.english"),
    *("serctl.encoders.text", "serctl.encoders.wordpiece", "serctl.runtime.words", "serctl.verbs.transcribed"),
}

RUN_AND_LIST_MODULES = """
import json, sys
sys.argv[0] = "serctl"
from serctl.cli import main
try:
    main()
except SystemExit as ended:
    named = {name if name.startswith("serctl.") else name.partition(".")[0] for name in sys.modules}
    json.dump([ended.code or 0, sorted(named)], sys.stderr)
"""


def loaded_by(*arguments: object) -> set[str]:
    command = [sys.executable, "-c", RUN_AND_LIST_MODULES, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    code, modules = json.loads(ended.stderr.splitlines()[-1])
    assert code == 0
    return set(modules)


def test_help_loads_next_to_nothing() -> None:
    loaded = loaded_by("--help")
    assert "typer" in loaded
    assert not loaded & (FOR_TRAINING | {"pyarrow", "numpy", "rich", "joblib", "ai_edge_litert"})


@pytest.mark.parametrize(
    "command",
    ["predict", "explain", "extract", "train", "stream", "evaluate", "export", "augment", "corpus", "models", "cache"],
)
def test_help_of_a_command_loads_next_to_nothing(command: str) -> None:
    assert not loaded_by(command, "--help") & (FOR_TRAINING | {"pyarrow"})


def test_predicting_to_csv_needs_neither_tensorflow_nor_numba_nor_pyarrow(
    samples: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    loaded = loaded_by(
        "predict", samples / "tom-sad.flac", "--model", tiny_bundle.folder, "-q", "-o", tmp_path / "o.csv"
    )
    assert {"ai_edge_litert", "soundfile"} <= loaded
    assert not loaded & (FOR_TRAINING | {"pyarrow"} | FOR_TRANSCRIPTS)
    assert (tmp_path / "o.csv").stat().st_size


def test_predicting_to_stdout_and_to_parquet_needs_no_tensorflow(
    samples: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    common = (samples / "tom-sad.flac", samples / "marek-sad.mp3", "--model", tiny_bundle.folder, "-q")
    assert not loaded_by("predict", *common) & (FOR_TRAINING | {"pyarrow"})
    loaded = loaded_by("predict", *common, "-o", tmp_path / "o.parquet", "--per", "window", "--jobs", 2)
    assert not loaded & (FOR_TRAINING - {"pandas"})  # pyarrow imports it where it is installed


def test_extracting_needs_no_tensorflow_and_no_numba(samples: Path, tmp_path: Path) -> None:
    assert not loaded_by("extract", samples / "tom-sad.flac", "-q", "-o", tmp_path / "o.csv") & FOR_TRAINING


def test_explaining_needs_no_extra(samples: Path, tmp_path: Path) -> None:
    voice, rate = soundfile.read(samples / "emma-angry.wav", frames=16_000)
    soundfile.write(tmp_path / "voice.wav", voice, rate)
    command = ("explain", tmp_path / "voice.wav", "--model", "serctl-live", "-q", "-j", 1, "-o", tmp_path / "why.html")
    assert not loaded_by(*command) & (FOR_TRAINING | {"pyarrow", "scipy"})
