"""Make the synthetic sample recordings: `python sample_audio/make_samples.py` (needs espeak-ng on the PATH).

Four voices in three languages, each saying a sentence written for it with another emotion, acted by nothing but pitch,
its range, rate and loudness. They show the formats that are read, and say nothing about how a model does on people.

Licence of these recordings, their sentences and the manifest: CC0 1.0 (public domain dedication).
"""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

FOLDER = Path(__file__).parent
SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Sample:
    """A recording: an espeak-ng voice, how it is acted, and the sentence.

    Attributes:
        file: its name; the suffix is the format.
        voice: of espeak-ng.
        pitch: of espeak-ng, 0 to 99.
        pitch_range: of SSML.
        rate: words per minute.
        peak: largest sample, full scale 1.0.
        channels: 1 or 2, with equal samples.
        text: what is said.
    """

    file: str
    voice: str
    pitch: int
    pitch_range: str
    rate: int
    peak: float
    channels: int
    text: str


KETTLE = "The kettle is on, and your brother is here."
MEETING = "They moved the meeting to nine o'clock on Monday."
TRAIN = "Der Zug nach Hamburg fährt von Gleis sieben."
PARCEL = "Twoja paczka leży na stole."
VOICES = (
    Sample("emma-angry.wav", "en-gb+f2", 78, "high", 206, 0.9, 2, KETTLE),
    Sample("tom-sad.flac", "en-us+m3", 18, "x-low", 139, 0.2, 1, MEETING),
    Sample("jana-happy.ogg", "de+f4", 74, "x-high", 185, 0.6, 1, TRAIN),
    Sample("marek-neutral.mp3", "pl+m2", 42, "medium", 160, 0.4, 1, PARCEL),
)


def main() -> None:
    """Write every recording beside this script."""
    for sample in VOICES:
        speech = np.stack([synthesise(sample)] * sample.channels, axis=1)
        soundfile.write(FOLDER / sample.file, speech, SAMPLE_RATE)


def synthesise(sample: Sample) -> np.ndarray:
    """Mono float samples at SAMPLE_RATE."""
    command = ["espeak-ng", "-m", "-v", sample.voice, "-p", str(sample.pitch), "-s", str(sample.rate), "--stdout"]
    text = f'<speak><prosody range="{sample.pitch_range}">{sample.text}</prosody></speak>'
    wav = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    samples, sample_rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return soxr.resample(samples * (sample.peak / np.abs(samples).max()), sample_rate, SAMPLE_RATE)


if __name__ == "__main__":
    main()
