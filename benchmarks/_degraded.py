"""Corpora that scripts make in runs/: BanglaSER without the speakers of sample_audio/, and degraded copies."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from _common import say
from _runs import DATA, WORK

from serctl.audio.segments import read_audio
from serctl.transforms.apply import apply_transforms
from serctl.transforms.babble import Babble
from serctl.transforms.codec import Codec
from serctl.transforms.level import Level
from serctl.transforms.room import Room
from serctl.transforms.telephone import Telephone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.transforms.parameters import Transform

RATE, SEED = 16_000, 14
SAMPLE_SPEAKERS = {"33", "34"}
"""Speakers of BanglaSER in sample_audio/: kept out of every training and every choice."""

BANGLASER, DEGRADED = "made/banglaser", "degraded"
"""Folders in runs/."""

CONDITIONS = ("clean", "telephone", "babble", "room", "mp3", "quiet")
BABBLE_SNR_DB, BABBLE_VOICES = 10.0, 6
EVERY = 6
"""Every so many recordings of a corpus are degraded."""


def voices(*, trained_on: bool) -> tuple[Path, ...]:
    """Recordings of CREMA-D for babble: of one half of its speakers to train with, of the other to test with."""
    recordings = sorted((WORK / DATA / "cremad").rglob("*.ogg"))
    return tuple(path for path in recordings if int(path.name.split("_")[0]) % 2 == int(trained_on))


def conditions() -> dict[str, tuple[Transform, ...]]:
    """What recordings meet, by name."""
    babble = Babble(voices(trained_on=False), BABBLE_SNR_DB, BABBLE_SNR_DB, BABBLE_VOICES, BABBLE_VOICES)
    return {
        "clean": (),
        "telephone": (Telephone(("mulaw", "gsm")),),
        "babble": (babble,),
        "room": (Room(),),
        "mp3": (Codec(("mp3",), 32.0, 32.0),),
        "quiet": (Level(-30.0, -30.0),),
    }


def make_banglaser() -> None:
    """Write the manifest of BanglaSER without SAMPLE_SPEAKERS to runs/."""
    folder = WORK / BANGLASER
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in _rows(WORK / DATA / "banglaser") if row["speaker"] not in SAMPLE_SPEAKERS]
    _write(folder, [{**row, "path": f"../../{DATA}/banglaser/{row['path']}"} for row in rows])


def make_degraded(corpora: Sequence[str]) -> None:
    """Write every EVERY-th recording of each corpus under each condition to runs/degraded/CORPUS/CONDITION."""
    for corpus in corpora:
        source = WORK / (corpus if "/" in corpus else f"{DATA}/{corpus}")
        rows = _rows(source)[::EVERY]
        for name, transforms in conditions().items():
            folder = WORK / DEGRADED / source.name / name
            if not (folder / "manifest.csv").exists():
                say(f"{source.name}: {name}")
                _degrade(source, rows, folder, transforms)


def _degrade(source: Path, rows: Sequence[dict[str, str]], folder: Path, transforms: Sequence[Transform]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, row in enumerate(rows):
        samples = read_audio(source / row["path"], sample_rate=RATE)
        rng = np.random.default_rng((SEED, number))
        changed, _ = apply_transforms(samples, RATE, transforms=transforms, rng=rng)
        soundfile.write(folder / f"{number:04d}.wav", changed, RATE, subtype="PCM_16")
        written.append({**row, "path": f"{number:04d}.wav"})
    _write(folder, written)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    kept = ("path", "emotion", "speaker", "gender", "language")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
