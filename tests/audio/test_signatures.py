"""Recordings with a header are told from raw samples, and raw samples never taken for a recording."""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from serctl.audio.pcm import PCM_FORMATS, PcmDecoder
from serctl.audio.segments import read_audio
from serctl.audio.signatures import SIGNED_BYTES, kind_of
from serctl.errors import AudioError

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000

WRITTEN = {
    "WAV": ["WAV", "WAVEX", "RF64", "W64"],
    "AIFF": ["AIFF"],
    "AU": ["AU"],
    "CAF": ["CAF"],
    "FLAC": ["FLAC"],
    "OGG": ["OGG"],
    "MP3": ["MP3"],
    "VOC": ["VOC"],
    "NIST": ["NIST"],
}
BEGINNINGS = {
    "MP4": [b"\0\0\0\x20ftypM4A \0\0\0\0", b"\0\0\0\x18ftyp3gp4", b"\0\0\0\x14ftypqt  "],
    "WebM": [b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"],
    "AMR": [b"#!AMR\n", b"#!AMR-WB\n"],
    "WMA": [b"0&\xb2u\x8ef\xcf\x11\xa6\xd9"],
    "MP3": [b"ID3\4\0\0\0\0\0\x23"],
    # Two frames of 32 bytes with a header of 7.
    "AAC": [2 * (b"\xff\xf1\x50\x80\x04\x1f\xfc" + bytes(25)), 2 * (b"\xff\xf9\x50\x80\x04\x1f\xfc" + bytes(25))],
}


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, 2 * RATE)


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind, forms in WRITTEN.items() for form in forms])
def test_what_libsndfile_writes_is_recognised(noise: np.ndarray, kind: str, form: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise, RATE, format=form)
    assert kind_of(file.getvalue()[:SIGNED_BYTES]) == kind


def test_big_endian_wav_is_recognised(noise: np.ndarray) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise, RATE, format="WAV", subtype="PCM_16", endian="BIG")
    assert file.getvalue().startswith(b"RIFX")
    assert kind_of(file.getvalue()) == "WAV"


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_mp3_without_a_tag_is_recognised_by_two_frames(noise: np.ndarray, rate: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format="MP3")
    data = file.getvalue()
    second = data.index(data[:2], 4)  # behind the frame that holds the Xing header
    assert kind_of(data[second : second + SIGNED_BYTES]) == "MP3"


@pytest.mark.parametrize(("kind", "data"), [(kind, data) for kind, all_ in BEGINNINGS.items() for data in all_])
def test_other_containers_are_recognised(kind: str, data: bytes) -> None:
    assert kind_of(data) == kind


@pytest.mark.parametrize("sample_format", PCM_FORMATS)
def test_raw_samples_are_never_taken_for_a_recording(samples: Path, sample_format: str) -> None:
    numbers, full_scale = PCM_FORMATS[sample_format]
    rng = np.random.default_rng(2)
    speech = np.concatenate([read_audio(path, sample_rate=RATE) for path in sorted(samples.glob("*.flac"))])
    sounds = [np.tile(speech, 4), *(rng.normal(0, level, 200_000) for level in (2e-5, 1e-3, 0.1))]
    for sound in sounds:
        data = (np.clip(sound, -0.99, 0.99) * full_scale).astype(numbers).tobytes()
        for first in range(0, len(data) - SIGNED_BYTES, 2 * numbers.itemsize * 97):
            assert kind_of(data[first : first + SIGNED_BYTES]) is None


@pytest.mark.parametrize("piece", [1, 7, 1000, 100_000])
def test_a_header_is_refused_however_it_is_cut(noise: np.ndarray, piece: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise, RATE, format="MP3")
    data = file.getvalue()
    decoder = PcmDecoder(sample_format="s16le", rate=RATE, to_rate=RATE)
    pieces = (data[first : first + piece] for first in range(0, len(data), piece))
    with pytest.raises(AudioError, match="expected raw samples, received MP3"):
        deque(map(decoder.decode, pieces), maxlen=0)
