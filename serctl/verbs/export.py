"""Export a model: convert the network of a bundle to a smaller or portable one, and measure how both compare."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from serctl.audio.find import find_recordings
from serctl.bundle.card import model_card
from serctl.bundle.facts import END_TO_END, MODEL, ONNX_MODEL, Calibration, ExportFacts, export_dict
from serctl.bundle.store import check_new_bundle, write_bundle
from serctl.bundle.versions import package_versions
from serctl.errors import ConfigError, Remedy
from serctl.export.convert import to_litert, to_onnx
from serctl.export.end_to_end import make_end_to_end
from serctl.export.frontend import check_architecture
from serctl.export.material import Material, gather, materials, shuffled
from serctl.export.measure import measure_network
from serctl.export.original import rebuild
from serctl.export.parity import check_labels, compare, cost_of
from serctl.files import atomic_folder, claiming
from serctl.models import find_architecture
from serctl.run import Run
from serctl.runtime.recogniser import calibrated, network_inputs

if TYPE_CHECKING:
    import keras

    from serctl.bundle.facts import BundleFacts, Parity
    from serctl.bundle.store import Bundle
    from serctl.export.end_to_end import EndToEnd
    from serctl.export.options import ExportOptions


PROOF = "export.json"


@dataclass(frozen=True)
class ExportResult:
    """A finished export.

    Attributes:
        folder: of the new bundle.
        facts: of the new bundle.
        parity: how its network compares with the original.
        end_to_end: how the model with its front end compares; None if it was not asked for.
        problems: recordings that could not be used.
        causal: whether the model can follow a stream.
    """

    folder: Path
    facts: BundleFacts
    parity: Parity
    end_to_end: Parity | None
    problems: tuple[str, ...]
    causal: bool


@claiming
def export(
    model: Bundle,
    *,
    output: Path,
    options: ExportOptions,
    run: Run | None = None,
) -> ExportResult:
    """Convert the network of a bundle and write it as a new bundle.

    Args:
        model: the bundle.
        output: folder of the new bundle; it appears when it is complete.
        options: format, quantisation, and the recordings to calibrate and verify with.
        run: workers and cache, which may still hold the features of the training recordings.

    Returns:
        The facts of the new bundle, and how both networks compare.

    Raises:
        DisagreementError: too few labels are equal, or probabilities differ too much.
        ConfigError: there is nothing to calibrate or to verify with, the architecture cannot be exported with its front
            end, or the output cannot be written or is the model itself.
        BundleError: the bundle holds no weights to start from.
    """
    if output.resolve() == model.folder.resolve():
        raise ConfigError(f"{output} is the model itself, whose weights no copy holds", Remedy.OTHER_OUTPUT)
    run = run or Run()
    check_new_bundle(output, overwrite=run.overwrite)
    if options.with_frontend:
        model.facts.require_emotions("a model with its front end")
        check_architecture(model.facts.architecture)
    original = rebuild(model)
    find = partial(gather, model=model, run=run)
    calibration, verification = materials(options, find)
    network = _convert(original, model, options, calibration)
    parity = _compare(model, network, options, verification)
    check_labels(parity, options.least_agreement, of=model.identity)
    end_to_end = _end_to_end(original, model, options)
    facts = _facts(model, options, parity, calibration, end_to_end)
    _write(output, model, facts, network, end_to_end)
    problems = dict.fromkeys((*(calibration.problems if calibration else ()), *verification.problems))
    parity_end_to_end = end_to_end.parity if end_to_end else None
    return ExportResult(output, facts, parity, parity_end_to_end, tuple(problems), model.causal)


def _convert(original: keras.Model, model: Bundle, options: ExportOptions, calibration: Material | None) -> bytes:
    n_frames = model.facts.n_frames
    if options.format == "onnx":
        return to_onnx(original, n_frames=n_frames)
    inputs = network_inputs(model, calibration.windows, calibration.languages) if calibration else None
    return to_litert(
        original,
        n_frames=n_frames,
        quantize=options.quantize,
        representative=inputs,
        left_in_float=find_architecture(model.facts.architecture).left_in_float,
    )


def _compare(model: Bundle, network: bytes, options: ExportOptions, material: Material) -> Parity:
    """Both networks on the same windows, each in a process of its own."""
    inputs = network_inputs(model, material.windows, material.languages)
    before = measure_network(model.model_path, inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (ONNX_MODEL if options.format == "onnx" else MODEL)
        path.write_bytes(network)
        after = measure_network(path, inputs)
    window_s = model.facts.n_frames * model.facts.features.hop_s
    return compare(
        calibrated(before.probabilities, model.facts.temperature),
        calibrated(after.probabilities, model.facts.temperature),
        source=material.source,
        before=cost_of(before, size_bytes=model.model_path.stat().st_size, window_s=window_s),
        after=cost_of(after, size_bytes=len(network), window_s=window_s),
        scale=model.facts.target.scale if model.facts.target else None,
    )


def _end_to_end(original: keras.Model, model: Bundle, options: ExportOptions) -> EndToEnd | None:
    if not options.with_frontend or options.verify is None:
        return None
    return make_end_to_end(
        original,
        model,
        quantize=options.quantize,
        recordings=shuffled([recording.path for recording in find_recordings([options.verify])]),
        source=str(options.verify),
        least_agreement=options.least_agreement,
    )


def _facts(
    model: Bundle, options: ExportOptions, parity: Parity, calibration: Material | None, end_to_end: EndToEnd | None
) -> BundleFacts:
    made = ExportFacts(
        format=options.format,
        quantize=options.quantize,
        source=model.identity,
        source_digest=model.digest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=options.command,
        packages=package_versions(),
        calibration=Calibration(calibration.source, len(calibration.windows)) if calibration else None,
        parity=parity,
        end_to_end=end_to_end.facts if end_to_end else None,
    )
    return replace(model.facts, name=options.name or f"{model.facts.name}-{options.suffix}", export=made)


def _write(output: Path, model: Bundle, facts: BundleFacts, network: bytes, end_to_end: EndToEnd | None) -> None:
    with atomic_folder(output) as draft:
        proof = json.dumps(export_dict(facts.export), indent=2, ensure_ascii=False)
        (draft / PROOF).write_text(proof + "\n", encoding="utf-8")
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
            novelty=model.novelty if facts.novelty else None,
        )
