"""Time openSMILE on the recordings listed on stdin, one path a line: one process, one thread, decoding included.

Runs in an environment of its own (pip install opensmile soundfile soxr): openSMILE is licensed for research only and is
a yardstick, never a dependency. Prints its figures as JSON. Imports, and a first recording to warm up, are not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import opensmile
import soundfile
import soxr

RATE = 16_000


def process(smile: opensmile.Smile, path: str) -> float:
    """Compute the functionals of a recording; returns its length in seconds."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    smile.process_signal(mono if rate == RATE else soxr.resample(mono, rate, RATE), RATE)
    return len(mono) / rate


def main() -> None:
    """Print files, seconds of audio, seconds taken and the size of the feature set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="eGeMAPSv02", help="feature set: eGeMAPSv02 or ComParE_2016")
    args = parser.parse_args()
    paths = [line.rstrip("\n") for line in sys.stdin]
    smile = opensmile.Smile(opensmile.FeatureSet[args.set], opensmile.FeatureLevel.Functionals, num_workers=1)
    process(smile, paths[0])
    start = time.perf_counter()
    audio_s = sum(process(smile, path) for path in paths)
    figures = {
        "files": len(paths),
        "audio_s": audio_s,
        "took_s": time.perf_counter() - start,
        "functionals": smile.num_features,
        "opensmile": opensmile.__version__,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
