"""Explain a recording: its windows, and why the most telling one of them gets its answer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.audio.segments import SegmentReader
from serctl.errors import AudioError, ConfigError
from serctl.explanation.counterfactuals import change_all, counterfactuals, most_telling
from serctl.explanation.faithfulness import measure
from serctl.explanation.groups import contributions
from serctl.explanation.listener import Listener
from serctl.explanation.occlusion import Occluder, band_edges, hide_cells, try_random_orders
from serctl.explanation.quantity import Quantity
from serctl.features import FeatureReader, is_silent
from serctl.features.compute import compute_features
from serctl.reports.schema import utf8
from serctl.runtime.recogniser import merge_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from serctl.cache import Cache
    from serctl.explanation.counterfactuals import Counterfactual
    from serctl.explanation.faithfulness import Faithfulness
    from serctl.explanation.groups import Contributions
    from serctl.explanation.listener import Samples
    from serctl.explanation.options import ExplainOptions
    from serctl.features import Features, Window
    from serctl.metrics import Scale
    from serctl.runtime.recogniser import Recogniser

_AT_ONCE = 16


@dataclass(frozen=True)
class Course:
    """The windows of a recording.

    Attributes:
        start_s, end_s: of each.
        probabilities: calibrated, float64, shape (windows, outputs of the network).
        frames: of speech in each, 0 where it is silent.
        novelty: how unlike the training recordings the recording is, 0 to 1; None where the model cannot tell.
        quantity: what the model answers.
    """

    start_s: tuple[float, ...]
    end_s: tuple[float, ...]
    probabilities: NDArray[np.float64]
    frames: NDArray[np.float64]
    novelty: float | None
    quantity: Quantity

    @property
    def answers(self) -> NDArray[np.float64]:
        """The answer to each window, shape (windows, labels)."""
        return self.quantity.answers(self.probabilities)

    @property
    def whole(self) -> NDArray[np.float64]:
        """The answer to the recording, shape (labels,); NaN without speech."""
        return self.quantity.answers(merge_probabilities(self.probabilities, self.frames)[None])[0]


@dataclass(frozen=True)
class Explanation:
    """Why a recording gets its answer. Times in seconds from its start; probabilities are calibrated, 0 to 1.

    For a model of numbers, its one label is the name of the number, and every probability is the number itself.

    Attributes:
        path: the recording; bytes of its name that are not UTF-8 are spelt out.
        channel: the one that is explained, from 1 on; None for the mix of all.
        model: name and digest of the model.
        answer, confidence: of the whole recording, as a prediction says.
        emotion: the one that is explained; `probability` without another word is that of this emotion.
        window_start_s, window_end_s, window_probability: every window of the recording; NaN where it is silent.
        start_s, end_s: the window that the rest is about: the one with the highest probability, unless another was
            asked for.
        probabilities: of every emotion there.
        edges_s: bounds of the parts of its speech.
        importance: how much hiding each part lowers the probability; their sum is probability less hidden_probability.
        hidden_probability: with all speech hidden.
        edges_hz: bounds of the bands of the map.
        band_importance: how much hiding each band of each part lowers the probability; one row for each band.
        attention_edges_s, attention: bounds of the moments and their weights when the network averages over time; empty
            for a network that keeps none.
        contributions: of the groups of features; None for a model that only takes a spectrogram.
        counterfactuals: the answer to changed speech.
        faithfulness: how far the importance can be trusted.
        novelty: how unlike the training recordings the recording is, 0 to 1; None where the model cannot tell.
        scale: of the number; None for emotions.
    """

    path: str
    channel: int | None
    model: str
    answer: str
    confidence: float
    emotion: str
    window_start_s: tuple[float, ...]
    window_end_s: tuple[float, ...]
    window_probability: tuple[float, ...]
    start_s: float
    end_s: float
    probabilities: dict[str, float]
    edges_s: tuple[float, ...]
    importance: tuple[float, ...]
    hidden_probability: float
    edges_hz: tuple[float, ...]
    band_importance: tuple[tuple[float, ...], ...]
    attention_edges_s: tuple[float, ...]
    attention: tuple[float, ...]
    contributions: Contributions | None
    counterfactuals: tuple[Counterfactual, ...]
    faithfulness: Faithfulness
    novelty: float | None
    scale: Scale | None = None

    @property
    def quantity(self) -> Quantity:
        """What the model answers."""
        return Quantity(tuple(self.probabilities), self.scale)

    @property
    def probability(self) -> float:
        """The probability of the emotion in the window that is explained."""
        return self.probabilities[self.emotion]

    @property
    def window_answer(self) -> str:
        """The answer to the window that is explained."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        silent_is_none = [None if math.isnan(each) else each for each in self.window_probability]
        return {**asdict(self), "window_probability": silent_is_none}


def explain_recording(
    path: Path, *, recogniser: Recogniser, options: ExplainOptions, cache: Cache | None = None
) -> Explanation:
    """Explain the answer to a recording.

    Args:
        path: the recording.
        recogniser: the model.
        options: which emotion, which window.
        cache: of features.

    Raises:
        AudioError: the recording cannot be read, lacks the channel, or holds no speech where it is to be explained.
        ConfigError: the model does not know the emotion.
    """
    course = follow(path, recogniser, options, cache)
    whole = course.whole
    if np.isnan(whole).any():
        raise AudioError(f"{str(path)!r} holds no speech: there is no answer to explain")
    target = find_emotion(options.emotion, recogniser) if options.emotion else int(whole.argmax())
    window = _choose(path, course, target, options.at_s)
    listener = Listener(recogniser, target, options.language)
    best = int(whole.argmax())
    labels = course.quantity.labels
    spoken = np.where(course.frames > 0, course.answers[:, target], np.nan)
    return Explanation(
        path=utf8(str(path)),
        channel=options.channel,
        model=recogniser.bundle.identity,
        answer=labels[best],
        confidence=float(whole[best]),
        emotion=labels[target],
        window_start_s=course.start_s,
        window_end_s=course.end_s,
        window_probability=tuple(spoken.tolist()),
        start_s=course.start_s[window],
        end_s=course.end_s[window],
        novelty=course.novelty,
        scale=course.quantity.scale,
        **explain_window(
            _samples_of(path, listener, window, options.channel),
            listener,
            options.seed,
            start_s=course.start_s[window],
        ),
    )


def find_emotion(emotion: str, recogniser: Recogniser) -> int:
    """Index of an emotion among the labels of the model. Raises ConfigError if it does not know it."""
    labels = Quantity.of(recogniser.bundle.facts).labels
    if emotion not in labels:
        raise ConfigError(f"expected an emotion that the model knows: {', '.join(labels)}. Received: {emotion}")
    return labels.index(emotion)


def follow(path: Path, recogniser: Recogniser, options: ExplainOptions, cache: Cache | None) -> Course:
    """Predict the windows of a recording. Raises AudioError for everything that is wrong with the file."""
    config = recogniser.bundle.facts.features
    tells_novelty = recogniser.bundle.facts.novelty is not None
    bounds: list[tuple[float, float]] = []
    rows, frames, novelty = [], [], []
    for group in _groups(iter(FeatureReader(path, config, cache=cache, channel=options.channel))):
        features = [window.features for window in group]
        bounds += [(window.start_s, window.end_s) for window in group]
        rows.append(recogniser.probabilities(features, [options.language] * len(group)))
        frames += [0 if is_silent(each.functionals, config) else len(each.log_mel) for each in features]
        novelty.append(recogniser.novelty(features) if tells_novelty else np.full(len(group), np.nan))
    weights = np.array(frames, np.float64)
    unlike = float(merge_probabilities(np.concatenate(novelty)[:, None], weights)[0])
    starts, ends = zip(*bounds, strict=True)
    quantity = Quantity.of(recogniser.bundle.facts)
    return Course(starts, ends, np.concatenate(rows), weights, None if math.isnan(unlike) else unlike, quantity)


def _groups(windows: Iterator[Window]) -> Iterator[Sequence[Window]]:
    while group := list(islice(windows, _AT_ONCE)):
        yield group


def _choose(path: Path, course: Course, target: int, at_s: float | None) -> int:
    """Index of the window to explain."""
    if at_s is None:
        return int(np.where(course.frames > 0, course.answers[:, target], -np.inf).argmax())
    found = [row for row, end_s in enumerate(course.end_s) if course.start_s[row] <= at_s < end_s]
    if not found or not course.frames[found[0]]:
        raise AudioError(f"{str(path)!r}: expected speech at {at_s:g} s, found none; it ends at {course.end_s[-1]:g} s")
    return found[0]


def _samples_of(path: Path, listener: Listener, window: int, channel: int | None) -> Samples:
    config = listener.config
    reader = SegmentReader(path, sample_rate=config.sample_rate, window_s=config.window_s, channel=channel)
    return next(islice(reader, window, None)).samples


def explain_window(samples: Samples, listener: Listener, seed: int, *, start_s: float = 0.0) -> dict[str, Any]:
    """Explain the probability of an emotion, or the number, in one window.

    Args:
        samples: mono float32, shape (n,), at the rate of the model's features.
        listener: the model, and the emotion.
        seed: of the noise and of the random orders.
        start_s: of the window, for the times.

    Returns:
        The fields of Explanation that are about the window.
    """
    rng = np.random.default_rng(seed)
    config = listener.config
    occluder = Occluder.of(samples, config, rng)
    orders = try_random_orders(occluder, listener, rng=rng)
    changed = change_all(samples, config.sample_rate)
    answers = counterfactuals(changed, listener)
    probabilities = listener.all_answers([samples])[0]
    probability = float(probabilities[listener.target])
    telling = most_telling(answers, probability)
    features = compute_features(samples, config)
    edges_s, weights = attention_of(features, listener)
    return {
        "probabilities": dict(zip(listener.quantity.labels, probabilities.tolist(), strict=True)),
        "edges_s": tuple((start_s + occluder.edges / config.sample_rate).tolist()),
        "importance": tuple(orders.importance().tolist()),
        "hidden_probability": float(orders.curves[0, -1]),
        "edges_hz": tuple(np.minimum(band_edges(config), config.sample_rate / 2).tolist()),
        "band_importance": tuple(map(tuple, (probability - hide_cells(occluder, listener)).tolist())),
        "attention_edges_s": tuple((start_s + edges_s).tolist()),
        "attention": tuple(weights.tolist()),
        "contributions": contributions(features, listener),
        "counterfactuals": answers,
        "faithfulness": measure(
            occluder, listener, orders, changed=None if telling is None else changed[telling], rng=rng
        ),
    }


def attention_of(features: Features, listener: Listener) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights that the network gives to the moments of a window.

    Args:
        features: of the window.
        listener: the model.

    Returns:
        Bounds of the moments in seconds from the start of the window, shape (moments + 1,), and their weights, shape
        (moments,), which sum to 1; both empty for a network that keeps none.
    """
    found = listener.recogniser.attention(features, listener.language)
    if found is None:
        return np.empty(0), np.empty(0)
    frames = math.ceil(listener.recogniser.bundle.facts.n_frames / len(found))
    used = math.ceil(len(features.log_mel) / frames)
    edges = np.minimum(np.arange(used + 1) * frames, len(features.log_mel)) + features.first_frame
    return edges * listener.config.hop_s, found[:used].astype(np.float64)
