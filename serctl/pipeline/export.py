"""Export a model: a smaller or portable network out of a bundle, as a bundle, with proof that it says the same."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from serctl.audio import find_recordings
from serctl.bundle import END_TO_END, MODEL, ONNX_MODEL, WEIGHTS, check_new_bundle, write_bundle
from serctl.errors import BundleError, ConfigError
from serctl.features import FeatureReader, cached_windows, functional_names, is_silent
from serctl.models import ModelSpec
from serctl.parallel import Failure, map_unordered
from serctl.pipeline.convert import to_litert, to_onnx
from serctl.pipeline.end_to_end import make_end_to_end
from serctl.pipeline.frontend import check_architecture
from serctl.pipeline.learning import package_versions
from serctl.pipeline.measure import measure_network
from serctl.pipeline.model_card import model_card
from serctl.pipeline.parity import Cost, Parity, check_labels
from serctl.pipeline.progress import Progress, ignore_progress
from serctl.report import atomic_folder
from serctl.runtime import calibrated, network_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import keras

    from serctl.bundle import Bundle, BundleFacts
    from serctl.cache import Cache
    from serctl.features import FeatureConfig, Features
    from serctl.pipeline.convert import Quantize
    from serctl.pipeline.end_to_end import EndToEnd
    from serctl.pipeline.progress import ProgressCallback

T = TypeVar("T")

Format = Literal["litert", "onnx"]

PROOF = "export.json"

CALIBRATION_WINDOWS = 200
"""Most windows that the ranges of int8 are measured on."""

VERIFICATION_WINDOWS = 1_000
"""Most windows that the two networks are compared on."""

LEAST_AGREEMENT = {"none": 0.98, "float16": 0.98, "dynamic": 0.98, "int8": 0.95}
"""Share of equal labels below which an export fails, where nothing else is asked for."""

_LONGER_NAMES = {"none": "float32"}


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a model.

    calibrate: folder or file of recordings that int8 measures its ranges on; None for those the model learned from.
    verify: recordings that the networks are compared on; None for those it was validated on, or else the former.
    min_agreement: least share of equal labels, None for the default of the quantization. with_frontend: add a LiteRT
    model that takes samples; it needs recordings to verify, for the cache holds no samples. name: of the new model,
    empty for the old one's with the quantization. command: for the record.
    Raises ConfigError if they do not fit together.
    """

    format: Format = "litert"
    quantize: Quantize = "float16"
    calibrate: Path | None = None
    verify: Path | None = None
    min_agreement: float | None = None
    with_frontend: bool = False
    name: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        if self.format not in ("litert", "onnx"):
            raise ConfigError(f"expected the format litert or onnx, came {self.format}")
        if self.quantize not in LEAST_AGREEMENT:
            raise ConfigError(f"expected to quantize by one of {', '.join(LEAST_AGREEMENT)}, came {self.quantize}")
        if self.format == "onnx" and self.quantize != "none":
            raise ConfigError(f"an ONNX model is exported in float32: expected --quantize none, came {self.quantize}")
        if self.with_frontend and self.format != "litert":
            raise ConfigError("the front end travels with a LiteRT model: expected --format litert, came onnx")
        if self.with_frontend and self.verify is None:
            raise ConfigError(
                "--with-frontend compares the new model with Python from samples on, which the feature cache does not "
                "hold: --verify DIR names recordings like those that the model will hear"
            )
        if not 0 <= self.least_agreement <= 1:
            raise ConfigError(f"expected a share of equal labels between 0 and 1, came {self.min_agreement}")

    @property
    def least_agreement(self) -> float:
        """Share of equal labels below which the export fails."""
        return LEAST_AGREEMENT[self.quantize] if self.min_agreement is None else self.min_agreement

    @property
    def suffix(self) -> str:
        """What the name of the model gets."""
        return "onnx" if self.format == "onnx" else _LONGER_NAMES.get(self.quantize, self.quantize)


@dataclass(frozen=True)
class Material:
    """Windows of speech to calibrate or to verify with, the language of each, where they come from, what failed."""

    windows: tuple[Features, ...]
    languages: tuple[str | None, ...]
    source: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportResult:
    """A finished export; end_to_end: of that model, if asked for; problems: recordings that could not be used."""

    folder: Path
    facts: BundleFacts
    parity: Parity
    end_to_end: Parity | None
    problems: tuple[str, ...]


def export(
    model: Bundle,
    *,
    output: Path,
    options: ExportOptions,
    cache: Cache | None = None,
    jobs: int = -1,
    overwrite: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> ExportResult:
    """Convert the network of a bundle and write a new bundle to the folder output, which appears only when it is whole.

    cache: of features, which may still hold those of the recordings that the model learned from.
    Raises DisagreementError if too few labels are equal or probabilities differ too much, ConfigError if there is
    nothing to calibrate or to verify with, the architecture cannot travel with its front end or the output cannot be
    written or is the model itself, BundleError if the bundle holds no weights to start from.
    """
    if output.resolve() == model.folder.resolve():
        raise ConfigError(f"{output} is the model itself, whose weights no copy holds: choose another -o")
    check_new_bundle(output, overwrite=overwrite)
    if options.with_frontend:
        check_architecture(model.facts.architecture)
    original = _rebuild(model)
    gather = partial(_gather, model=model, cache=cache, jobs=jobs, progress=progress)
    calibration, verification = _materials(options, gather)
    network = _convert(original, model, options, calibration)
    parity = _compare(model, network, options, verification)
    check_labels(parity, options.least_agreement, of=model.identity)
    end_to_end = _end_to_end(original, model, options)
    facts = _facts(model, options, parity, calibration, end_to_end)
    _write(output, model, facts, network, end_to_end)
    problems = dict.fromkeys((*(calibration.problems if calibration else ()), *verification.problems))
    return ExportResult(output, facts, parity, end_to_end.parity if end_to_end else None, tuple(problems))


def _rebuild(model: Bundle) -> keras.Model:
    """The Keras network that training made."""
    from serctl.models.fitting import restore

    if not (model.folder / WEIGHTS).exists():
        raise BundleError(
            f"{model.identity} holds no {WEIGHTS} to start from: it was exported, or trained before they were kept; "
            "export the model it comes from, or train it again"
        )
    facts = model.facts
    spec = ModelSpec(
        n_frames=facts.n_frames,
        n_mels=facts.features.n_mels,
        functionals=functional_names(facts.features),
        n_classes=len(facts.labels),
        languages=facts.languages,
        causal=model.causal,
    )
    try:
        return restore(facts.architecture, spec, model.weights())
    except ValueError as error:
        raise BundleError(
            f"{model.folder / WEIGHTS}: not the weights of this version's {facts.architecture}: train the model again, "
            "or export it with the version of serctl that trained it"
        ) from error


def _materials(options: ExportOptions, gather: Callable[..., Material]) -> tuple[Material | None, Material]:
    """What to calibrate with, where that is needed, and what to verify with."""
    calibration = None
    if options.quantize == "int8" or options.calibrate:
        calibration = gather(options.calibrate, part="train", most=CALIBRATION_WINDOWS)
        _require(calibration, "--calibrate", "int8 measures the ranges of the network on recordings")
    verification = gather(options.verify, part="validation", most=VERIFICATION_WINDOWS)
    if not verification.windows and not options.verify:
        verification = calibration or gather(None, part="train", most=VERIFICATION_WINDOWS)
    _require(verification, "--verify", "the exported network is compared with the old one on recordings")
    return calibration, verification


def _require(material: Material, option: str, purpose: str) -> None:
    if not material.windows:
        problem = f"; {material.problems[0]}" if material.problems else ""
        raise ConfigError(
            f"{purpose}, and there is no speech in {material.source}{problem}: {option} DIR names recordings like "
            "those that the model will hear"
        )


def _gather(
    place: Path | None,
    *,
    part: str,
    most: int,
    model: Bundle,
    cache: Cache | None,
    jobs: int,
    progress: ProgressCallback,
) -> Material:
    """Windows with speech from recordings in a place, or from what the cache holds of a part of the training list."""
    config = model.facts.features
    problems: list[str] = []
    if place is None:
        windows = _cached(model, part, cache) if cache else iter(())
        source = f"the feature cache (the {part} part of the training list)"
    else:
        recordings = [recording.path for recording in find_recordings([place])]
        windows = _computed(_shuffled(recordings)[:most], config, cache, jobs, progress, problems)
        source = str(place)
    chosen = tuple(itertools.islice((window for window in windows if not is_silent(window.functionals, config)), most))
    # Each language in turn, and none: every adapter is measured.
    languages = itertools.islice(itertools.cycle((*model.facts.languages, None)), len(chosen))
    return Material(chosen, tuple(languages), source, tuple(problems))


def _cached(model: Bundle, part: str, cache: Cache) -> Iterator[Features]:
    config = model.facts.features
    for entry in _shuffled([entry for entry in model.training_list() if entry.part == part]):
        # Of a part of a recording, the training list notes where it starts and ends: digest@start-end.
        digest, _, span = entry.digest.partition("@")
        start_s, _, end_s = span.partition("-")
        look_up = partial(
            cached_windows, digest, cache=cache, start_s=float(start_s or 0), end_s=float(end_s or 0) or None
        )
        # Of a student, what was cached may hold what only its teacher hears.
        found = look_up(config) or look_up(replace(config, voice_encoder=True))
        yield from (window.features for window in found)


def _computed(
    paths: Sequence[Path],
    config: FeatureConfig,
    cache: Cache | None,
    jobs: int,
    progress: ProgressCallback,
    problems: list[str],
) -> Iterator[Features]:
    """The windows of every recording that can be read; what is wrong with the others is added to the problems."""
    found: dict[int, tuple[Features, ...]] = {}
    results = map_unordered(partial(_features, config=config, cache=cache), paths, jobs=jobs)
    for done, (index, result) in enumerate(results, start=1):
        if isinstance(result, Failure):
            problems.append(result.message)
        else:
            found[index] = result
        progress(Progress(done, len(paths), len(problems)))
    return itertools.chain.from_iterable(found[index] for index in sorted(found))


def _features(path: Path, *, config: FeatureConfig, cache: Cache | None) -> tuple[Features, ...]:
    """The windows of one recording; runs in a worker process."""
    return tuple(window.features for window in FeatureReader(path, config, cache=cache))


def _shuffled(items: Sequence[T]) -> list[T]:
    """In an order that mixes corpora, speakers and emotions, always the same."""
    return [items[index] for index in np.random.default_rng(0).permutation(len(items))]


def _convert(original: keras.Model, model: Bundle, options: ExportOptions, calibration: Material | None) -> bytes:
    n_frames = model.facts.n_frames
    if options.format == "onnx":
        return to_onnx(original, n_frames=n_frames)
    inputs = network_inputs(model, calibration.windows, calibration.languages) if calibration else None
    return to_litert(original, n_frames=n_frames, quantize=options.quantize, representative=inputs)


def _compare(model: Bundle, network: bytes, options: ExportOptions, material: Material) -> Parity:
    """Both networks on the same windows, each in a process of its own."""
    inputs = network_inputs(model, material.windows, material.languages)
    before = measure_network(model.model_path, inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (ONNX_MODEL if options.format == "onnx" else MODEL)
        path.write_bytes(network)
        after = measure_network(path, inputs)
    window_s = model.facts.n_frames * model.facts.features.hop_s
    return Parity.of(
        calibrated(before.probabilities, model.facts.temperature),
        calibrated(after.probabilities, model.facts.temperature),
        source=material.source,
        before=Cost.of(before, size_bytes=model.model_path.stat().st_size, window_s=window_s),
        after=Cost.of(after, size_bytes=len(network), window_s=window_s),
    )


def _end_to_end(original: keras.Model, model: Bundle, options: ExportOptions) -> EndToEnd | None:
    if not options.with_frontend or options.verify is None:
        return None
    return make_end_to_end(
        original,
        model,
        quantize=options.quantize,
        recordings=_shuffled([recording.path for recording in find_recordings([options.verify])]),
        source=str(options.verify),
        least_agreement=options.least_agreement,
    )


def _facts(
    model: Bundle, options: ExportOptions, parity: Parity, calibration: Material | None, end_to_end: EndToEnd | None
) -> BundleFacts:
    made = {
        "format": options.format,
        "quantize": options.quantize,
        "source": model.identity,
        "source_digest": model.digest,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": options.command,
        "packages": package_versions(),
        "calibration": {"source": calibration.source, "windows": len(calibration.windows)} if calibration else None,
        "parity": asdict(parity),
        "end_to_end": end_to_end.facts if end_to_end else None,
    }
    return replace(model.facts, name=options.name or f"{model.facts.name}-{options.suffix}", export=made)


def _write(output: Path, model: Bundle, facts: BundleFacts, network: bytes, end_to_end: EndToEnd | None) -> None:
    with atomic_folder(output) as draft:
        (draft / PROOF).write_text(json.dumps(facts.export, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if end_to_end:
            (draft / END_TO_END).write_bytes(end_to_end.content)
        write_bundle(
            draft,
            facts,
            model=network,
            weights=[],
            normaliser=model.normaliser,
            training=model.training_list(),
            card=model_card(facts),
            # A stream's step is small and quick as it is: it goes along unchanged.
            step=model.step_path.read_bytes() if model.causal else None,
        )
