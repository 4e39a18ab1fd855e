"""Media that libsndfile cannot read, through PyAV: whole, in blocks, or an error that says what to install."""

from __future__ import annotations

import io
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from serctl.audio import media
from serctl.audio.find import SUFFIXES, find_recordings
from serctl.audio.segments import SegmentReader, read_audio, read_header
from serctl.errors import AudioError

av = pytest.importorskip("av")

RATE = 16_000
FORMATS = {
    "m4a": ("ipod", "aac", 16_000),
    "mp4": ("mp4", "aac", 44_100),
    "3gp": ("3gp", "aac", 16_000),
    "aac": ("adts", "aac", 16_000),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "aac", 32_000),
    "wma": ("asf", "wmav2", 44_100),
    "avi": ("avi", "libmp3lame", 44_100),
}
"""By suffix: the container, the codec and the rate."""

WITHOUT_LENGTH = {"aac", "amr"}


def tone(seconds, rate, frequency_hz=440):
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def add_picture(container):
    picture = container.add_stream("mpeg4", rate=10)
    picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
    return picture


def encode(suffix, seconds=3.0, *, layout="mono", video=False, samples=None):
    """A recording as FFmpeg's encoders write it; the second channel is the first at half its level."""
    container_format, codec, rate = FORMATS[suffix]
    samples = tone(seconds, rate) if samples is None else samples
    planes = np.stack([samples, samples / 2][: 1 if layout == "mono" else 2])
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        picture = add_picture(container) if video else None
        sound = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "wmav2":
            sound.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(
            format=sound.format, layout=layout, rate=rate, frame_size=sound.frame_size or 1_024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
        if picture is not None:
            for _ in range(round(10 * seconds)):
                container.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
            container.mux(picture.encode(None))
    return file.getvalue()


@pytest.fixture
def saved(tmp_path):
    """Writes bytes under a name and returns the path."""

    def save(content, name):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return save


@pytest.fixture
def without_pyav(monkeypatch):
    """An installation without the extra: Python refuses to import what stands as None here."""
    monkeypatch.setitem(sys.modules, "av", None)


def read(path):
    reader = SegmentReader(path, sample_rate=RATE, window_s=60.0)
    return np.concatenate([segment.samples for segment in reader]), reader.info


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_sound_that_was_written(saved, suffix):
    samples, info = read(saved(encode(suffix), f"a.{suffix}"))
    assert info.duration_s == pytest.approx(3.0, abs=0.15)
    assert (info.sample_rate, info.channels) == (FORMATS[suffix][2], 1)
    middle = samples[RATE : 2 * RATE]
    spectrum = np.abs(np.fft.rfft(middle))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.2)
    assert ("no length in its header: a missing end would not show" in info.notes) == (suffix in WITHOUT_LENGTH)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_sound_of_a_video_is_read(saved, suffix):
    samples, info = read(saved(encode(suffix, video=True), f"a.{suffix}"))
    assert info.duration_s == pytest.approx(3.0, abs=0.15)
    assert np.abs(samples).max() > 0.25


def test_channels_are_mixed_as_those_of_other_recordings(saved):
    samples, info = read(saved(encode("m4a", layout="stereo"), "a.m4a"))
    assert info.channels == 2
    assert np.sqrt(np.mean(samples[RATE : 2 * RATE] ** 2)) == pytest.approx(0.75 * 0.3 / np.sqrt(2), rel=0.1)


def test_a_part_is_what_lies_between_its_times(saved):
    path = saved(encode("m4a"), "a.m4a")
    whole = read_audio(path, sample_rate=RATE)
    assert np.array_equal(read_audio(path, sample_rate=RATE, start_s=1.25, end_s=2.0), whole[20_000:32_000])
    with pytest.raises(AudioError, match="there is nothing to read from 9"):
        read_audio(path, sample_rate=RATE, start_s=9.0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_half_a_recording_is_an_error(saved, suffix):
    content = encode(suffix, 6.0)
    path = saved(content[: len(content) // 2 + 1], f"a.{suffix}")
    with pytest.raises(AudioError, match=r"is (truncated|damaged|cut off or damaged)"):
        read(path)


@pytest.mark.parametrize("change", [{"layout": "stereo"}, {"rate": 44_100}])
def test_a_change_of_channels_or_rate_is_an_error(saved, monkeypatch, change):
    before = encode("aac")
    monkeypatch.setitem(FORMATS, "aac", ("adts", "aac", change.get("rate", 16_000)))
    after = encode("aac", layout=change.get("layout", "mono"))
    with pytest.raises(AudioError, match=r"changes in its middle from 16000 Hz x 1 to"):
        read(saved(before + after, "a.aac"))


def test_a_video_without_sound_is_an_error(saved):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        picture = add_picture(container)
        container.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(picture.encode(None))
    with pytest.raises(AudioError, match=r"a\.mp4' has no sound track"):
        read(saved(file.getvalue(), "a.mp4"))


def test_a_playlist_opens_no_other_file(saved):
    soundfile.write(saved(b"", "secret.wav"), tone(1, RATE), RATE)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.wav\n#EXT-X-ENDLIST\n"
    concatenation = "ffconcat version 1.0\nfile secret.wav\n"
    for name, content in (("a.m3u8", playlist), ("a.mp4", playlist), ("b.mp4", concatenation)):
        with pytest.raises(AudioError, match="is not audio that can be read"):
            read(saved(content.encode(), name))


def test_memory_does_not_grow_with_the_recording(saved):
    path = saved(encode("m4a", 300.0), "a.m4a")
    tracemalloc.start()
    try:
        for segment in SegmentReader(path, sample_rate=RATE, window_s=10.0):
            assert len(segment.samples) <= 15 * RATE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The whole recording takes 19 MB.
    assert peak < 8e6


def test_folders_are_searched_for_every_suffix(tmp_path):
    names = sorted(f"a{suffix}" for suffix in SUFFIXES)
    for name in [*names, "a.txt", "a.csv", "a.jpg"]:
        (tmp_path / name).touch()
    assert sorted(recording.path.name for recording in find_recordings([tmp_path])) == names
    assert {".m4a", ".mp4", ".aac", ".amr", ".wma", ".webm", ".3gp", ".caf", ".aiff", ".au", ".wav"} <= SUFFIXES


@pytest.mark.usefixtures("without_pyav")
class TestWithoutTheExtra:
    @pytest.mark.parametrize("suffix", sorted(SUFFIXES & media.SUFFIXES))
    def test_media_say_what_to_install(self, saved, suffix):
        with pytest.raises(AudioError, match=r"is media that takes PyAV to read: pip install 'serctl\[media\]'"):
            read_header(saved(b"\0" * 100, f"a{suffix}"))

    @pytest.mark.parametrize("suffix", ["m4a", "aac", "amr", "webm", "wma"])
    def test_media_are_known_by_their_content(self, saved, suffix):
        with pytest.raises(AudioError, match=r"pip install 'serctl\[media\]'"):
            read_header(saved(encode(suffix, 1.0), "a.bin"))

    def test_other_recordings_need_nothing(self, tmp_path):
        for name in ("a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.au", "a.caf"):
            soundfile.write(tmp_path / name, tone(1, RATE), RATE)
            assert read_header(tmp_path / name).duration_s == 1

    def test_what_is_no_media_says_so(self, saved):
        with pytest.raises(AudioError, match="is not audio that can be read: expected WAV"):
            read_header(saved(b"no audio", "a.wav"))
