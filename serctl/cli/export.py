"""`serctl export`: a smaller or portable copy of a model, with proof that it says the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from serctl.cli._app import (
    EXIT_CRASHED,
    CacheDirOption,
    JobsOption,
    NoCacheOption,
    OverwriteOption,
    QuietOption,
    app,
    console,
    open_cache,
    progress_bar,
)
from serctl.cli._learning import print_problems
from serctl.cli.train import command_line, import_tensorflow
from serctl.extras import require_extra

if TYPE_CHECKING:
    from serctl.export.parity import Parity
    from serctl.verbs.export import ExportResult


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="The model to export, as `train` wrote it: a bundle's folder, or serctl-base.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to write.")],
    output_format: Annotated[
        Literal["litert", "onnx"],
        typer.Option("--format", help="Format of the network; onnx needs pip install 'serctl[onnx]'."),
    ] = "litert",
    quantize: Annotated[
        Optional[Literal["none", "float16", "dynamic", "int8"]],  # noqa: UP045 - typer reads this on Python 3.10
        typer.Option(
            help="none: float32. float16: half of that. dynamic: weights in int8. int8: arithmetic in int8 as well. "
            "Default: float16; none for onnx.",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads this at run time on Python 3.10
        typer.Option(
            help="Recordings that int8 measures its ranges on. Default: those the model learned from, as far as their "
            "features are cached.",
            metavar="DIR",
        ),
    ] = None,
    verify: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Recordings that the old and the new model are compared on. Default: those the model was validated "
            "on, as far as their features are cached, or else those of --calibrate.",
            metavar="DIR",
        ),
    ] = None,
    min_agreement: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0,
            max=1,
            help="Fail below this share (0 to 1) of equal labels. Default: 0.98, for int8 0.95.",
            show_default=False,
        ),
    ] = None,
    with_frontend: Annotated[
        bool,
        typer.Option(
            "--with-frontend",
            help="Add end_to_end.tflite: samples in, calibrated probabilities out, for devices without Python; of cnn, "
            "resnet, lstm, separable, separable-small and cnn-large models. Its network has float32 weights; with "
            "dynamic and int8, int8 weights. It is compared with Python on the recordings of --verify.",
        ),
    ] = False,
    name: Annotated[
        str, typer.Option(help="Name of the new model. Default: the old one's with the quantization.")
    ] = "",
    jobs: JobsOption = -1,
    cache_dir: CacheDirOption = None,
    no_cache: NoCacheOption = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a smaller or portable copy of a model, as a bundle that `serctl predict --model` runs.

    The copy is compared with the original: probabilities, labels, size, speed and memory are shown and kept in
    export.json. Exit code 1, and nothing written, if too few labels are equal or, with --with-frontend, probabilities
    differ from those of Python by more than 0.001 (int8 weights: too few labels are equal).

    Example: serctl export ./my-model -o ./my-model-int8 --quantize int8 --verify ./recordings
    """
    require_extra("train", "export")
    if output_format == "onnx":
        require_extra("onnx", "export to ONNX")
    from serctl.bundle.store import load_bundle

    bundle = load_bundle(model)
    import_tensorflow()
    from serctl.errors import DisagreementError
    from serctl.export.options import ExportOptions
    from serctl.run import Run
    from serctl.verbs import export as verb

    options = ExportOptions(
        format=output_format,
        quantize=quantize or ("none" if output_format == "onnx" else "float16"),
        calibrate=calibrate,
        verify=verify,
        min_agreement=min_agreement,
        with_frontend=with_frontend,
        name=name,
        command=command_line(),
    )
    cache = open_cache(cache_dir, no_cache=no_cache)
    try:
        with progress_bar("Extracting", quiet=quiet) as progress:
            result = verb.export(
                bundle,
                output=output,
                options=options,
                run=Run(cache, jobs, overwrite=overwrite, progress=progress),
            )
    except DisagreementError as error:
        _print_parity(error.parity, end_to_end=error.end_to_end)
        console().print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(EXIT_CRASHED) from error
    print_problems(result.problems, quiet=quiet)
    if not quiet:
        _print_result(result)


def _print_result(result: ExportResult) -> None:
    _print_parity(result.parity)
    if result.end_to_end:
        _print_parity(result.end_to_end, end_to_end=True)
    out = console()
    out.print(f"model: {result.folder}", markup=False)
    out.print(f"next: serctl predict RECORDINGS --model {shlex.quote(str(result.folder))}", markup=False)


def _print_parity(parity: Parity, *, end_to_end: bool = False) -> None:
    from rich.table import Table

    from serctl.bundle.facts import END_TO_END

    grid = Table(box=None, pad_edge=False, header_style="bold")
    titles = ("Python + network", END_TO_END) if end_to_end else ("before", "after")
    for title in ("", *titles):
        grid.add_column(title, justify="right" if title else "left")
    costs = (parity.before, parity.after)
    grid.add_row("file" if end_to_end else "network", *(f"{cost.size_bytes / 1e3:,.0f} KB" for cost in costs))
    timed = "samples to probabilities" if end_to_end else "network alone"
    grid.add_row(f"{timed}, for 1 s of audio", *(f"{cost.ms_per_audio_s:.3f} ms" for cost in costs))
    grid.add_row("peak memory of a process", *(_memory(cost.peak_memory_mb) for cost in costs))
    grid.add_row("  before it loads the network", *(_memory(cost.idle_memory_mb) for cost in costs))
    out = console()
    out.print(grid)
    out.print(
        f"On {parity.windows:,} windows of {parity.source}: {100 * parity.equal_labels:.1f} % of the labels are equal, "
        f"probabilities differ by at most {parity.largest_difference:.4f}, {parity.mean_difference:.5f} on average",
        markup=False,
    )
    if parity.labels == 1:
        out.print(
            "All of these windows have the same label, which proves little: name other recordings with --verify DIR, "
            "or train for longer",
            style="yellow",
            markup=False,
        )


def _memory(megabytes: float | None) -> str:
    return "not known" if megabytes is None else f"{megabytes:.1f} MB"
