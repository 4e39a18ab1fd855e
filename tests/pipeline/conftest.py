"""Models with random weights but for the last layer, which makes them sure of themselves: what an export must keep."""

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

HEAD_GAIN, RIDGE = 5, 0.1


@pytest.fixture(scope="session")
def recordings(samples: Path) -> list[Path]:
    """The sample recordings."""
    return [recording.path for recording in find_recordings([samples])]


@pytest.fixture(scope="session")
def windows(recordings: list[Path], tiny_bundle: Bundle, shared_cache: Cache) -> list[Features]:
    """Those of the sample recordings, one of each."""
    readers = [FeatureReader(path, tiny_bundle.facts.features, cache=shared_cache) for path in recordings]
    return [window.features for reader in readers for window in reader]


@pytest.fixture(scope="session")
def opinionated(
    tiny_bundle: Bundle, recordings: list[Path], windows: list[Features], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """Makes a bundle of an architecture that knows the emotions of the sample recordings by heart.

    Its weights are random but for two things. Batch normalisation is that of the windows: without it the windows would
    be all the same to the network. The last layer is a ridge regression onto the emotions, so that no answer is a
    close call, which the rounding of one processor or another would decide.
    """
    import keras

    from serctl.models import build
    from serctl.models.fitting import restore
    from serctl.pipeline.convert import to_litert

    facts = tiny_bundle.facts
    emotions = [facts.labels.index(path.stem.split("-")[1]) for path in recordings]
    wanted = HEAD_GAIN * (np.eye(len(facts.labels))[emotions] - 1 / len(facts.labels))

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
                centred = seen - seen.mean(axis=0)
                gram = centred @ centred.T
                kernel = centred.T @ np.linalg.solve(gram + RIDGE * gram.diagonal().mean() * np.eye(len(gram)), wanted)
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
