"""Features of speech: frame-level descriptors and utterance-level functionals from one shared spectrum."""

from serctl.features.activity import SpeechGate, is_silent, is_silent_window
from serctl.features.compute import Features, compute_features
from serctl.features.config import FEATURE_VERSION, FeatureConfig
from serctl.features.deep import deep_names, encoder_citations, encoder_parameters
from serctl.features.descriptors import lld_names
from serctl.features.functionals import functional_names
from serctl.features.normaliser import Moments, Normaliser, language_input
from serctl.features.reader import (
    FeatureReader,
    Window,
    cached_windows,
    changed_windows,
    open_windows,
    windows_of_samples,
)
from serctl.features.streaming import MelStream
from serctl.features.words import token_inputs, token_states

__all__ = [
    "FEATURE_VERSION",
    "FeatureConfig",
    "FeatureReader",
    "Features",
    "MelStream",
    "Moments",
    "Normaliser",
    "SpeechGate",
    "Window",
    "cached_windows",
    "changed_windows",
    "compute_features",
    "deep_names",
    "encoder_citations",
    "encoder_parameters",
    "functional_names",
    "is_silent",
    "is_silent_window",
    "language_input",
    "lld_names",
    "open_windows",
    "token_inputs",
    "token_states",
    "windows_of_samples",
]
