"""What tests share: the sample corpus, a small model trained on it by the real pipeline, the real command line."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.audio.find import find_recordings
from serctl.bundle.facts import Cost, ExportFacts, Parity
from serctl.bundle.store import load_bundle, write_bundle
from serctl.export import measure
from serctl.features import FeatureReader, functional_names
from serctl.files import atomic_folder
from serctl.models import ModelSpec
from serctl.reports import plots
from serctl.run import Run
from serctl.runtime.recogniser import network_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.features import Features
    from serctl.verbs.train import TrainOptions

ONE_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""A picture in PNG."""

SAMPLES = Path(__file__).parent / "samples"

# A shell starts background jobs with SIGINT ignored, and what the tests start would inherit it and not end on Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compile librosa before the worker processes of pytest-xdist start: two that do it at once crash (numba 10128)."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        subprocess.run([sys.executable, "-c", "import librosa"], env={**os.environ, "EAGER_IMPORT": "1"}, check=True)


@dataclass(frozen=True)
class Outcome:
    """How a run of the command line ended."""

    code: int
    stdout: str
    stderr: str


Serctl = Callable[..., Outcome]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own, never the user's."""
    folder = tmp_path / "own-cache"
    monkeypatch.setenv("SERCTL_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def undrawn_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built from the data, but not drawn, which takes 0.3 s each: but for tests marked `drawn`.

    What session and module fixtures write is drawn.
    """
    if request.node.get_closest_marker("drawn"):
        return

    monkeypatch.setattr(plots, "draw_figure", lambda _figure, path: path.write_bytes(ONE_PIXEL))


@pytest.fixture(scope="session", autouse=True)
def few_timed_runs() -> Iterator[None]:
    """A model is timed on each window once: no test looks at the times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "FEWEST_RUNS", 1)
        yield


@pytest.fixture
def serctl(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Serctl]:
    """Run the command line in this process, error handler and exit code included."""
    from serctl.cli import main

    def run(*arguments: object, stdin: bytes = b"") -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["serctl", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Outcome(code, *capfd.readouterr())

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    yield run
    sys.unraisablehook = hook
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def samples() -> Path:
    """A corpus of synthetic voices: 4 speakers, each neutral, happy, sad and angry, with a manifest."""
    return SAMPLES


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """TensorFlow, imported; some of its own dependencies warn.

    It runs each step at once: to trace a network takes seconds, and the tests that train take only a few steps.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from serctl.learning.backend import import_tensorflow

        import_tensorflow()
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)


@contextmanager
def traced_networks() -> Iterator[None]:
    import tensorflow

    tensorflow.config.run_functions_eagerly(False)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(True)


@pytest.fixture
def traced(tensorflow: None) -> Iterator[None]:
    """Networks are traced before they are trained, as they are outside of the tests."""
    with traced_networks():
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all worker processes of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def made_once(shared_folder: Path) -> MadeOnce:
    """Makes a folder by a function in the first worker process that asks for it; the others wait and use it."""

    def find(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared_folder / "made-once" / name / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (shared_folder / "made-once" / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                make(folder)
        return folder

    return find


@pytest.fixture(scope="session")
def shared_cache(shared_folder: Path) -> Cache:
    """A cache for the tests that train, which would otherwise compute the same features again and again."""
    from serctl.cache import Cache

    return Cache(shared_folder / "shared-cache")


@pytest.fixture(scope="session")
def tiny_options() -> TrainOptions:
    """The smallest training that has all of its parts."""
    from serctl.learning.options import Augmentation, FitOptions
    from serctl.verbs.train import TrainOptions

    return TrainOptions(
        architecture="hybrid",
        fit=FitOptions(epochs=2, batch_size=4, seed=3),
        augmentation=Augmentation(copies=1, seed=3),
        validation_share=0.25,
        licence="CC0-1.0",
        command="serctl train sample_audio",
    )


@pytest.fixture(scope="session")
def tiny_bundle(
    samples: Path, shared_cache: Cache, tiny_options: TrainOptions, made_once: MadeOnce, tensorflow: None
) -> Bundle:
    """A model trained on the sample recordings by the real pipeline; never to be changed."""
    from serctl.verbs.train import train

    def make(folder: Path) -> None:
        with traced_networks():
            train([samples], output=folder, options=tiny_options, run=Run(shared_cache, jobs=1))

    return load_bundle(made_once("tiny", make))


@pytest.fixture
def onnx_folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """The bundle of a model in ONNX, whose network is none."""
    cost = Cost(1, 1.0)
    export = ExportFacts(
        format="onnx",
        quantize="none",
        source="tiny",
        source_digest="0" * 8,
        created="2026-01-01T00:00:00+00:00",
        parity=Parity(1, "one window", 0.0, 0.0, 1.0, before=cost, after=cost),
    )
    folder = tmp_path / "onnx"
    folder.mkdir()
    write_bundle(
        folder,
        replace(tiny_bundle.facts, export=export),
        model=b"network",
        weights=[],
        normaliser=tiny_bundle.normaliser,
        training=[],
        card="",
    )
    return folder


@pytest.fixture
def manifest(samples: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a manifest of sample recordings, each with the emotion of its name, or all with the columns given."""

    def write(*names: str, **columns: str) -> Path:
        rows = []
        for name in names:
            (path,) = samples.glob(f"{name}.*")
            speaker, emotion = name.split("-")
            rows.append({"path": str(path), "emotion": emotion, "speaker": speaker, **columns})
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        path = tmp_path / "corpus.csv"
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture(scope="session")
def small_bundle(samples: Path, shared_cache: Cache, made_once: MadeOnce, tensorflow: None) -> Callable[..., Bundle]:
    """Trains a model of an architecture for one epoch, by the real pipeline; never to be changed."""
    from serctl.learning.options import Augmentation, FitOptions, LabelOptions
    from serctl.verbs.train import TrainOptions, train

    def make(architecture: str, *classes: str) -> Bundle:
        options = TrainOptions(
            architecture=architecture,
            labels=LabelOptions(classes),
            fit=FitOptions(epochs=1, batch_size=4, seed=3),
            augmentation=Augmentation(copies=0),
            validation_share=0.25,
            licence="CC0-1.0",
            learning_curve=architecture == "mfcc",
        )
        run = Run(shared_cache, jobs=1)
        return load_bundle(
            made_once(
                "-".join((architecture, *classes)),
                lambda folder: train([samples], output=folder, options=options, run=run),
            )
        )

    return make


@pytest.fixture(scope="session")
def mfcc_bundle(small_bundle: Callable[..., Bundle]) -> Bundle:
    """A model that is quickly trained, of the four emotions; never to be changed."""
    return small_bundle("mfcc")


@pytest.fixture(scope="session")
def languages_bundle(small_bundle: Callable[..., Bundle]) -> Bundle:
    """A model that tells languages apart, English among them, of happy and sad; never to be changed."""
    return small_bundle("shared_private", "happy", "sad")


@pytest.fixture(scope="session")
def causal_network(tensorflow: None) -> Callable[[ModelSpec], Any]:
    """Builds a causal network whose answers differ from step to step, with weights that float16 holds exactly."""
    import keras
    import numpy as np

    from serctl.models import build

    def make(spec: ModelSpec) -> Any:
        keras.utils.set_random_seed(1)
        rng = np.random.default_rng(1)
        model = build("lstm", spec)
        for variable in model.weights:
            layer, name = variable.path.split("/")[0], variable.path.split("/")[-1]
            if name == "moving_variance":
                variable.assign(np.full(variable.shape, 0.999))  # with epsilon 1: nothing to be rounded is folded in
            elif layer in ("step_answer", "step_recurrence") and name == "kernel":
                variable.assign(4 * np.asarray(variable.value))
            elif name in ("bias", "beta"):
                variable.assign(rng.normal(0, 0.2, variable.shape))
            variable.assign(np.asarray(variable.value, np.float16))
        return keras.Model(model.inputs, dict(zip(model.output_names, model.outputs, strict=True)))

    return make


@pytest.fixture(scope="session")
def live_bundle(mfcc_bundle: Bundle, causal_network: Callable[[ModelSpec], Any], made_once: MadeOnce) -> Bundle:
    """A bundle for streams, of the four emotions, with that network's step; never to be changed."""
    from serctl.export.convert import step_to_litert

    facts = mfcc_bundle.facts
    spec = ModelSpec(facts.n_frames, facts.features.n_mels, (), len(facts.labels), causal=True)

    def make(folder: Path) -> None:
        with atomic_folder(folder) as draft:
            write_bundle(
                draft,
                replace(facts, name="live", temperature=1.0),
                model=mfcc_bundle.model_path.read_bytes(),
                weights=[],
                normaliser=mfcc_bundle.normaliser,
                training=[],
                card="",
                step=step_to_litert("lstm", causal_network(spec), spec),
            )

    return load_bundle(made_once("live", make))


@pytest.fixture(scope="session")
def speech(samples: Path) -> NDArray[np.float32]:
    """Two seconds of a sample recording; float32, mono, 16 kHz."""
    from serctl.audio.segments import read_audio

    return read_audio(samples / "emma-happy.flac", sample_rate=16_000)[: 2 * 16_000]


# Models with random weights but for the last layer, which makes them sure of themselves: what an export must keep.

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
    tiny_bundle: Bundle, recordings: list[Path], windows: list[Features], made_once: MadeOnce
) -> Callable[..., Bundle]:
    """Makes a bundle of an architecture that knows the emotions of the sample recordings by heart.

    Its weights are random but for two things. Batch normalisation is that of the windows: without it the windows would
    be all the same to the network. The last layer is a ridge regression onto the emotions, so that no answer is a
    close call, which the rounding of one processor or another would decide.
    """
    import keras

    from serctl.export.convert import to_litert
    from serctl.learning.fit import restore
    from serctl.models import build

    facts = tiny_bundle.facts
    emotions = [facts.labels.index(path.stem.split("-")[1]) for path in recordings]
    wanted = HEAD_GAIN * (np.eye(len(facts.labels))[emotions] - 1 / len(facts.labels))

    def write(folder: Path, architecture: str) -> None:
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
        network = restore(architecture, spec, model.get_weights())
        with atomic_folder(folder) as draft:
            write_bundle(
                draft,
                replace(facts, name=architecture, architecture=architecture, languages=languages, temperature=1.0),
                model=to_litert(network, n_frames=facts.n_frames),
                weights=model.get_weights(),
                normaliser=tiny_bundle.normaliser,
                training=tiny_bundle.training_list(),
                card="",
            )

    def make(architecture: str) -> Bundle:
        return load_bundle(made_once(f"opinionated-{architecture}", lambda folder: write(folder, architecture)))

    return make


@pytest.fixture(scope="session")
def separable(opinionated: Callable[..., Bundle]) -> Bundle:
    """The one for small devices; never to be changed."""
    return opinionated("separable-small")
