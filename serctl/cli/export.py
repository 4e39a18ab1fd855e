"""`serctl export`: a smaller or portable copy of a model, with proof that it says the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli._app import EXIT_CRASHED, QuietOption, app, console, progress_bar
from serctl.cli._flags import Given, command, flags
from serctl.cli._learning import command_line, next_use, print_problems
from serctl.export.options import ExportOptions
from serctl.extras import require_extra

if TYPE_CHECKING:
    from serctl.bundle.facts import Parity
    from serctl.verbs.export import ExportResult


@command(
    app,
    "serctl export ./my-model -o ./my-model-small --verify ./recordings",
    "serctl export ./my-model -o ./my-model-int8 --quantize int8 --verify ./recordings",
    "serctl export ./small -o ./for-device --with-frontend --verify ./recordings",
)
@flags("jobs", "overwrite", "cache", Export=ExportOptions)
def export(
    given: Given,
    model: Annotated[
        str, typer.Argument(help="The model to export, as `train` wrote it: a bundle's folder, or serctl-base.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to write.")],
    quiet: QuietOption = False,
) -> None:
    """Make a smaller or portable copy of a model.

    The copy is a bundle that `serctl predict --model` runs. It is compared with the original: probabilities, labels,
    size, speed and memory are shown and kept in export.json. Exit code 1, and nothing written, if too few labels are
    equal or, with --with-frontend, probabilities differ from those of Python by more than 0.001 (int8 weights: too few
    labels are equal).
    """
    require_extra("train", "export")
    chosen = given.of(ExportOptions)
    if chosen["format"] == "onnx":
        require_extra("onnx", "export to ONNX")
        chosen.setdefault("quantize", "none")
    from serctl.bundle.store import load_bundle
    from serctl.errors import DisagreementError

    bundle = load_bundle(model)
    from serctl.learning.backend import import_tensorflow
    from serctl.verbs import export as verb

    import_tensorflow()
    options = ExportOptions(**chosen, command=command_line())
    try:
        with progress_bar("Extracting", quiet=quiet) as progress:
            result = verb.export(
                bundle,
                output=output,
                options=options,
                run=given.run(progress),
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
    out.print(f"next: serctl {next_use(result.folder, causal=result.causal)}", markup=False)


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
