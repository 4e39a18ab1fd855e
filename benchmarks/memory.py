"""Memory: `serctl predict` over 20,000 short files, and over one 3-hour file; peak of the process and all its workers.

The recordings are made from sample_audio/ in a temporary folder (about 400 MB): 200 different WAVs of 1 to 2 s, each
under 100 names (hard links), computed anew each time (no feature cache); and one 16 kHz WAV of 3 hours, with a feature
cache to fill. Two workers. Every 50 ms the proportional set size (PSS: resident memory, pages shared by several
processes counted once; on systems without it the unique set size) of the whole process tree is summed up.

The peers are what others hold at the very least: the long file as samples in librosa, and TensorFlow after its import.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile
from _common import SAMPLES, Row, finish, make_parser, model_options, parse, read_model, say, serctl

from serctl.audio.find import find_recordings
from serctl.audio.segments import read_audio

LIMIT_MB = 600
EVERY_S = 0.05
RATE = 16_000
WORKERS = 2
DIFFERENT = 200
PER_FOLDER = 1_000


@dataclass
class Peak:
    """Peaks over the life of a process tree, in MB: PSS (or USS), and RSS, which counts shared pages once for each."""

    proportional_mb: float = 0.0
    rss_mb: float = 0.0
    processes: int = 0
    samples: int = 0
    wall_s: float = 0.0


def measure(command: list[str]) -> Peak:
    """Run a command and sample the memory of its process tree; exits with what it said if it failed."""
    peak, start = Peak(), time.perf_counter()
    with tempfile.TemporaryFile() as err, psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=err) as process:
        while process.poll() is None:
            due = time.perf_counter() + EVERY_S
            _sample(process, peak)
            time.sleep(max(0.0, due - time.perf_counter()))
        if process.returncode:
            err.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{err.read().decode(errors='replace')}")
    peak.wall_s = time.perf_counter() - start
    return peak


def _sample(process: psutil.Process, peak: Peak) -> None:
    proportional, rss, count = 0, 0, 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = member.memory_full_info()
                proportional += getattr(memory, "pss", memory.uss)
                rss += memory.rss
                count += 1
    peak.proportional_mb = max(peak.proportional_mb, proportional / 1e6)
    peak.rss_mb = max(peak.rss_mb, rss / 1e6)
    peak.processes = max(peak.processes, count)
    peak.samples += 1


def sample_speech() -> np.ndarray:
    """The sample recordings one after the other: float32, mono, 16 kHz."""
    return np.concatenate([read_audio(each.path, sample_rate=RATE) for each in find_recordings([SAMPLES])])


def write_short_files(folder: Path, speech: np.ndarray, count: int) -> None:
    """Different stretches of 1 to 2 s, and further names for them, a thousand in a folder."""
    generator = np.random.default_rng(0)
    made: list[Path] = []
    for index in range(count):
        path = folder / f"{index // PER_FOLDER:02d}" / f"speech-{index:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index < DIFFERENT:
            length = int(generator.uniform(1, 2) * RATE)
            first = int(generator.integers(len(speech) - length))
            soundfile.write(path, speech[first : first + length], RATE)
            made.append(path)
        else:
            os.link(made[index % DIFFERENT], path)


def write_long_file(path: Path, speech: np.ndarray, hours: float) -> None:
    """The speech repeated to the length asked for, 16-bit."""
    left = int(hours * 3600 * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        while left > 0:
            file.write(speech[:left])
            left -= len(speech)


def predict(source: Path, folder: Path, files: int, options: list[str]) -> tuple[Peak, str]:
    """The peak of a prediction, and the model it used; exits if a recording failed."""
    report, summary = folder / f"{source.stem}.csv", folder / f"{source.stem}.json"
    outputs = ["-o", str(report), "--summary-json", str(summary), "--jobs", str(WORKERS), "--quiet"]
    peak = measure([serctl(), "predict", str(source), *outputs, *options])
    succeeded = json.loads(summary.read_text())["succeeded"]
    if succeeded != files:
        sys.exit(f"expected {files} recordings to succeed, {succeeded} did")
    return peak, read_model(report)


def main() -> None:
    """Measure, print, save."""
    args = parse(make_parser(__doc__, model=True))
    count, hours = (400, 0.1) if args.quick else (20_000, 3)
    model, speech = model_options(args), sample_speech()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        say(f"{count:,} short files")
        write_short_files(folder / "short", speech, count)
        many, _ = predict(folder / "short", folder, count, [*model, "--no-cache"])
        say(f"one file of {hours:g} hours")
        write_long_file(folder / "long.wav", speech, hours)
        long, name = predict(folder / "long.wav", folder, 1, [*model, "--cache-dir", str(folder / "cache")])
        say("the peers")
        loading = f"import librosa; librosa.load({str(folder / 'long.wav')!r}, sr={RATE})"
        loaded = measure([sys.executable, "-c", loading])
        imported = measure([sys.executable, "-c", "import tensorflow"])
    rows = [
        Row(
            f"`serctl predict` of {count:,} files of 1 to 2 s, {WORKERS} workers",
            many.proportional_mb,
            "MB",
            LIMIT_MB,
            peer="`import tensorflow`, one process",
            peer_figure=imported.proportional_mb,
        ),
        Row("the same, shared pages counted in each process", many.rss_mb, "MB"),
        Row(
            f"`serctl predict` of one file of {hours:g} hours",
            long.proportional_mb,
            "MB",
            LIMIT_MB,
            peer="`librosa.load` of it",
            peer_figure=loaded.proportional_mb,
        ),
    ]
    figures = {
        "memory": "PSS" if Path("/proc/self/smaps_rollup").exists() else "USS",
        "model": name,
        "many files": asdict(many),
        "long file": asdict(long),
        "librosa.load": asdict(loaded),
        "import tensorflow": asdict(imported),
    }
    finish("memory", rows, figures=figures, save=args.save)


if __name__ == "__main__":
    main()
