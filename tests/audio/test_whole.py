"""All of a recording is read, or none of it; a note where nothing tells whether the end is missing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from serctl.audio.segments import SegmentReader, read_audio, read_header
from serctl.errors import AudioError

RATE = 16_000
UNKNOWN = ("no length in its header: a missing end would not show",)


def sweep(seconds, rate=RATE, level=0.3):
    """A tone that rises, falls silent and comes back, so that an MP3 of variable bit rate varies."""
    time = np.arange(round(seconds * rate)) / rate
    gate = np.sin(2 * np.pi * time / 8) > 0
    return (level * gate * np.sin(2 * np.pi * (200 + 20 * time) * time)).astype(np.float32)


def encoded(samples, rate=RATE, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **options)
    return file.getvalue()


def mp3(samples, rate=RATE, mode="VARIABLE"):
    return encoded(samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)


def read(path):
    reader = SegmentReader(path, sample_rate=RATE, window_s=5.0)
    return np.concatenate([segment.samples for segment in reader]), reader.info


@pytest.fixture
def saved(tmp_path):
    """Writes bytes under a name and returns the path."""

    def save(content, name="a.bin"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return save


def assert_holds(path, expected, *, notes=(), delay=1_200, tolerance=0.1):
    """The samples are as expected, up to what an MP3 encoder puts before and behind."""
    samples, info = read(path)
    assert 0 <= len(samples) - len(expected) <= 2 * delay
    shift = int(np.argmax([np.vdot(samples[lag : lag + RATE], expected[:RATE]) for lag in range(delay)]))
    assert np.abs(samples[shift : shift + len(expected)] - expected).max() < tolerance
    assert info.notes == notes
    assert info.duration_s == pytest.approx(read_header(path).duration_s, abs=1e-9)


def first_frame_length(content):
    """Of the MPEG-2 Layer III frames at 16 kHz that soundfile writes."""
    kbps = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[content[2] >> 4]
    return 72_000 * kbps // RATE + (content[2] >> 1 & 1)


class TestMp3:
    def test_variable_bit_rate_without_a_xing_header(self, saved):
        content = mp3(sweep(20))
        assert_holds(saved(content[first_frame_length(content) :]), sweep(20), notes=UNKNOWN)

    def test_a_xing_header_without_its_count(self, saved):
        content = mp3(sweep(20))
        count = content.index(b"Xing") + 8
        assert_holds(saved(content[:count] + bytes(4) + content[count + 4 :]), sweep(20), notes=UNKNOWN)

    @pytest.mark.parametrize("between", [b"", b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257), b"TAG" + bytes(125)])
    def test_two_recordings_one_after_the_other(self, saved, between):
        samples, _ = read(saved(mp3(sweep(5)) + between + mp3(sweep(3))))
        assert np.abs(samples - np.concatenate([sweep(5), sweep(3)])).max() < 0.05

    def test_garbage_between_frames_is_noted(self, saved):
        _, info = read(saved(mp3(sweep(5)) + b"\xff" * 5_000 + mp3(sweep(3))))
        assert info.duration_s == 8
        assert info.notes == ("5000 bytes that are no MP3 frames were skipped",)

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.98])
    @pytest.mark.parametrize("xing", [True, False])
    def test_the_beginning_alone_is_an_error(self, saved, share, xing):
        content = mp3(sweep(10), mode="VARIABLE" if xing else "CONSTANT")
        content = content if xing else content[first_frame_length(content) :]
        with pytest.raises(AudioError, match="is truncated: "):
            read(saved(content[: round(share * len(content)) - 10]))

    def test_frames_that_change_their_rate_are_an_error(self, saved):
        with pytest.raises(AudioError, match="changes in its middle from 16000 Hz x 1 to 44100 Hz x 1 channels"):
            read(saved(mp3(sweep(2)) + mp3(sweep(2, 44_100), 44_100)))

    def test_a_part_is_read_from_the_right_recording(self, saved):
        path = saved(mp3(sweep(5)) + mp3(sweep(3)))
        part = read_audio(path, sample_rate=RATE, start_s=6.5, end_s=7.5)
        assert np.abs(part - sweep(3)[24_000:40_000]).max() < 0.05


class TestOgg:
    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    def test_chained_recordings(self, saved, subtype):
        links = [encoded(sweep(seconds), format="OGG", subtype=subtype) for seconds in (5, 3)]
        samples, info = read(saved(b"".join(links)))
        assert len(samples) == 8 * RATE
        assert np.abs(samples[:5_000] - samples[5 * RATE : 5 * RATE + 5_000]).max() < 0.05
        assert info.notes == ()

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    def test_the_beginning_alone_is_an_error(self, saved, subtype):
        content = encoded(sweep(5), format="OGG", subtype=subtype)
        with pytest.raises(AudioError, match="is truncated: its last Ogg page is cut off"):
            read(saved(content[: len(content) // 2]))

    def test_whole_pages_without_an_end_are_noted(self, saved):
        content = encoded(sweep(10), format="OGG", subtype="VORBIS")
        _, info = read(saved(content[: content.rindex(b"OggS")]))
        assert info.notes == ("no end-of-stream mark: its end may be missing",)

    def test_missing_pages_are_an_error(self, saved):
        content = encoded(sweep(20), format="OGG", subtype="VORBIS")
        pages = content.split(b"OggS")
        with pytest.raises(AudioError, match="Ogg pages are missing from its middle"):
            read(saved(b"OggS".join([*pages[:-2], pages[-1]])))

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    def test_what_is_no_page_is_noted(self, saved, subtype):
        content = encoded(sweep(20), format="OGG", subtype=subtype)
        expected, _ = read(saved(content))
        samples, info = read(saved(content + b"garbage"))
        assert np.array_equal(samples, expected)
        assert info.notes == ("7 bytes at its end are no audio",)
        last = content.rindex(b"OggS")
        samples, info = read(saved(content[:last] + b"garbage" + content[last:]))
        assert np.array_equal(samples, expected)
        assert info.notes == ("7 bytes between its Ogg pages are no audio",)


class TestOneAfterTheOther:
    @pytest.mark.parametrize(
        "names", [("WAV", "WAV"), ("FLAC", "FLAC"), ("WAV", "FLAC"), ("AIFF", "AU"), ("W64", "WAV")]
    )
    def test_every_recording_is_read(self, saved, names):
        contents = [
            encoded(sweep(seconds), format=name, subtype="PCM_16") for name, seconds in zip(names, (3, 2), strict=True)
        ]
        samples, _ = read(saved(b"".join(contents)))
        assert np.abs(samples - np.concatenate([sweep(3), sweep(2)])).max() < 1e-4

    @pytest.mark.parametrize("name", ["WAV", "FLAC", "MP3"])
    def test_a_tag_before_a_recording_costs_nothing(self, saved, name):
        tag = b"ID3\x04\x00\x00" + bytes((0, 0, 8, 0)) + bytes(1_024)
        samples, _ = read(saved(tag + encoded(sweep(3), format=name)))
        assert len(samples) == 3 * RATE
        assert np.abs(samples - sweep(3)).max() < 0.05


class TestHeaders:
    @pytest.mark.parametrize("name", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"])
    def test_half_a_recording_is_an_error(self, saved, name):
        content = encoded(sweep(3), format=name, subtype="PCM_16")
        read(saved(content))
        with pytest.raises(AudioError, match=r"is truncated: it holds .* bytes of samples that its header promises"):
            read(saved(content[: len(content) // 2]))

    @pytest.mark.parametrize("excess", [2, 36, 44])
    def test_a_size_that_counts_the_header_too_is_read(self, saved, excess):
        content = bytearray(encoded(sweep(3), format="WAV"))
        content[40:44] = struct.pack("<I", len(content) - 44 + excess)
        samples, info = read(saved(content))
        assert len(samples) == 3 * RATE
        assert info.notes == ()

    def test_a_few_missing_bytes_are_noted(self, saved):
        _, info = read(saved(encoded(sweep(3), format="WAV")[:-44]))
        assert info.notes == ("the header promises 44 bytes more than there are: its end may be missing",)

    @pytest.mark.parametrize(
        ("rate", "channels"), [(1, 1), (10, 1), (999, 1), (768_001, 1), (2**31 - 1, 1), (RATE, 1_000)]
    )
    def test_impossible_rates_and_channels_are_errors(self, saved, rate, channels):
        content = bytearray(encoded(sweep(3), format="WAV"))
        content[22:24] = struct.pack("<H", channels)
        content[24:32] = struct.pack("<II", rate, min(2 * rate * channels, 2**32 - 1))
        content[32:34] = struct.pack("<H", 2 * channels)
        with pytest.raises(AudioError, match=r"claims (a sample rate of|1000 channels).*: expected 1"):
            read(saved(content))

    @pytest.mark.parametrize("chunk", [b"\0" * 8, b"LIST" + b"\0" * 4, b"junk\xff\xff\xff\xff"])
    def test_a_header_that_leads_to_no_samples_costs_no_time(self, saved, chunk, monkeypatch):
        path = saved(b"RIFF\xff\xff\xff\xffWAVE" + chunk * 500_000)
        # Two reads of the header are enough; libsndfile would step through the file.
        monkeypatch.setattr(soundfile.SoundFile, "__init__", lambda *_: pytest.fail("libsndfile was asked"))
        with pytest.raises(AudioError, match="its header leads to no samples"):
            read(path)

    @pytest.mark.parametrize(("name", "chunk"), [("W64", 40), ("CAF", 8)])
    def test_a_chunk_larger_than_any_file_is_an_error(self, saved, name, chunk):
        content = bytearray(encoded(sweep(1), format=name, subtype="PCM_16"))
        size = chunk + (16 if name == "W64" else 4)
        content[size : size + 8] = b"\xff" * 8
        with pytest.raises(AudioError, match="its header leads to no samples"):
            read(saved(content))

    def test_more_audio_than_its_bytes_can_hold_is_an_error(self, saved):
        content = encoded(np.zeros(4_000_000, np.float32), 1_000, format="FLAC")
        with pytest.raises(AudioError, match=r"claims more than .* s of audio in"):
            read(saved(content))

    def test_half_a_flac_without_a_length_names_no_length(self, saved):
        content = bytearray(encoded(sweep(3), format="FLAC"))
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        with pytest.raises(AudioError, match=r"decoding stopped in the block after \d+ samples$"):
            read(saved(bytes(content[: len(content) // 2])))

    def test_a_flac_without_a_length_is_read_and_noted(self, saved):
        content = bytearray(encoded(sweep(3), format="FLAC"))
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        samples, info = read(saved(content))
        assert len(samples) == 3 * RATE
        assert info.notes == UNKNOWN
        assert read_header(saved(content)).duration_s == 3
        with pytest.raises(AudioError, match=r"lasts 3\.000 s: there is nothing to read from 4\.000 s on"):
            read_audio(saved(content), sample_rate=RATE, start_s=4)
