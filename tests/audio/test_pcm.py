"""Raw samples from a pipe: pieces of any size make the same samples, and what is no raw samples is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serctl.audio.pcm import LARGEST_SAMPLE, PcmDecoder, samples_of_pipe
from serctl.errors import AudioError, ConfigError, Remedy

RATE = 16_000
FORMATS = st.sampled_from(["s16le", "s32le", "f32le"])


def decoder(sample_format="s16le", rate=RATE):
    return PcmDecoder(sample_format=sample_format, rate=rate, to_rate=RATE)


@st.composite
def pieces(draw):
    """Bytes that begin as no recording does, and a way to cut them."""
    data = b"\0" * 8 + draw(st.binary(max_size=400))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize(
    ("sample_format", "data", "expected"),
    [
        ("s16le", b"\x00\x40\x00\x80\xff\x7f\x01\x00", [0.5, -1.0, 32767 / 32768, 1 / 32768]),
        ("s32le", b"\x00\x00\x00\x40\x00\x00\x00\x80\x00\x00\x01\x00", [0.5, -1.0, 1 / 32768]),
        ("f32le", b"\x00\x00\x00\x3f\x00\x00\x80\xbf\x00\x00\x00\x00", [0.5, -1.0, 0.0]),
    ],
)
def test_each_sample_format_is_read_as_it_is_meant(sample_format, data, expected):
    found = decoder(sample_format).decode(data)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@settings(deadline=None)
@given(FORMATS, pieces())
def test_pieces_make_the_samples_of_the_whole_and_every_sample_is_usable(sample_format, cut):
    data = b"".join(cut)
    whole, torn = decoder(sample_format), decoder(sample_format)
    expected = whole.decode(data)
    found = np.concatenate([torn.decode(piece) for piece in cut])
    np.testing.assert_array_equal(found, expected)
    assert (np.abs(found) <= LARGEST_SAMPLE).all()
    left = len(data) % (2 if sample_format == "s16le" else 4)
    if left:
        with pytest.raises(AudioError, match=f"in the middle of a sample: {left} of") as raised:
            torn.finish()
        assert raised.value.remedies == (Remedy.SAMPLE_FORMAT,)
    else:
        assert len(torn.finish()) == 0


@settings(deadline=None)
@given(arrays(np.float32, st.integers(1, 3_000), elements=st.floats(-1, 1, width=32)), st.integers(50, 5_000))
def test_another_rate_is_resampled_as_in_one_go(samples, size):
    data = b"\0" * 8 + samples.tobytes()
    resampling = decoder("f32le", rate=8_000)
    found = [resampling.decode(data[first : first + size]) for first in range(0, len(data), size)]
    expected = soxr.resample(np.frombuffer(data, np.float32), 8_000, RATE)
    np.testing.assert_allclose(np.concatenate([*found, resampling.finish()]), expected, atol=1e-4)


def test_unknown_formats_and_rates_are_refused():
    with pytest.raises(ConfigError, match="expected a sample format among s16le, s32le, f32le, received u8"):
        decoder("u8")
    for rate in (0, 3_999, 400_000):
        with pytest.raises(ConfigError, match=f"expected a rate from 4000 to 384000 Hz, received {rate}"):
            decoder(rate=rate)


@pytest.mark.parametrize("size", [1, 1_000, 65_536])
@pytest.mark.parametrize("name", ["WAV", "RIFX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "M4A"])
def test_a_recording_is_refused_whatever_its_header(name, size):
    content = b"\0\0\0\x1cftypM4A " + bytes(5_000)
    if name != "M4A":
        file = io.BytesIO()
        options = {"format": "WAV", "endian": "BIG"} if name == "RIFX" else {"format": name}
        soundfile.write(file, 0.3 * np.sin(np.arange(RATE)), RATE, **options)
        content = file.getvalue()
    pipe = decoder()
    with pytest.raises(AudioError, match="expected raw samples, received"):
        [pipe.decode(content[first : first + size]) for first in range(0, len(content), size)]


def test_quiet_samples_that_look_like_one_frame_are_samples():
    assert len(decoder().decode(b"\xff\xfb\x90\x00" * 1_000)) == 2_000


def test_a_pipe_is_read_as_it_fills():
    class Pipe:
        def __init__(self):
            self.chunks = [b"\x00\x40\x00", b"\x80", b"\x01\x00", b""]

        def read1(self, _):
            return self.chunks.pop(0)

    pipe = Pipe()
    found = samples_of_pipe(pipe, decoder())
    np.testing.assert_array_equal(next(found), [0.5])
    np.testing.assert_array_equal(next(found), [-1.0])
    assert len(pipe.chunks) == 2
    assert sum(map(len, found)) == 1
