"""Abuse: what a night of bad luck does to serctl, at random but seeded; prints how often what held, and what did not.

Parts: kills over the verbs, two runs on one output, files swapped while they are read, mutated recordings of every
format that is at hand, damaged bundles and cache entries, a server of streams under garbage. A part that is finished is
kept in --work, so that a run that was stopped goes on with the next one; --again starts anew. Needs psutil.

Held: outputs equal those of a run that nobody disturbed, no traceback, no worker lost, no process above 600 MB, no file
that takes 10 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from _common import RESULTS, Row, save_result, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SAMPLES = Path(__file__).resolve().parent.parent / "sample_audio"
MOST_MB = 600
MOST_S_A_FILE = 10.0
MOST_S_A_RUN = 900.0  # a hang, on a machine that does a lot besides
ENDS_WITHIN_S = 60.0  # all processes of a run that was killed; a second on a machine that does nothing else
TRAINED = ("model.tflite", "normaliser.npz", "weights.npz", "history.csv", "training.csv")
SCORED = ("predictions.parquet", "confusion.csv")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
FORMATS = ("wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64", "rf64")

Counts = Counter[str]


def serctl(*arguments: object) -> list[str]:
    """The command line of this environment."""
    return [sys.executable, "-m", "serctl", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run serctl to its end; one that hangs is ended, and says where it hung."""
    with subprocess.Popen(
        serctl(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    ) as process:
        try:
            said = process.communicate(timeout=MOST_S_A_RUN)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler shows the stack
            said = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def complain(counts: Counts, text: str) -> None:
    """Count what a user should never see."""
    for bad in (
        "Traceback",
        "Exception ignored",
        "unexpected ",
        "was killed each time",
        "Segmentation",
        "leaked",
        "Fatal ",
    ):
        if bad in text:
            counts[f"BAD {bad.strip()}"] += 1
            print(text[-2000:], file=sys.stderr)


def fill(folder: Path, count: int) -> Path:
    """A folder of so many recordings."""
    folder.mkdir(parents=True)
    sources = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    for number in range(count):
        source = sources[number % len(sources)]
        shutil.copy(source, folder / f"{number:04d}-{source.name}")
    return folder


@dataclass(frozen=True)
class Verb:
    """A command line that is killed.

    Attributes:
        arguments: without the output.
        output: name of the file or folder that it writes.
        times: how often; a run that was finished before does not count.
        compared: files of an output folder that are the same for the same input; () for all of them.
        bounded: whether no process of it may take more than MOST_MB; TensorFlow alone takes as much.
    """

    arguments: tuple[object, ...]
    output: str
    times: int
    compared: tuple[str, ...] = ()
    bounded: bool = True


def killed_verbs(folder: Path, work: Path) -> dict[str, Verb]:
    """The command lines by name; 100 kills in all. Those that train are slow, and tiny."""
    cache = ("--cache-dir", work / "cache")
    quick = ("--speed", "0.9:1.1", "--noise-snr", "10:20")
    training = (SAMPLES / "manifest.csv", "--arch", "mfcc", *cache)
    return {
        "predict": Verb(("predict", folder, "--no-cache", "-j", 2), "o.csv", 16),
        "predict-cached": Verb(("predict", folder, "-j", 2, *cache), "o.jsonl", 8),
        "extract": Verb(("extract", folder, "--no-cache", "-j", 2), "o.parquet", 12),
        "augment": Verb(("augment", SAMPLES, "--copies", 3, *quick, "-j", 2), "copies", 20),
        "scan": Verb(("corpus", "scan", SAMPLES), "manifest.csv", 20),
        "train": Verb(("train", *training, "--epochs", 4), "model", 12, TRAINED, bounded=False),
        "evaluate": Verb(
            ("evaluate", *training, "--epochs", 2, "--protocol", "random-kfold:2"), "scores", 12, SCORED, bounded=False
        ),
    }


def kills(work: Path, rng: random.Random, times: int, *, name: str) -> Counts:
    """Kill a verb at random, run it again, and compare with what an undisturbed run gave."""
    counts: Counts = Counter()
    verb = killed_verbs(fill(work / "recordings", 64), work)[name]
    start = time.monotonic()
    expected = work / "expected" / verb.output
    expected.parent.mkdir()
    undisturbed = run(*verb.arguments, "-o", expected)
    assert undisturbed.returncode == 0, undisturbed.stderr
    whole_s = time.monotonic() - start
    while counts["killed"] < times:
        target = work / str(counts.total()) / verb.output
        target.parent.mkdir()
        start = time.monotonic()
        counts.update(kill_at_random(serctl(*verb.arguments, "-o", target), rng, whole_s))
        killed = time.monotonic()
        _go_on(verb.arguments, target, counts)
        same = _content(target, verb.compared) == _content(expected, verb.compared)
        counts["equal" if same else f"BAD output of {name}"] += 1
        shutil.rmtree(target.parent)
        again_s = time.monotonic() - killed
        say(f"{name} {counts['killed']}/{times}: {killed - start:.1f} s, then {again_s:.1f} s to its end")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    if peak_mb > MOST_MB and verb.bounded:
        counts[f"BAD {peak_mb:.0f} MB"] += 1
    return counts


def kill_at_random(command: list[str], rng: random.Random, longest_s: float) -> Counts:
    """Start, and send one or two signals after a random time; what was seen of it."""
    counts: Counts = Counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        time.sleep(0.15 + rng.random() * longest_s)  # what Python itself does before has no handler
        counts["killed" if process.poll() is None else "finished before"] += 1
        sent = rng.choice(SIGNALS)
        for _ in range(rng.choice((1, 1, 2))):
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, sent)
            time.sleep(rng.choice((0.0, 0.01, 0.1)))
        try:
            _, said = process.communicate(timeout=ENDS_WITHIN_S)  # workers hold stderr open
        except subprocess.TimeoutExpired:
            counts[f"BAD left behind by {sent.name}"] += 1
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _, said = process.communicate()
    complain(counts, said)
    return counts


def _go_on(arguments: tuple[object, ...], target: Path, counts: Counts) -> None:
    again = ["--overwrite"] if arguments[0] == "corpus" else ["--resume"]
    done = run(*arguments, "-o", target, *again)
    if done.returncode == 2:  # nothing that could be resumed was left
        done = run(*arguments, "-o", target, "--overwrite")
    complain(counts, done.stderr)
    if done.returncode:
        counts["BAD rerun"] += 1
        print(done.stderr[-500:], file=sys.stderr)


def _content(path: Path, compared: tuple[str, ...] = ()) -> dict[str, bytes]:
    """What a report or a folder of copies holds, apart from its place; Parquet by its rows."""
    if compared:
        return {name: (path / name).read_bytes() for name in compared if (path / name).exists()}
    if path.is_dir():
        place = str(path.parent).encode()
        # Without the journal, whose order is that in which workers finished.
        files = (each for each in sorted(path.rglob("*")) if each.is_file() and not each.name.startswith("."))
        return {str(each.relative_to(path)): each.read_bytes().replace(place, b"") for each in files}
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return {"rows": repr(pyarrow.parquet.read_table(path).to_pylist()).encode()}
    return {path.name: path.read_bytes()} if path.exists() else {}


def twins(work: Path, rng: random.Random, times: int) -> Counts:
    """Start two runs on one output at nearly the same time."""
    counts: Counts = Counter()
    folder = fill(work / "recordings", 40)
    assert run("extract", folder, "-o", work / "expected.csv").returncode == 0
    for number in range(times):
        output = work / f"{number}.csv"
        arguments = ("extract", folder, "-o", output, "-j", 1)
        first = subprocess.Popen(serctl(*arguments), stderr=subprocess.PIPE, text=True)
        time.sleep(rng.random() * 1.5)
        second = run(*arguments, "--overwrite")
        _, said = first.communicate(timeout=MOST_S_A_RUN)
        complain(counts, said + second.stderr)
        counts[f"exit codes {first.returncode} and {second.returncode}"] += 1
        same = output.exists() and output.read_bytes() == (work / "expected.csv").read_bytes()
        counts["equal" if same else "BAD report of two runs"] += 1
    return counts


def swaps(work: Path, rng: random.Random, times: int) -> Counts:
    """Exchange recordings while they are read, then compare what the cache says with the files as they are."""
    counts: Counts = Counter()
    folder = fill(work / "recordings", 32)
    for _ in range(times):
        shutil.rmtree(work / "cache", ignore_errors=True)
        with subprocess.Popen(
            serctl("extract", folder, "--cache-dir", work / "cache", "-j", 2),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while process.poll() is None:
                one, other = rng.sample(sorted(folder.iterdir()), 2)
                if one.suffix == other.suffix:
                    one.rename(work / "swap")
                    other.rename(one)
                    (work / "swap").rename(other)
                    counts["swaps"] += 1
                time.sleep(0.002)
            assert process.stderr is not None
            complain(counts, process.stderr.read())
        cached = run("extract", folder, "--cache-dir", work / "cache", "-j", 1).stdout
        fresh = run("extract", folder, "--no-cache", "-j", 1).stdout
        counts["equal" if cached == fresh else "BAD cache"] += 1
    return counts


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Damage a file as disks, networks and people do."""
    kind = rng.choice(("cut", "flip", "header", "splice", "zeros", "repeat", "head"))
    content = bytearray(data)
    first, last = sorted(rng.randrange(len(content)) for _ in range(2))
    if kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "head":
        del content[: rng.randrange(200)]
    elif kind == "splice":
        del content[first:last]
    elif kind == "zeros":
        content[first:last] = bytes(last - first)
    elif kind == "repeat":
        content[first:first] = content[first : first + 10_000]
    else:
        within = min(100, len(content)) if kind == "header" else len(content)
        for _ in range(rng.choice((1, 2, 8, 64))):
            content[rng.randrange(within)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(content)


def recordings(work: Path, rng: random.Random, times: int) -> Counts:
    """Extract mutated recordings of every format, each timed in a process of its own kind."""
    counts: Counts = Counter()
    originals = list(_originals(work / "originals"))
    for batch in range(0, times, 250):
        folder = work / "mutated"
        folder.mkdir()
        for number in range(min(250, times - batch)):
            source = originals[(batch + number) % len(originals)]
            (folder / f"{number}{source.suffix}").write_bytes(mutated(source.read_bytes(), rng))
        counts.update(_in_child("child_recordings", folder))
        shutil.rmtree(folder)
    return counts


def _originals(folder: Path) -> Iterator[Path]:
    import soundfile

    folder.mkdir()
    speech, rate = soundfile.read(SAMPLES / "tom-sad.flac")
    for form in FORMATS:
        path = folder / f"speech.{'wav' if form == 'rf64' else form}"
        soundfile.write(path.with_stem(form), speech[: 2 * rate], rate, format=form.upper())
        yield path.with_stem(form)


def _in_child(function: str, *arguments: object) -> Counts:
    """Call a function of this file in a new process that may not take more memory than allowed."""
    command = [sys.executable, __file__, "--child", function, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4 * MOST_S_A_RUN)
    if ended.returncode:
        print(ended.stderr[-2000:], file=sys.stderr)
        return Counter({f"BAD exit {ended.returncode} of {function}": 1})
    return Counter(json.loads(ended.stdout.splitlines()[-1]))


def _report(counts: Counts) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    if peak_mb > MOST_MB:
        counts[f"BAD {peak_mb:.0f} MB"] += 1
    print(json.dumps(counts))


def child_recordings(folder: str) -> None:
    """Extract each file of the folder, and say how it ended."""
    from serctl.backends.serial import attempt
    from serctl.errors import Failure
    from serctl.verbs.extract import ExtractOptions, extract_recording, feature_config

    options = ExtractOptions()
    work = partial(extract_recording, config=feature_config(options), options=options, cache=None)
    counts: Counts = Counter()
    for path in sorted(Path(folder).iterdir()):
        start = time.process_time()  # a machine that does a lot besides takes longer
        result = attempt(work, path)
        if time.process_time() - start > MOST_S_A_FILE:
            counts["BAD slow"] += 1
        if not isinstance(result, Failure):
            counts["read"] += 1
        elif result.kind == "AudioError":
            counts["error row"] += 1
        else:
            counts[f"BAD {result.message[:80]}"] += 1
            shutil.copy(path, tempfile.gettempdir())
    _report(counts)


def bundles(work: Path, rng: random.Random, times: int) -> Counts:
    """Load damaged bundles, half of them with digests made right, and read damaged cache entries."""
    return _in_child("child_bundles", work, rng.randrange(2**31), times)


def child_bundles(work: str, seed: str, times: str) -> None:
    """Damage a bundle or a cache entry again and again; anything but an error of ours is bad."""
    from serctl.audio.find import find_recordings
    from serctl.backends.serial import attempt
    from serctl.bundle.store import bundled_models, load_bundle
    from serctl.cache import Cache
    from serctl.errors import Failure
    from serctl.verbs.extract import ExtractOptions, extract_recording, feature_config

    rng = random.Random(int(seed))
    counts: Counts = Counter()
    source = load_bundle(bundled_models()[-1]).folder
    for number in range(int(times) // 2):
        folder = Path(work) / f"bundle-{number}"
        shutil.copytree(source, folder)
        victim = rng.choice([path for path in sorted(folder.iterdir()) if path.is_file()])
        victim.write_bytes(mutated(victim.read_bytes(), rng))
        result = attempt(load_bundle, str(folder))
        if not isinstance(result, Failure):
            counts["bundle loaded"] += 1
        else:
            counts["bundle refused" if result.kind == "BundleError" else f"BAD bundle: {result.message[:80]}"] += 1
        shutil.rmtree(folder)
    options = ExtractOptions()
    path = find_recordings([SAMPLES])[0].path
    cache = Cache(Path(work) / "cache")
    work_on = partial(extract_recording, config=feature_config(options), options=options, cache=cache)
    expected = repr(work_on(path))
    for _ in range(int(times) - int(times) // 2):
        (entry,) = (each for each in (Path(work) / "cache").rglob("*.entry"))
        entry.write_bytes(mutated(entry.read_bytes(), rng))
        found = repr(attempt(work_on, path))
        counts["entry healed" if found == expected else f"BAD entry: {found[:80]}"] += 1
    _report(counts)


def server(work: Path, rng: random.Random, times: int) -> Counts:
    """Send a server of streams garbage, while clients that behave expect all of their answers."""
    del work
    counts: Counts = Counter()
    command = serctl("stream", "--listen", "127.0.0.1:0", "--idle", 3, "--max-connections", 64)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        reader.start()
        for _ in range(times):
            _send_garbage(port, rng)
            counts["garbage"] += 1
            if rng.random() < 0.05:
                counts["good stream whole" if _good_stream(port) == 20 else "BAD good stream"] += 1
        peak_mb = psutil.Process(process.pid).memory_info().rss / 1e6
        if peak_mb > MOST_MB:
            counts[f"BAD {peak_mb:.0f} MB"] += 1
        process.terminate()
        process.wait(timeout=MOST_S_A_RUN)
        reader.join()
    complain(counts, "".join(lines))
    counts["log lines"] += len(lines)
    counts["exit 0 on SIGTERM" if process.returncode == 0 else f"BAD exit {process.returncode}"] += 1
    return counts


def _send_garbage(port: int, rng: random.Random) -> None:
    beginnings = (b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nOrigin: http://x\r\n\r\n", b"RIFF", b"\x16\x03\x01")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(rng.choice(beginnings) + rng.randbytes(rng.randrange(20_000)))
        if rng.random() < 0.5:
            client.shutdown(socket.SHUT_WR)
            client.recv(100)


def _good_stream(port: int) -> int:
    """How many answers 2 s of silence give."""
    with socket.create_connection(("127.0.0.1", port), timeout=MOST_S_A_RUN) as client, client.makefile() as answers:
        client.sendall(bytes(64_000))
        client.shutdown(socket.SHUT_WR)
        return sum('"emotion"' in line for line in answers)


PARTS: dict[str, tuple[Callable[[Path, random.Random, int], Counts], int]] = {
    **{
        f"kills of {name}": (partial(kills, name=name), verb.times)
        for name, verb in killed_verbs(Path(), Path()).items()
    },
    "twins": (twins, 12),
    "swaps": (swaps, 6),
    "recordings": (recordings, 5000),
    "bundles": (bundles, 500),
    "server": (server, 400),
}
CHILDREN = {"child_recordings": child_recordings, "child_bundles": child_bundles}


def main() -> int:
    """Run the parts that are not finished; 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "serctl-abuse")
    parser.add_argument("--only", action="append", metavar="PART", help="parts that begin so; may be repeated")
    parser.add_argument("--share", type=float, default=1.0, help="of the repetitions, such as 0.1 for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="do finished parts again")
    parser.add_argument("--save", action="store_true", help="write the counts to benchmarks/results/abuse.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = [name for name in PARTS if name.startswith(tuple(options.only or PARTS))]
    figures = {name: _part(name, options) for name in names}
    for name, counts in figures.items():
        print(f"{name}: " + ", ".join(f"{count} x {what}" for what, count in sorted(counts.items())))
    if options.save:
        _save({name: {"share": options.share, "seed": options.seed, **counts} for name, counts in figures.items()})
    bad = sum(map(_bad, figures.values()))
    print(f"{bad} did not hold")
    return int(bad > 0)


def _bad(counts: Mapping[str, float]) -> int:
    return sum(int(count) for what, count in counts.items() if what.startswith("BAD"))


def _save(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Write the counts of these parts beside those of others that were saved before."""
    path = RESULTS / "abuse.json"
    before = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else {}
    found = {name: figures.get(name, before.get(name)) for name in PARTS}
    parts = {name: counts for name, counts in found.items() if counts}
    rows = [Row(f"{name}: did not hold", _bad(counts), "times", 1) for name, counts in parts.items()]
    save_result("abuse", rows, figures=parts)


def _part(name: str, options: argparse.Namespace) -> Counts:
    done = options.work / f"{name.replace(' ', '-')}-{options.seed}-{options.share}.json"
    if done.exists() and not options.again:
        return Counter(json.loads(done.read_text()))
    function, times = PARTS[name]
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        counts = function(Path(folder), random.Random(f"{name}-{options.seed}"), max(1, round(options.share * times)))
    done.write_text(json.dumps(counts))
    return counts


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        CHILDREN[sys.argv[2]](*sys.argv[3:])
    else:
        sys.exit(main())
