"""Time serctl's full feature set on the recordings listed on stdin, one path a line: one process, decoding included.

Used by extraction.py and throughput.py; prints its figures as JSON. Imports, and a first recording to warm up, are not
timed; the peer's script does the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from serctl.cache import Cache
from serctl.features import FeatureConfig, FeatureReader, functional_names, lld_names


def read_features(path: Path, config: FeatureConfig, cache: Cache | None) -> float:
    """Go through the windows of a recording; returns its length in seconds."""
    reader = FeatureReader(path, config, cache=cache)
    for _ in reader:
        pass
    return reader.info.duration_s


def main() -> None:
    """Print files, seconds of audio, seconds taken and the size of the feature set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache-dir", type=Path, help="read from and write to this feature cache; default: none")
    args = parser.parse_args()
    paths = [Path(line.rstrip("\n")) for line in sys.stdin]
    config = FeatureConfig()
    cache = Cache(args.cache_dir) if args.cache_dir else None
    read_features(paths[0], config, None)
    start = time.perf_counter()
    audio_s = sum(read_features(path, config, cache) for path in paths)
    figures = {
        "files": len(paths),
        "audio_s": audio_s,
        "took_s": time.perf_counter() - start,
        "functionals": len(functional_names(config)),
        "llds": len(lld_names(config)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
