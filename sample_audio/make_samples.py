"""Make the sample recordings and their manifest: `python sample_audio/make_samples.py` (needs espeak-ng on the PATH).

Every recording is synthesised with espeak-ng from sentences written for it: four voices in three languages, each saying
its sentence neutrally, happily, sadly and angrily, acted by nothing but pitch, its range, rate and loudness. They are
here for tests and first steps and say nothing about how well a model does on people. Most are 16 kHz mono 16-bit FLAC;
a few differ in format, rate or channels, as real folders do.

Licence of the recordings, the sentences and the manifest: CC0 1.0 (public domain dedication).
"""

from __future__ import annotations

import csv
import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

FOLDER = Path(__file__).parent
COLUMNS = ("path", "emotion", "speaker", "gender", "language", "text")


@dataclass(frozen=True)
class Speaker:
    """An espeak-ng voice with a pitch (0 to 99), a rate in words per minute, and the sentence it says."""

    name: str
    gender: str
    language: str
    voice: str
    pitch: int
    rate: int
    text: str


@dataclass(frozen=True)
class Acting:
    """What an emotion does to a voice: shift of its pitch, pitch range (SSML), factor on its rate, peak level."""

    pitch: int
    pitch_range: str
    rate: float
    peak: float


SPEAKERS = (
    Speaker("emma", "female", "en", "en-gb+f2", 70, 165, "The kettle is on, and your brother is here."),
    Speaker("tom", "male", "en", "en-us+m3", 40, 160, "They moved the meeting to nine o'clock on Monday."),
    Speaker("jana", "female", "de", "de+f4", 52, 165, "Der Zug nach Hamburg fährt von Gleis sieben."),
    Speaker("marek", "male", "pl", "pl+m2", 42, 160, "Twoja paczka leży na stole."),
)
ACTINGS = {
    "neutral": Acting(0, "medium", 1.0, 0.4),
    "happy": Acting(22, "x-high", 1.12, 0.6),
    "sad": Acting(-22, "x-low", 0.87, 0.2),
    "angry": Acting(8, "high", 1.25, 0.9),
}
VARIANTS = {
    "tom-neutral": (".wav", 8000, 1),
    "emma-angry": (".wav", 16000, 2),
    "jana-happy": (".ogg", 16000, 1),
    "marek-sad": (".mp3", 16000, 1),
}


def main() -> None:
    """Write every recording and manifest.csv beside this script."""
    with (FOLDER / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file, lineterminator="\n")
        manifest.writerow(COLUMNS)
        for speaker in SPEAKERS:
            for emotion, acting in ACTINGS.items():
                name = write_recording(f"{speaker.name}-{emotion}", synthesise(speaker, acting))
                manifest.writerow((name, emotion, speaker.name, speaker.gender, speaker.language, speaker.text))


def synthesise(speaker: Speaker, acting: Acting) -> tuple[np.ndarray, int]:
    """Mono float32 samples and their rate."""
    command = ["espeak-ng", "-m", "-v", speaker.voice, "-p", str(speaker.pitch + acting.pitch)]
    command += ["-s", str(round(speaker.rate * acting.rate)), "--stdout"]
    text = f'<speak><prosody range="{acting.pitch_range}">{speaker.text}</prosody></speak>'
    wav = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    samples, sample_rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return samples * (acting.peak / np.abs(samples).max()), sample_rate


def write_recording(name: str, speech: tuple[np.ndarray, int]) -> str:
    """Write the samples in the format that VARIANTS gives this name; returns the file name."""
    suffix, sample_rate, channels = VARIANTS.get(name, (".flac", 16000, 1))
    samples = soxr.resample(*speech, sample_rate)
    soundfile.write(FOLDER / f"{name}{suffix}", np.stack([samples] * channels, axis=1), sample_rate)
    return f"{name}{suffix}"


if __name__ == "__main__":
    main()
