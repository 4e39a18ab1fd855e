"""The front end in TensorFlow, exported together with a network: samples in, calibrated probabilities out.

Every step reproduces one of serctl.features, with operators that any LiteRT interpreter supports.
"""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl.bundle.facts import TensorFacts
from serctl.errors import ConfigError
from serctl.export.convert import quiet_conversion, saved_for_one_window
from serctl.features import spectral
from serctl.features.activity import FLOOR_FROM_S, LOWEST_FLOOR_DB, SPEECH_OVER_FLOOR_DB
from serctl.features.config import LONGEST_WINDOW
from serctl.models import architecture_names, find_architecture
from serctl.runtime.recogniser import ENOUGH_SPEECH_S, SMALLEST_PROBABILITY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import keras

    from serctl.bundle.facts import BundleFacts
    from serctl.bundle.store import Bundle
    from serctl.features import FeatureConfig, Normaliser

_CENTRINGS = 2
"""Times that the mean is subtracted: rounding leaves part of a large mean the first time."""

_LOUD_SHARE, _QUIET_SHARE = 0.95, 0.05


def check_architecture(architecture: str) -> None:
    """Raise ConfigError if this architecture needs more than the log-mel spectrogram."""
    if not find_architecture(architecture).spectrogram_only:
        names = architecture_names(lambda each: each.spectrogram_only)
        raise ConfigError(
            f"{architecture} takes functionals (pitch, formants and others) that only Python computes: expected one "
            f"of {', '.join(names)}, which travel with their front end"
        )


def end_to_end_to_litert(model: keras.Model, bundle: Bundle, *, int8_weights: bool) -> bytes:
    """Convert front end, network and calibration of a bundle to one LiteRT model; see `tensors` for its signature.

    Args:
        bundle: the model to export.
        model: its network as training saved it.
        int8_weights: whether the network's weights are stored in int8; the front end always computes in float32.

    Returns:
        The content of a .tflite file.
    """
    import tensorflow as tf

    facts = bundle.facts
    longest = longest_samples(facts.features)
    with (
        saved_for_one_window(model, n_frames=facts.n_frames) as saved,
        tempfile.TemporaryDirectory() as folder,
        quiet_conversion(),
    ):
        # Saved, loaded and called as a function, the network is the same on every Keras backend.
        whole = tf.Module()
        whole.network = tf.saved_model.load(str(saved))
        signature = [tf.TensorSpec((1, longest), tf.float32, "samples"), tf.TensorSpec((1,), tf.int32, "n_samples")]
        function = tf.function(
            _whole(whole.network.signatures["serving_default"], facts, bundle.normaliser),
            input_signature=signature,
            autograph=False,
        )
        tf.saved_model.save(whole, folder, signatures=function)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8_weights:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converted: bytes = converter.convert()
    return converted


def longest_samples(config: FeatureConfig) -> int:
    """Return the number of samples in the longest window that a recording is cut into."""
    return math.ceil(LONGEST_WINDOW * round(config.window_s * config.sample_rate))


def tensors(facts: BundleFacts) -> tuple[dict[str, TensorFacts], dict[str, TensorFacts]]:
    """Describe the inputs and outputs of the end-to-end model, for callers in other languages."""
    longest, rate = longest_samples(facts.features), facts.features.sample_rate
    inputs = {
        "samples": TensorFacts(
            (1, longest), "float32", f"mono at {rate} Hz, full scale 1.0, zeros after the last sample"
        ),
        "n_samples": TensorFacts((1,), "int32", f"how many of them are the recording, 1 to {longest}"),
    }
    outputs = {
        "probabilities": TensorFacts(
            (1, len(facts.labels)), "float32", "calibrated; in this order: " + ", ".join(facts.labels)
        ),
        "speech_frames": TensorFacts(
            (1,),
            "int32",
            f"frames of {1000 * facts.features.hop_s:g} ms from the first loud one to the last, the window's weight in "
            "a mean over windows; 0: silence, the probabilities mean nothing",
        ),
    }
    return inputs, outputs


def _whole(network: Any, facts: BundleFacts, normaliser: Normaliser) -> Callable[..., Mapping[str, Any]]:
    """Computes probabilities from samples, with a network whose inputs are log_mel and mask."""
    import tensorflow as tf

    config, n_frames = facts.features, facts.n_frames

    def run(samples: Any, n_samples: Any) -> dict[str, Any]:
        count = tf.clip_by_value(n_samples[0], 1, samples.shape[1])
        frames = _frames(_centred(samples[0], count, config), config)
        power = tf.reduce_mean(tf.square(frames), axis=1)
        first, active = _active_frames(power, 1 + count // config.hop_length, config)
        kept = tf.minimum(active, n_frames)
        row = tf.range(n_frames)
        chosen = tf.minimum(first + (active - kept) // 2 + row, frames.shape[0] - 1)
        log_mel = _log_mel(tf.gather(frames, chosen), config)
        mask = tf.cast(row < kept, tf.float32)
        scaled = (log_mel - normaliser.mel_mean) / normaliser.mel_sd * mask[:, None]
        raw = network(log_mel=scaled[None], mask=mask[None])["probabilities"]
        logarithms = tf.math.log(tf.maximum(raw, SMALLEST_PROBABILITY))
        speech_s = config.hop_s * tf.cast(tf.maximum(active, 1), tf.float32)
        softening = tf.maximum(ENOUGH_SPEECH_S / speech_s, 1.0)
        return {
            "probabilities": tf.nn.softmax(logarithms / (facts.temperature * softening)),
            "speech_frames": tf.where(_is_silent(power, first, active, config), 0, active)[None],
        }

    return run


def _centred(samples: Any, count: Any, config: FeatureConfig) -> Any:
    """Return the first count samples without their mean, zero-padded to a whole number of hops, shape (n,)."""
    import tensorflow as tf

    hop = config.hop_length
    blocks = math.ceil(samples.shape[0] / hop)
    # Sums over blocks have few terms each, which keeps rounding errors small.
    x = tf.reshape(tf.pad(samples, [[0, blocks * hop - samples.shape[0]]]), (blocks, hop))
    inside = tf.cast(tf.range(hop) < count - hop * tf.range(blocks)[:, None], tf.float32)
    x = x * inside
    for _ in range(_CENTRINGS):
        mean = tf.reduce_sum(tf.reduce_sum(x, axis=1)) / tf.cast(count, tf.float32)
        x = (x - mean) * inside
    return tf.reshape(x, [-1])


def _frames(samples: Any, config: FeatureConfig) -> Any:
    """Frame the padded signal as spectral.frame_signal does; shape (frames, frame_length)."""
    import tensorflow as tf

    length, hop = config.frame_length, config.hop_length
    half = length // 2
    frames = tf.signal.frame(tf.pad(samples, [[half, length - half]]), length, hop)
    return frames[: 1 + longest_samples(config) // hop]


def _active_frames(power: Any, count: Any, config: FeatureConfig) -> tuple[Any, Any]:
    """Return the start and the number of the frames that spectral.active_frames chooses among the first count."""
    import tensorflow as tf

    frame = tf.range(power.shape[0])
    there = tf.where(frame < count, power, 0.0)
    threshold = tf.reduce_max(there) * 10 ** (-config.trim_db / 10)
    loud = there >= tf.maximum(threshold, spectral.FLOOR)
    first = tf.reduce_min(tf.where(loud, frame, power.shape[0]))
    end = tf.reduce_max(tf.where(loud, frame + 1, 0))
    return tf.where(end > 0, first, 0), tf.where(end > 0, end - first, count)


def _is_silent(power: Any, first: Any, active: Any, config: FeatureConfig) -> Any:
    """Decide silence as features.is_silent does, from the power of `active` frames starting at the first."""
    import tensorflow as tf

    frame = tf.range(power.shape[0])
    chosen = tf.where((frame >= first) & (frame < first + active), power, -1.0)
    descending = tf.math.top_k(chosen, k=power.shape[0]).values
    long_enough = tf.cast(active, tf.float32) * config.hop_s >= FLOOR_FROM_S
    floor = tf.where(long_enough, _level(descending, active, _QUIET_SHARE), LOWEST_FLOOR_DB)
    return _level(descending, active, _LOUD_SHARE) < floor + SPEECH_OVER_FLOOR_DB


def _level(descending: Any, active: Any, share: float) -> Any:
    """The percentile, in dB, of the first `active` of the powers."""
    import tensorflow as tf

    place = (1 - share) * tf.cast(active - 1, tf.float32)
    above = tf.cast(place, tf.int32)
    below = tf.minimum(above + 1, active - 1)
    rest = place - tf.cast(above, tf.float32)
    return _to_db(tf.gather(descending, above)) * (1 - rest) + _to_db(tf.gather(descending, below)) * rest


def _log_mel(frames: Any, config: FeatureConfig) -> Any:
    """Compute the log-mel spectrogram, rounded to float16 as Features.log_mel is; (frames, n_mels)."""
    import tensorflow as tf

    spectrum = tf.signal.rfft(frames * spectral.hann(config.frame_length), [config.n_fft])
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    return tf.cast(tf.cast(_to_db(_mel_power(power, config)), tf.float16), tf.float32)


def _mel_power(power: Any, config: FeatureConfig) -> Any:
    """Compute the power in each mel band by sums over the bins; (frames, bins) to (frames, n_mels).

    A matrix product with the filterbank would be taken for a layer by the converter, and stored in int8.
    """
    import tensorflow as tf

    filters = spectral.mel_filterbank(config)
    bins = np.arange(len(filters))
    lower = np.maximum.accumulate(np.argmax(filters > 0, axis=1))
    padded = np.pad(filters, ((0, 0), (0, 1)))
    falling, rising = padded[bins, lower], padded[bins, lower + 1]
    by_bin = tf.transpose(power)
    missing = config.n_mels - 1 - int(lower[-1])
    in_lower = tf.math.segment_sum(by_bin * falling[:, None], lower)
    in_upper = tf.math.segment_sum(by_bin * rising[:, None], lower)
    bands = tf.pad(in_lower, [[0, missing + 1], [0, 0]]) + tf.pad(in_upper, [[1, missing], [0, 0]])
    return tf.transpose(bands[: config.n_mels])


def _to_db(power: Any) -> Any:
    """Convert power to dB as spectral.to_db does; LiteRT has no logarithm to base 10."""
    import tensorflow as tf

    return 10 / math.log(10) * tf.math.log(tf.maximum(power, spectral.FLOOR))
