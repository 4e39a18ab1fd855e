"""Corpora that scripts make in runs/: BanglaSER without the speakers of sample_audio/, and degraded copies."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from _common import say
from _runs import DATA, WORK

from serctl.audio.segments import read_audio
from serctl.transforms.apply import apply_transforms
from serctl.transforms.codec import Codec
from serctl.transforms.level import Level
from serctl.transforms.room import Room
from serctl.transforms.telephone import Telephone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Babble:
    """Voices of another corpus talking at once, at BABBLE_SNR_DB."""

    voices: tuple[Path, ...]

    def __call__(
        self, samples: NDArray[np.float32], sample_rate: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Add the voices to mono float32 samples, shape (n,)."""
        chosen = rng.choice(len(self.voices), BABBLE_VOICES, replace=False)
        mixed = sum(self._voice(self.voices[index], len(samples), sample_rate, rng) for index in chosen)
        noise = np.asarray(mixed, dtype=np.float64)
        gain = np.sqrt(float(np.var(samples)) / max(float(np.var(noise)), 1e-12) / 10 ** (BABBLE_SNR_DB / 10))
        return (samples + gain * noise).astype(np.float32), {"babble_snr_db": BABBLE_SNR_DB}

    def to_dict(self) -> dict[str, object]:
        """A JSON-able description."""
        return {"transform": "babble"}

    @staticmethod
    def _voice(path: Path, length: int, rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
        voice = read_audio(path, sample_rate=rate).astype(np.float64)
        return np.resize(np.roll(voice, int(rng.integers(len(voice)))), length) / max(float(voice.std()), 1e-6)


def conditions() -> dict[str, tuple[Transform, ...]]:
    """What recordings meet, by name; the voices of the babble are from CREMA-D, which nothing is trained on."""
    voices = tuple(sorted((WORK / DATA / "cremad").rglob("*.ogg")))
    return {
        "clean": (),
        "telephone": (Telephone(("mulaw", "gsm")),),
        "babble": (Babble(voices),),
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
