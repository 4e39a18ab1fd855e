"""Finding recordings, reading them in segments, the facts measured on the way, and what is said about bad files."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr

import serctl.audio.decode
import serctl.audio.file
from serctl.audio.decode import AudioInfo
from serctl.audio.file import LENGTH_UNKNOWN, content_digest
from serctl.audio.find import find_recordings
from serctl.audio.segments import SegmentReader, read_audio, read_header
from serctl.errors import AudioError, ConfigError

RATE = 16000
SAMPLES = Path(__file__).parents[2] / "sample_audio"


@pytest.fixture
def sine():
    """Two seconds of 440 Hz at 16 kHz, peak 0.3."""
    return tone(440, 2.0, RATE)


@pytest.fixture
def speechlike():
    """Four seconds of bursts over a noise floor 30 dB below them, full band at 16 kHz."""
    rng = np.random.default_rng(3)
    bursts = np.repeat(np.tile([1.0, 0.0], 10), 3200)
    return (0.1 * bursts * rng.standard_normal(4 * RATE) + 0.1 * 10**-1.5 * rng.standard_normal(4 * RATE)).astype("f")


def tone(frequency_hz, duration_s, rate):
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate)) / rate)).astype(np.float32)


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def read_segments(path, *, window_s=2.0, sample_rate=RATE, **part):
    reader = SegmentReader(path, sample_rate=sample_rate, window_s=window_s, **part)
    return list(reader), reader


def quality(path):
    return read_segments(path)[1].quality


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(*paths):
    return [recording.path for recording in find_recordings(paths)]


class TestFinding:
    def test_folders_are_searched_in_natural_order(self, tmp_path):
        names = ["b/take2.wav", "b/take10.FLAC", "a.mp3", "c.ogg", "d/e/f.oga", "d/g.opus", "take1.wav", "Take3.wav"]
        touch(*(tmp_path / name for name in [*names, "notes.txt", "d/labels.csv", "wav"]))
        expected = ["a.mp3", "b/take2.wav", "b/take10.FLAC", "c.ogg", "d/e/f.oga", "d/g.opus", "take1.wav", "Take3.wav"]
        assert found(tmp_path) == [tmp_path / name for name in expected]

    def test_hidden_files_and_folders_are_skipped_unless_given(self, tmp_path):
        touch(tmp_path / "a.wav", tmp_path / "._a.wav", tmp_path / ".cache" / "b.wav")
        assert found(tmp_path) == [tmp_path / "a.wav"]
        assert found(tmp_path / ".cache") == [tmp_path / ".cache" / "b.wav"]

    def test_given_files_come_as_given_in_order_whatever_their_suffix(self, tmp_path, monkeypatch):
        touch(tmp_path / "z.wav", tmp_path / "notes.txt")
        monkeypatch.chdir(tmp_path)
        assert found(Path("z.wav"), Path("notes.txt")) == [Path("z.wav"), Path("notes.txt")]

    def test_a_folder_called_wav_is_a_folder(self, tmp_path):
        touch(tmp_path / "x.wav" / "y.wav")
        assert found(tmp_path) == [tmp_path / "x.wav" / "y.wav"]

    def test_the_same_name_in_two_folders_is_two_recordings(self, tmp_path):
        touch(tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav")
        assert found(tmp_path) == [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]

    def test_a_path_given_twice_is_listed_once(self, tmp_path, monkeypatch):
        touch(tmp_path / "a" / "x.wav", tmp_path / "a" / "y.wav")
        monkeypatch.chdir(tmp_path)
        paths = [Path("a/y.wav"), Path("a"), tmp_path / "a", tmp_path, Path("a/../a/x.wav")]
        assert found(*paths) == [Path("a/y.wav"), Path("a/x.wav")]

    def test_links_are_followed_but_not_into_a_loop(self, tmp_path):
        touch(tmp_path / "corpus" / "b" / "x.wav", tmp_path / "elsewhere" / "y.wav")
        (tmp_path / "corpus" / "b" / "up").symlink_to(tmp_path / "corpus")
        (tmp_path / "corpus" / "linked").symlink_to(tmp_path / "elsewhere")
        assert found(tmp_path / "corpus") == [
            tmp_path / "corpus" / "b" / "x.wav",
            tmp_path / "corpus" / "linked" / "y.wav",
        ]

    def test_a_folder_reached_directly_and_by_link_keeps_its_own_name(self, tmp_path):
        touch(tmp_path / "real" / "x.wav")
        (tmp_path / "a_link").symlink_to(tmp_path / "real")
        assert found(tmp_path) == [tmp_path / "real" / "x.wav"]

    def test_dangling_and_circular_links_are_listed(self, tmp_path):
        (tmp_path / "gone.wav").symlink_to("nowhere")
        (tmp_path / "self.wav").symlink_to("self.wav")
        assert found(tmp_path) == [tmp_path / "gone.wav", tmp_path / "self.wav"]
        assert found(tmp_path / "gone.wav") == [tmp_path / "gone.wav"]

    def test_a_folder_that_cannot_be_listed_becomes_an_error_of_its_own(self, tmp_path, monkeypatch):
        touch(tmp_path / "open" / "x.wav", tmp_path / "closed" / "y.wav")
        scandir = os.scandir

        def refuse(folder):
            if str(folder).endswith("closed"):
                raise PermissionError(13, "Permission denied", folder)
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse)
        assert found(tmp_path) == [tmp_path / "closed", tmp_path / "open" / "x.wav"]
        with pytest.raises(AudioError, match="closed' cannot be read"):
            read_audio(tmp_path / "closed", sample_rate=RATE)

    def test_unicode_and_newline_names_are_found_and_read(self, tmp_path, sine):
        path = write(tmp_path / "schön\nñ 語.wav", sine)
        assert found(tmp_path) == [path]
        assert len(read_audio(path, sample_rate=RATE)) == len(sine)

    def test_a_path_that_does_not_exist_is_named(self, tmp_path):
        with pytest.raises(AudioError, match=r"nowhere' does not exist: expected a recording or a folder"):
            find_recordings([tmp_path / "nowhere"])

    def test_nothing_found_says_what_was_looked_for_and_where(self, tmp_path):
        touch(tmp_path / "notes.txt")
        with pytest.raises(AudioError, match=r"no recording in '.*': looked for .*\.flac .*\.m4a .*\.mp3 .*\.wav"):
            find_recordings([tmp_path])


class TestReading:
    @pytest.mark.parametrize(
        ("suffix", "subtype"),
        [("wav", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")]
        + [("flac", s) for s in ("PCM_16", "PCM_24")]
        + [("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III")],
    )
    def test_every_format_gives_the_samples_that_were_written(self, tmp_path, sine, suffix, subtype):
        path = write(tmp_path / f"a.{suffix}", sine, subtype=subtype)
        samples = read_audio(path, sample_rate=RATE)
        assert samples.dtype == np.float32
        assert len(samples) == pytest.approx(len(sine), rel=0.001)
        assert np.abs(samples[1000:30000] - sine[1000:30000]).max() < 0.03
        assert read_segments(path)[1].info.subtype == subtype

    def test_channels_are_averaged(self, tmp_path, sine):
        channels = np.stack([sine * k for k in range(1, 9)], axis=1) / 8
        path = write(tmp_path / "a.wav", channels, subtype="FLOAT")
        np.testing.assert_allclose(read_audio(path, sample_rate=RATE), channels.mean(axis=1), rtol=0, atol=1e-6)
        assert read_segments(path)[1].info.channels == 8

    @pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 192000])
    def test_other_rates_are_resampled(self, tmp_path, sine, rate):
        path = write(tmp_path / "a.wav", tone(440, 2.0, rate), rate, subtype="FLOAT")
        samples = read_audio(path, sample_rate=RATE)
        assert len(samples) == pytest.approx(len(sine), abs=1)
        np.testing.assert_allclose(samples[200:31000], sine[200:31000], rtol=0, atol=1e-3)
        assert read_segments(path)[1].info == AudioInfo(2.0, rate, 1, "FLOAT")

    def test_block_by_block_resampling_equals_resampling_at_once(self, tmp_path):
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 25 * 44100).astype(np.float32)
        path = write(tmp_path / "a.wav", noise, 44100, subtype="FLOAT")
        whole = soxr.resample(noise, 44100, RATE)
        np.testing.assert_allclose(read_audio(path, sample_rate=RATE), whole[: 25 * RATE], rtol=0, atol=1e-6)

    def test_windows_do_not_depend_on_the_blocks(self, tmp_path, monkeypatch):
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 33 * 8000).astype(np.float32)
        path = write(tmp_path / "a.wav", noise, 8000, subtype="FLOAT")
        reference, _ = read_segments(path, window_s=3.0)
        monkeypatch.setattr(serctl.audio.decode, "_BLOCK_VALUES", 1600)
        segments, reader = read_segments(path, window_s=3.0)
        assert len(segments) == len(reference) == 11
        for segment, expected in zip(segments, reference, strict=True):
            np.testing.assert_allclose(segment.samples, expected.samples, rtol=0, atol=1e-6)
        assert reader.quality.bandwidth_hz == 4000

    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
    def test_blocks_join_without_a_seam(self, tmp_path, monkeypatch, suffix):
        options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
        path = write(tmp_path / f"a.{suffix}", tone(440, 3.0, RATE) * np.linspace(0, 1, 3 * RATE), **options)
        at_once = soundfile.read(path, dtype="float32")[0]
        monkeypatch.setattr(serctl.audio.decode, "_BLOCK_VALUES", 3200)
        np.testing.assert_allclose(read_audio(path, sample_rate=RATE), at_once, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
    def test_a_part_is_what_lies_between_its_times(self, tmp_path, suffix):
        path = write(tmp_path / f"a.{suffix}", tone(440, 6.0, RATE) * np.linspace(0, 1, 6 * RATE))
        whole = read_audio(path, sample_rate=RATE)
        part = read_audio(path, sample_rate=RATE, start_s=4.25, end_s=5.0)
        np.testing.assert_allclose(part, whole[68000:80000], rtol=0, atol=1e-4)
        segments, reader = read_segments(path, start_s=4.25, end_s=5.0)
        assert (segments[0].start_s, segments[-1].end_s, reader.info.duration_s) == (4.25, 5.0, 0.75)

    def test_a_part_may_end_beyond_the_recording_but_not_start_there(self, tmp_path, sine):
        path = write(tmp_path / "a.wav", sine)
        assert len(read_audio(path, sample_rate=RATE, start_s=1.0, end_s=99)) == RATE
        with pytest.raises(AudioError, match=r"lasts 2\.000 s: there is nothing to read from 5\.000 s on"):
            read_audio(path, sample_rate=RATE, start_s=5.0)

    @pytest.mark.parametrize("rate", [8000, 16000, 192000])
    @pytest.mark.parametrize("length", [1, 2, 80])
    def test_tiny_recordings_give_at_least_a_sample(self, tmp_path, rate, length):
        segments, reader = read_segments(write(tmp_path / "a.wav", np.full(length, 0.25), rate))
        assert len(segments) == 1
        assert len(segments[0].samples) == max(round(length * RATE / rate), 1)
        assert reader.info.duration_s == length / rate

    def test_the_header_alone_gives_the_same_facts(self, tmp_path, sine):
        path = write(tmp_path / "a.flac", np.stack([sine, sine], axis=1), subtype="PCM_24")
        assert read_header(path) == AudioInfo(2.0, RATE, 2, "PCM_24")

    def test_memory_does_not_grow_with_the_recording(self, tmp_path):
        path = tmp_path / "long.wav"
        with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
            for _ in range(20):
                file.write(tone(100, 30, 8000))
        tracemalloc.start()
        try:
            for segment in SegmentReader(path, sample_rate=RATE, window_s=10.0):
                assert len(segment.samples) <= 15 * RATE
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The whole recording takes 38 MB at 16 kHz.
        assert peak < 8e6

    @pytest.mark.parametrize(
        "request_",
        [
            {"window_s": 0},
            {"window_s": float("nan")},
            {"sample_rate": 0},
            {"start_s": -1},
            {"start_s": 2, "end_s": 2},
            {"start_s": float("nan")},
        ],
    )
    def test_impossible_requests_are_config_errors(self, request_):
        with pytest.raises(ConfigError, match="expected"):
            SegmentReader(Path("a.wav"), **{"sample_rate": RATE, "window_s": 1.0, **request_})

    def test_the_samples_beside_us_are_as_their_manifest_says(self):
        with (SAMPLES / "manifest.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert sorted(found(SAMPLES)) == sorted(SAMPLES / row["path"] for row in rows)
        for row in rows:
            assert 1.5 <= len(read_audio(SAMPLES / row["path"], sample_rate=RATE)) / RATE <= 3.5


def wav_bytes(samples, *, riff_size=None, data_size=None):
    data = (samples * 32767).astype("<i2").tobytes()
    sizes = (len(data) + 36 if riff_size is None else riff_size, len(data) if data_size is None else data_size)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", sizes[0], b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return head + struct.pack("<4sI", b"data", sizes[1]) + data


class TestBadFiles:
    def check(self, path, match):
        with pytest.raises(AudioError, match=match) as caught:
            read_segments(path)
        assert repr(str(path)) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path):
        self.check(tmp_path / "a.wav", "does not exist")

    def test_dangling_link(self, tmp_path):
        (tmp_path / "a.wav").symlink_to("nowhere")
        self.check(tmp_path / "a.wav", "is a dangling link: it points to 'nowhere', which does not exist")

    def test_link_to_itself(self, tmp_path):
        (tmp_path / "a.wav").symlink_to("a.wav")
        self.check(tmp_path / "a.wav", "is a link that leads back to itself")

    def test_permission(self, tmp_path, sine, monkeypatch):
        path = write(tmp_path / "a.wav", sine)

        def refuse(path, mode):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(serctl.audio.file.io, "FileIO", refuse)
        self.check(path, "cannot be read: permission denied")
        with pytest.raises(AudioError, match="permission denied"):
            content_digest(path)

    def test_named_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "a.wav")
        self.check(tmp_path / "a.wav", "is not a regular file")

    @pytest.mark.parametrize("name", ["a.wav", "a\nb.flac"])
    def test_empty(self, tmp_path, name):
        (tmp_path / name).touch()
        self.check(tmp_path / name, r"is empty \(0 bytes\)")

    @pytest.mark.parametrize("content", [b"hello, this is text\n" * 99, b"RIFF", b"\xff\xfb\x90\x00" + b"hello" * 999])
    @pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.raw"])
    def test_no_audio(self, tmp_path, content, name, capfd):
        (tmp_path / name).write_bytes(content)
        self.check(tmp_path / name, "is not audio that can be read: expected WAV, FLAC, OGG .*, MP3, AIFF, CAF or AU")
        assert capfd.readouterr() == ("", "")

    def test_other_audio(self, tmp_path, sine):
        self.check(write(tmp_path / "a.voc", sine), "is not audio that can be read: expected WAV, FLAC")

    def test_header_only(self, tmp_path):
        (tmp_path / "a.wav").write_bytes(wav_bytes(np.zeros(0)))
        self.check(tmp_path / "a.wav", "holds no samples")

    def test_header_only_that_promises_samples(self, tmp_path):
        (tmp_path / "a.wav").write_bytes(wav_bytes(np.zeros(100))[:44])
        self.check(tmp_path / "a.wav", "is truncated: it holds 0 of the 200 bytes")

    def test_truncated_wav(self, tmp_path, sine):
        (tmp_path / "a.wav").write_bytes(wav_bytes(sine)[:20044])
        self.check(
            tmp_path / "a.wav", "is truncated: it holds 20000 of the 64000 bytes of samples that its header promises"
        )

    def test_truncated_flac(self, tmp_path, sine):
        path = write(tmp_path / "a.flac", sine)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self.check(path, r"is damaged or truncated: decoding stopped in the block after 0 of 32000 samples")

    def test_flac_that_ends_before_its_header_says(self, tmp_path, sine):
        path = write(tmp_path / "a.flac", sine)
        content = bytearray(path.read_bytes())
        content[22:26] = (40000).to_bytes(4, "big")
        path.write_bytes(content)
        self.check(path, "is truncated: it holds 32000 of the 40000 samples that its header promises")

    def test_flac_written_to_a_pipe_is_read_to_its_end(self, tmp_path, sine):
        path = write(tmp_path / "a.flac", sine)
        content = bytearray(path.read_bytes())
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        path.write_bytes(content)
        np.testing.assert_allclose(read_audio(path, sample_rate=RATE), sine, rtol=0, atol=1e-4)
        np.testing.assert_allclose(read_audio(path, sample_rate=RATE, start_s=1.5), sine[24000:], rtol=0, atol=1e-4)
        assert read_header(path).duration_s == 2.0
        assert read_header(path).note == LENGTH_UNKNOWN

    @pytest.mark.parametrize("sizes", [(0, 0), (8, 0), (2**32 - 1, 2**32 - 1), (2**32 - 1, 0), (2**31 + 36, 2**31)])
    def test_wav_written_to_a_pipe_is_read_to_its_end(self, tmp_path, sine, sizes):
        (tmp_path / "a.wav").write_bytes(wav_bytes(sine, riff_size=sizes[0], data_size=sizes[1]))
        np.testing.assert_allclose(read_audio(tmp_path / "a.wav", sample_rate=RATE), sine, rtol=0, atol=1e-4)

    @pytest.mark.parametrize(
        ("value", "match"),
        [(np.nan, "not numbers"), (np.inf, "infinite"), (-np.inf, "infinite"), (1e12, "1e.12 times")],
    )
    def test_values_that_are_no_samples(self, tmp_path, sine, value, match):
        sine[20000] = value
        self.check(write(tmp_path / "a.wav", sine, subtype="FLOAT"), match)

    def test_read_error_half_way(self, tmp_path, monkeypatch, capfd, sine):
        path = write(tmp_path / "a.wav", np.tile(sine, 10))
        opened = []
        real = io.FileIO

        def remember(path, mode):
            opened.append(real(path, mode))
            return opened[-1]

        monkeypatch.setattr(serctl.audio.file.io, "FileIO", remember)
        segments = iter(SegmentReader(path, sample_rate=RATE, window_s=2.0))
        next(segments)
        folder = os.open(tmp_path, os.O_RDONLY)
        os.dup2(folder, opened[0].fileno())
        os.close(folder)
        with pytest.raises(AudioError, match=r"a\.wav' cannot be read: Is a directory"):
            list(segments)
        assert capfd.readouterr() == ("", "")


class TestQuality:
    def test_silence(self, tmp_path):
        facts = quality(write(tmp_path / "a.wav", np.zeros(RATE)))
        assert (facts.clipping, facts.silence) == (0.0, 1.0)
        assert np.isnan([facts.snr_db, facts.bandwidth_hz]).all()

    def test_a_constant_is_silence(self, tmp_path):
        assert quality(write(tmp_path / "a.wav", np.full(RATE, 0.5), subtype="DOUBLE")).silence == 1.0

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
    def test_clipping_is_the_share_of_samples_at_full_scale(self, tmp_path, subtype):
        samples = tone(440, 1.0, RATE)
        samples[1000:3000:2] = 1.0
        samples[3000:4000] = -1.0
        assert quality(write(tmp_path / "a.wav", samples, subtype=subtype)).clipping == pytest.approx(2000 / RATE)

    def test_clipping_in_one_channel_is_not_averaged_away(self, tmp_path, sine):
        channels = np.stack([np.ones_like(sine), sine], axis=1)
        assert quality(write(tmp_path / "a.wav", channels)).clipping == 0.5

    def test_silence_is_the_share_of_quiet_frames(self, tmp_path, sine):
        sine[: RATE // 2] = 0
        sine[RATE // 2 : RATE] *= 0.005
        assert quality(write(tmp_path / "a.wav", sine)).silence == pytest.approx(0.5, abs=0.01)

    def test_snr_is_loud_frames_over_the_noise_floor(self, tmp_path, speechlike):
        assert quality(write(tmp_path / "a.wav", speechlike)).snr_db == pytest.approx(30, abs=1.5)

    def test_digital_zeros_are_no_noise_floor(self, tmp_path, speechlike):
        padded = np.pad(speechlike, 3 * RATE)
        assert quality(write(tmp_path / "a.wav", padded)).snr_db == pytest.approx(30, abs=1.5)

    def test_bandwidth_of_full_band_speech(self, tmp_path, speechlike):
        assert quality(write(tmp_path / "a.wav", speechlike)).bandwidth_hz == pytest.approx(8000, abs=100)

    @pytest.mark.parametrize("level", [1.0, 0.003])
    def test_bandwidth_of_a_telephone_call_at_16_khz(self, tmp_path, speechlike, level):
        call = soxr.resample(soxr.resample(speechlike, RATE, 8000), 8000, RATE)
        assert quality(write(tmp_path / "a.wav", level * call)).bandwidth_hz == pytest.approx(4000, rel=0.1)

    def test_bandwidth_is_measured_before_resampling(self, tmp_path):
        noise = 0.1 * np.random.default_rng(0).standard_normal(48000)
        low_pass = scipy.signal.firwin(511, 10000, fs=48000, window=("kaiser", 8.0))
        path = write(tmp_path / "a.wav", scipy.signal.lfilter(low_pass, 1, noise), 48000, subtype="FLOAT")
        assert quality(path).bandwidth_hz == pytest.approx(10000, rel=0.03)


class TestDigest:
    def test_digest_is_that_of_the_bytes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(serctl.audio.file, "_DIGEST_BLOCK", 1000)
        content = np.random.default_rng(0).bytes(12345)
        for name in ("a.wav", "b.wav"):
            (tmp_path / name).write_bytes(content)
            assert content_digest(tmp_path / name) == hashlib.blake2b(content, digest_size=16).hexdigest()

    def test_no_file(self, tmp_path):
        with pytest.raises(AudioError, match=r"a\.wav' does not exist"):
            content_digest(tmp_path / "a.wav")
