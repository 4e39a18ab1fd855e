"""Start-up: `serctl --help`, and `serctl predict` of one 4 s file, each in a new process; wall time and peak memory.

The peer is the floor under every tool that imports librosa's features or TensorFlow before it does anything: that
import alone, in this environment. New processes, files in the system's disk cache, no feature cache; the median of 7
(imports: 3) for times, the largest for memory.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import wave
from pathlib import Path
from typing import TYPE_CHECKING

from _common import SAMPLES, Finished, Row, finish, make_parser, model_options, parse, read_model, run, say, serctl

if TYPE_CHECKING:
    from collections.abc import Callable

LIBROSA = "import librosa.feature"
TENSORFLOW = "import tensorflow"
# librosa loads a module at the first use of something in it.
STATEMENTS = {LIBROSA: "from librosa.feature import mfcc", TENSORFLOW: "import tensorflow"}


def write_recording(path: Path, *, seconds: int = 4) -> None:
    """Repeat a sample recording to the length asked for; with the standard library, to keep this process small."""
    with wave.open(str(SAMPLES / "emma-angry.wav")) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        frames = source.readframes(source.getnframes())
        needed = seconds * source.getframerate() * source.getnchannels() * source.getsampwidth()
        target.writeframes((frames * (needed // len(frames) + 1))[:needed])


def repeat(name: str, start: Callable[[], Finished], times: int) -> list[Finished]:
    """Run it once to warm the disk cache, then as often as asked."""
    say(name)
    start()
    return [start() for _ in range(times)]


def time_predictions(options: list[str], times: int) -> tuple[list[Finished], str]:
    """Predictions of one file, each to a new report, and the model that made them."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "speech.wav")
        write_recording(recording)
        reports = (Path(folder, f"{number}.csv") for number in itertools.count())
        command = [serctl(), "predict", str(recording), "--no-cache", "--quiet", *options]
        runs = repeat("serctl predict", lambda: run([*command, "-o", str(next(reports))]), times)
        return runs, read_model(Path(folder, "0.csv"))


def time_import(name: str, times: int) -> list[Finished]:
    """A peer's import, in a new interpreter."""
    return repeat(name, lambda: run([sys.executable, "-c", STATEMENTS[name]]), times)


def median_s(runs: list[Finished]) -> float:
    """Median wall time in seconds."""
    return statistics.median(each.wall_s for each in runs)


def peak_mb(runs: list[Finished]) -> float:
    """The largest peak of memory in MB."""
    return max(each.peak_mb for each in runs)


def main() -> None:
    """Measure, print, save."""
    args = parse(make_parser(__doc__, model=True))
    times, import_times = (1, 1) if args.quick else (7, 3)
    helps = repeat("serctl --help", lambda: run([serctl(), "--help"]), times)
    predictions, model = time_predictions(model_options(args), times)
    peers = {name: time_import(name, import_times) for name in STATEMENTS}
    librosa_s, tensorflow_s = median_s(peers[LIBROSA]), median_s(peers[TENSORFLOW])
    rows = [
        Row("`serctl --help`", median_s(helps), "s", 0.4, peer=f"`{LIBROSA}`", peer_figure=librosa_s),
        Row(
            "`serctl predict` of one 4 s file, new process",
            median_s(predictions),
            "s",
            1.5,
            peer=f"`{TENSORFLOW}`",
            peer_figure=tensorflow_s,
        ),
        Row(
            "its peak memory",
            peak_mb(predictions),
            "MB",
            300,
            peer=f"`{TENSORFLOW}`",
            peer_figure=peak_mb(peers[TENSORFLOW]),
        ),
    ]
    runs = {"serctl --help": helps, "serctl predict": predictions, **peers}
    shown = {name: [{"wall_s": each.wall_s, "peak_mb": each.peak_mb} for each in group] for name, group in runs.items()}
    finish("startup", rows, figures={"model": model, **shown}, save=args.save)


if __name__ == "__main__":
    main()
