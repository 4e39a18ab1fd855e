"""Features of speech: frame-level descriptors and utterance-level functionals from one shared spectrum."""

from serctl.features.compute import Features, compute_features
from serctl.features.config import FEATURE_VERSION, FeatureConfig
from serctl.features.functionals import functional_names, lld_names

__all__ = ["FEATURE_VERSION", "FeatureConfig", "Features", "compute_features", "functional_names", "lld_names"]
