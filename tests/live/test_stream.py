"""A stream gives what the network gives to the whole, whatever the pieces; what it makes of silence and of bytes."""

from __future__ import annotations

from itertools import groupby
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from serctl.audio.pcm import PcmDecoder
from serctl.audio.segments import read_audio
from serctl.errors import ConfigError
from serctl.features import MelStream
from serctl.live.options import StreamOptions
from serctl.live.stream import SpeechGate, SpeechStream, samples_of_file
from serctl.models import ModelSpec
from serctl.runtime.step import StepRecogniser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
from serctl.live.stream import StepPrediction

RATE = 16_000
EACH_ANSWER = StreamOptions(window_s=0.05, hop_s=0.05)
"""One prediction for every answer of the network, which answers every 50 ms."""


class Counting(StepRecogniser):
    """Counts its steps."""

    steps = 0

    def step(self, *arguments: Any) -> Any:
        self.steps += 1
        return super().step(*arguments)


@pytest.fixture(scope="module")
def recogniser(live_bundle: Bundle) -> Counting:
    return Counting(live_bundle)


@pytest.fixture(scope="module")
def talk(samples: Path) -> NDArray[np.float32]:
    """Some seconds of speech with 0.2 s of faint noise before each recording; it ends with speech."""
    rng = np.random.default_rng(3)
    parts = []
    for name in ("emma-happy", "tom-sad", "jana-angry", "marek-neutral"):
        recording = read_audio(samples / f"{name}.flac", sample_rate=RATE)
        spoken = np.flatnonzero(np.abs(recording) > 0.05)
        parts += [1e-4 * rng.standard_normal(3_200), recording[spoken[0] : spoken[-1]]]
    return np.concatenate(parts).astype(np.float32)


def predictions_of(
    recogniser: StepRecogniser, pieces: Iterable[NDArray[np.float32]], options: StreamOptions | None = None
) -> list[StepPrediction]:
    stream = SpeechStream(recogniser, options)
    return [prediction for piece in pieces for prediction in stream.push(piece)]


def probabilities(predictions: Iterable[StepPrediction]) -> NDArray[np.float64]:
    return np.array([prediction.probabilities for prediction in predictions])


def emotions(predictions: Iterable[StepPrediction]) -> list[str]:
    return [prediction.emotion for prediction in predictions]


def cut(samples: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return np.split(samples, range(size, len(samples), size))


def scripted(*answers: list[float], labels: tuple[str, ...] = ("happy", "sad")) -> Any:
    """A recogniser that says what it is told to, then its last answer again and again."""
    config = SimpleNamespace(sample_rate=RATE, n_mels=2, hop_length=160, frame_length=640)
    normaliser = SimpleNamespace(standardise_frames=lambda log_mel: log_mel[:, :2])
    facts = SimpleNamespace(labels=labels, features=config)
    left = [np.array(answer) for answer in answers]

    def step(frames: Any, state: Any) -> Any:
        return (left.pop(0) if len(left) > 1 else left[0]), state

    bundle = SimpleNamespace(facts=facts, normaliser=normaliser)
    return SimpleNamespace(bundle=bundle, context=10, frames=5, start=lambda: None, step=step)


@pytest.fixture
def only_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample pushed is a frame, its value the level in dB; a frame ends where its samples do."""

    class Levels:
        def __init__(self, config: Any) -> None: ...

        def push(self, samples: NDArray[np.float32]) -> Any:
            return np.zeros((len(samples), 2), np.float32), samples

    monkeypatch.setattr("serctl.live.stream.MelStream", Levels)


LOUD, STILL = -20.0, -90.0


def levels(*runs: tuple[float, int]) -> NDArray[np.float32]:
    """Runs of frames, each of one level; one frame less at the start, so that predictions fall on ends of runs."""
    whole = np.concatenate([np.full(count, level, np.float32) for level, count in runs])
    return whole[1:]


def test_the_predictions_are_the_same_whatever_the_pieces(recogniser: Counting, talk: NDArray[np.float32]) -> None:
    expected = predictions_of(recogniser, [talk])
    assert len(expected) == len(talk) // 1_600
    assert np.nanmax(np.abs(np.diff(probabilities(expected), axis=0)).max(axis=1)) > 0.05
    sizes = np.random.default_rng(1).integers(0, 2_000, 400)
    for pieces in (cut(talk, 157), cut(talk, 1_600), cut(talk, 50_000), np.split(talk, np.cumsum(sizes))):
        found = predictions_of(recogniser, pieces)
        assert [prediction.time_s for prediction in found] == [prediction.time_s for prediction in expected]
        assert emotions(found) == emotions(expected)
        np.testing.assert_allclose(probabilities(found), probabilities(expected), atol=1e-4)


def test_the_predictions_are_those_of_the_network_over_the_whole(
    recogniser: Counting,
    live_bundle: Bundle,
    causal_network: Callable[[ModelSpec], Any],
    talk: NDArray[np.float32],
) -> None:
    import keras

    facts = live_bundle.facts
    spec = ModelSpec(facts.n_frames, facts.features.n_mels, (), len(facts.labels), causal=True)
    network = causal_network(spec)
    answers = keras.Model(network.inputs, network.get_layer("step_answer").output)
    log_mel, level_db = MelStream(facts.features).push(talk)
    gate = SpeechGate(facts.features.hop_s)
    first = [gate.is_speech(level) for level in level_db.tolist()].index(True)
    frames = live_bundle.normaliser.standardise_frames(log_mel)[None, first:]
    expected = np.asarray(answers({"log_mel": frames, "mask": np.ones(frames.shape[:2], np.float32)}))[0]

    found = predictions_of(recogniser, cut(talk, 1_234), EACH_ANSWER)
    # The prediction at t rests on the frames that end by then, and on the last answer to them.
    last_frames = [round(prediction.time_s * 100) - 2 for prediction in found]
    compared = 0
    for frame, prediction in zip(last_frames, found, strict=True):
        if prediction.voiced:
            np.testing.assert_allclose(prediction.probabilities, expected[(frame - first) // 5], atol=1e-4)
            compared += 1
    assert compared > 100
    assert expected.std(axis=0).max() > 0.05


def test_a_prediction_comes_with_the_last_sample_of_its_step(recogniser: Counting, talk: NDArray[np.float32]) -> None:
    stream = SpeechStream(recogniser)
    for number, piece in enumerate(cut(talk[: 3 * RATE], 1_600), 1):
        assert stream.push(piece[:-1]) == []
        (prediction,) = stream.push(piece[-1:])
        assert prediction.time_s == pytest.approx(number / 10)
        assert 0 <= prediction.latency_s < 10


def test_a_step_costs_the_same_however_long_the_stream_is(recogniser: Counting) -> None:
    rng = np.random.default_rng(2)
    loud_and_soft = np.repeat(np.tile([0.3, 0.0003], 20), 4_000)
    stream = SpeechStream(recogniser)
    stream.push((loud_and_soft[:8_000] * rng.standard_normal(8_000)).astype(np.float32))
    counts = []
    for _ in range(20):
        before = recogniser.steps
        stream.push((loud_and_soft[:8_000] * rng.standard_normal(8_000)).astype(np.float32))
        counts.append(recogniser.steps - before)
    assert set(counts) == {10}


def test_silence_is_no_speech_and_costs_no_step(recogniser: Counting) -> None:
    before = recogniser.steps
    for silence in (np.zeros(RATE), 3e-4 * np.random.default_rng(0).standard_normal(RATE), np.full(RATE, 0.0)):
        found = predictions_of(recogniser, [silence.astype(np.float32)])
        assert len(found) == 10
        for prediction in found:
            assert (prediction.emotion, prediction.voiced) == ("no-speech", False)
            assert np.isnan(prediction.probabilities).all()
            line = prediction.to_dict(recogniser.bundle.facts.labels)
            assert {line[f"p_{label}"] for label in recogniser.bundle.facts.labels} == {None}
    assert recogniser.steps == before


def test_a_steady_noise_ceases_to_be_speech_and_speech_over_it_is_heard() -> None:
    gate = SpeechGate(0.01)
    heard = [gate.is_speech(-35.0) for _ in range(1_000)]
    assert heard[0]
    # When 95 % of the last 3 s are noise.
    assert [key for key, _ in groupby(heard)] == [True, False]
    assert heard.index(False) == pytest.approx(285, abs=2)
    assert gate.is_speech(-20.0)
    assert not gate.is_speech(-35.0)


@pytest.mark.parametrize("gain_db", [0, -20, -35])
def test_speech_is_heard_in_a_quiet_stream_after_a_fifth_of_a_second(gain_db: int) -> None:
    gate = SpeechGate(0.01)
    heard = [gate.is_speech(level + gain_db) for level in [-62.0] * 20 + [-30.0] * 50 + [-61.0] * 50]
    assert heard == [False] * 20 + [True] * 50 + [False] * 50


def test_a_microphone_that_is_switched_on_is_no_speech() -> None:
    gate = SpeechGate(0.01)
    assert not any(gate.is_speech(level) for level in [-62.0] * 300 + [-100.0] * 1_000 + [-62.0] * 300)


def test_after_half_a_second_of_silence_a_stream_is_as_new(recogniser: Counting, talk: NDArray[np.float32]) -> None:
    silence, rest = np.zeros(RATE, np.float32), talk[5 * RATE :]
    first = predictions_of(recogniser, [np.concatenate([silence, rest])])
    later = predictions_of(recogniser, [np.concatenate([talk[: 3 * RATE], silence, rest])])[30:]
    np.testing.assert_allclose(probabilities(later)[10:], probabilities(first)[10:], atol=1e-4)
    assert emotions(later)[10:] == emotions(first)[10:]

    short = np.zeros(RATE // 5, np.float32)
    fresh = predictions_of(recogniser, [np.concatenate([short, rest])])
    going_on = predictions_of(recogniser, [np.concatenate([talk[: 3 * RATE], short, rest])])[30:]
    difference = np.abs(probabilities(going_on)[2:8] - probabilities(fresh)[2:8])
    assert np.nanmax(difference) > 1e-3  # after less silence it still knows what was before


@pytest.mark.usefixtures("only_levels")
@pytest.mark.parametrize(
    ("hysteresis", "expected"),
    [(0.0, ["happy", "sad", "happy", "sad"]), (0.3, ["happy", "happy", "happy", "sad"])],
)
def test_another_emotion_takes_over_if_it_is_so_much_likelier(hysteresis: float, expected: list[str]) -> None:
    answers = [[0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.3, 0.7]]
    options = StreamOptions(window_s=0.05, hop_s=0.05, hysteresis=hysteresis)
    assert emotions(predictions_of(scripted(*answers), [levels((LOUD, 20))], options)) == expected


@pytest.mark.usefixtures("only_levels")
def test_silence_ends_what_hysteresis_holds_on_to() -> None:
    options = StreamOptions(window_s=0.05, hop_s=0.05, hysteresis=0.9)
    answers = scripted([0.9, 0.1], *[[0.2, 0.8]] * 99)
    found = emotions(predictions_of(answers, [levels((LOUD, 10), (STILL, 60), (LOUD, 10))], options))
    assert found == ["happy"] * 2 + ["no-speech"] * 12 + ["sad"] * 2


@pytest.mark.usefixtures("only_levels")
def test_a_prediction_is_the_mean_of_the_answers_in_its_window() -> None:
    answers = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.2, 0.8], [0.9, 0.1], [0.6, 0.4]])
    options = StreamOptions(window_s=0.15, hop_s=0.05)
    found = probabilities(predictions_of(scripted(*answers.tolist()), [levels((LOUD, 30))], options))
    expected = [answers[max(0, last - 2) : last + 1].mean(axis=0) for last in range(6)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.usefixtures("only_levels")
def test_a_step_is_voiced_if_any_of_it_is_speech() -> None:
    found = predictions_of(scripted([0.6, 0.4]), [levels((LOUD, 10), (STILL, 20), (LOUD, 1), (STILL, 9), (STILL, 10))])
    assert [prediction.voiced for prediction in found] == [True, False, False, True, False]


def test_a_line_holds_times_shares_and_latency(recogniser: Counting, talk: NDArray[np.float32]) -> None:
    labels = recogniser.bundle.facts.labels
    last = predictions_of(recogniser, [talk])[-1]
    line = last.to_dict(labels)
    assert list(line) == ["time", "emotion", *(f"p_{label}" for label in labels), "voiced", "latency_ms"]
    assert line["time"] == pytest.approx(len(talk) // 1_600 / 10)
    assert line["voiced"] is True
    assert sum(line[f"p_{label}"] for label in labels) == pytest.approx(1, abs=1e-3)
    assert max(labels, key=lambda label: line[f"p_{label}"]) == line["emotion"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_s": 0.04}, "hop <= window"),
        ({"hop_s": 0.2, "window_s": 0.1}, "hop <= window"),
        ({"window_s": 61.0}, "window <= 60 s"),
        ({"window_s": float("nan")}, "Received: 0.1 s and nan s"),
        ({"hysteresis": 1.0}, "hysteresis at least 0 and below 1"),
        ({"hysteresis": -0.1}, "hysteresis at least 0 and below 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StreamOptions(**options)


def decoder(sample_format: str = "s16le", rate: int = RATE) -> PcmDecoder:
    return PcmDecoder(sample_format=sample_format, rate=rate, to_rate=RATE)


def test_what_is_no_sample_harms_nothing(recogniser: Counting, talk: NDArray[np.float32]) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.25], np.float32)
    np.testing.assert_array_equal(decoder("f32le").decode(odd.tobytes()), [0, 0, 0, 0.25])
    garbage = np.random.default_rng(6).integers(0, 256, 4 * RATE, dtype=np.uint8).tobytes()
    noise = decoder("f32le").decode(garbage)
    assert np.isfinite(np.square(noise)).all()
    found = predictions_of(recogniser, [noise, np.zeros(RATE, np.float32), talk])
    assert found[5].voiced
    assert np.isfinite(found[5].probabilities).all()
    assert found[-1].voiced
    assert np.isfinite(found[-1].probabilities).all()


@pytest.mark.parametrize("piece_s", [0.1, 0.37, 2.0])
def test_the_pieces_of_a_recording_make_the_whole(samples: Path, piece_s: float) -> None:
    path = samples / "tom-neutral.wav"
    pieces = list(samples_of_file(path, rate=RATE, piece_s=piece_s))
    assert max(map(len, pieces)) <= round(piece_s * RATE)
    np.testing.assert_allclose(np.concatenate(pieces), read_audio(path, sample_rate=RATE), atol=1e-6)


@pytest.mark.parametrize("form", ["mp3", "ogg"])
def test_recordings_one_after_the_other_in_a_file_are_followed_to_their_end(
    talk: NDArray[np.float32], tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"twice.{form}"
    soundfile.write(path, talk, RATE)
    once = len(read_audio(path, sample_rate=RATE))
    path.write_bytes(2 * path.read_bytes())
    assert sum(map(len, samples_of_file(path, rate=RATE, piece_s=0.5))) == pytest.approx(2 * once, rel=0.02)
