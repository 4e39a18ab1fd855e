"""Models that are not trained, but sure of themselves: what an export must keep."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serctl.audio import find_recordings
from serctl.bundle import load_bundle, write_bundle
from serctl.features import FeatureReader, functional_names
from serctl.models import ModelSpec
from serctl.runtime import network_inputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle import Bundle
    from serctl.cache import Cache
    from serctl.features import Features

HEAD_GAIN = 4


@pytest.fixture(scope="session")
def windows(samples: Path, tiny_bundle: Bundle, shared_cache: Cache) -> list[Features]:
    """Those of the sample recordings."""
    paths = [recording.path for recording in find_recordings([samples])]
    readers = [FeatureReader(path, tiny_bundle.facts.features, cache=shared_cache) for path in paths]
    return [window.features for reader in readers for window in reader]


@pytest.fixture(scope="session")
def opinionated(
    tiny_bundle: Bundle, windows: list[Features], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """Makes a bundle of an architecture, not trained, whose random weights make it sure of itself.

    Its batch normalisation is that of the windows: without it the windows would be all the same to the network.
    """
    import keras

    from serctl.models import build
    from serctl.models.fitting import restore
    from serctl.pipeline.convert import to_litert

    facts = tiny_bundle.facts

    def make(architecture: str) -> Bundle:
        languages = ("de", "pl") if architecture == "shared_private" else ()
        spec = ModelSpec(
            facts.n_frames, facts.features.n_mels, functional_names(facts.features), len(facts.labels), languages
        )
        keras.utils.set_random_seed(2)
        model = build(architecture, spec)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        inputs = network_inputs(tiny_bundle, windows, [None] * len(windows))
        model({tensor.name: inputs[tensor.name] for tensor in model.inputs}, training=True)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dense) and layer.units == len(facts.labels):
                seen = np.asarray(keras.Model(model.inputs, layer.input)([inputs[each.name] for each in model.inputs]))
                kernel = HEAD_GAIN * layer.get_weights()[0]
                layer.set_weights([kernel, -seen.mean(axis=0) @ kernel])
        folder = tmp_path_factory.mktemp("models") / architecture
        folder.mkdir()
        write_bundle(
            folder,
            replace(facts, name=architecture, architecture=architecture, languages=languages, temperature=1.0),
            model=to_litert(restore(architecture, spec, model.get_weights()), n_frames=facts.n_frames),
            weights=model.get_weights(),
            normaliser=tiny_bundle.normaliser,
            training=tiny_bundle.training_list(),
            card="",
        )
        return load_bundle(folder)

    return make


@pytest.fixture(scope="session")
def separable(opinionated: Callable[[str], Bundle]) -> Bundle:
    """The one for small devices; never to be changed."""
    return opinionated("separable")
