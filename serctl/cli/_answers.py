"""Where predict writes to: a table, a page, or labels, in one file or one for each recording."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click
import typer
from click.core import ParameterSource

from serctl.cli._batch import to_file
from serctl.cli._flags import Given
from serctl.errors import ConfigError
from serctl.verbs.options import PredictOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serctl.audio.find import Recording
    from serctl.bundle.facts import BundleFacts
    from serctl.reports.schema import Table
    from serctl.reports.tables import Writer

PredictionOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Report to write: .csv, .parquet, .jsonl; a page to look at: .html; labels: .srt, .vtt, .TextGrid, .rttm, "
        ".txt (Audacity); or a folder, with --format. Default, or with -: CSV on stdout.",
    ),
]
FormatOption = Annotated[
    Literal["srt", "vtt", "audacity", "textgrid", "rttm"] | None,
    typer.Option("--format", help="Write labels of this format into the folder -o, one file for each recording."),
]
ExcelOption = Annotated[
    bool,
    typer.Option("--excel", help="CSV for Excel: with a byte order mark, and no text that it takes for a formula."),
]
EmbedAudioOption = Annotated[
    bool,
    typer.Option(
        "--embed-audio", help="Put the recordings into the page, as MP3 at 16 kHz; otherwise it links to them."
    ),
]

_PAGE = ".html"


class Target:
    """Where the answers go.

    Args:
        given: what was typed.
        output: -o.
        form: --format.
        excel: --excel.
        embed_audio: --embed-audio.
        facts: of the model.

    Attributes:
        report: the file of all recordings; None without one.
        options: those of the prediction: per segment for a page and for labels, or per window for numbers, unless
            something else was asked for, and with novelty for a page, where the model can tell it.

    Raises:
        ConfigError: they do not go together, or labels are asked for of a model of numbers.
    """

    def __init__(
        self,
        given: Given,
        output: Path | None,
        *,
        form: str | None,
        excel: bool,
        embed_audio: bool,
        facts: BundleFacts,
    ) -> None:
        from serctl.reports.labels import LABEL_FORMATS, label_format

        path = to_file(output)
        if form and path is None:
            raise ConfigError("--format writes one file for each recording: expected -o FOLDER with it")
        self._folder = path if form else None
        self.report = None if form else path
        self._form = LABEL_FORMATS[form] if form else label_format(path) if path else None
        self._page = not form and path is not None and path.suffix.lower() == _PAGE
        self._excel, self._embed_audio, self._overwrite = excel, embed_audio, bool(given["overwrite"])
        self._scale = facts.target.scale if facts.target else None
        self.options = self._options(given, tells_novelty=facts.novelty is not None)
        self._check(given)
        if self._form:
            facts.require_emotions("a file of labels")

    def _options(self, given: Given, *, tells_novelty: bool) -> PredictOptions:
        typed = click.get_current_context().get_parameter_source
        changed: dict[str, Any] = {}
        if (self._page or self._form) and typed("per") is ParameterSource.DEFAULT and not given["moments"]:
            changed["per"] = "window" if self._scale else "segment"
        if self._page and typed("novelty") is ParameterSource.DEFAULT:
            changed["novelty"] = tells_novelty
        return given.make(PredictOptions, **changed)

    def _check(self, given: Given) -> None:
        if self.report and not (self._form or self._page):
            from serctl.reports.labels import LABEL_FORMATS
            from serctl.reports.schema import report_format

            report_format(self.report, others=(_PAGE, *(each.suffix for each in LABEL_FORMATS.values())))
        if self._embed_audio and not self._page:
            raise ConfigError("--embed-audio puts recordings into a page: expected -o NAME.html with it")
        if self._excel and not (self.report and self.report.suffix.lower() == ".csv"):
            raise ConfigError("--excel makes CSV for Excel: expected -o NAME.csv with it")
        if self._folder and (given["resume"] or given["update"]):
            raise ConfigError("--resume and --update need one file for all recordings: expected no --format with them")

    def writer(self, recordings: Sequence[Recording]) -> Writer | None:
        """Return what writes the report; None for a table.

        Raises:
            ConfigError: the file cannot hold what is asked for.
        """
        if self.report is None:
            return None
        if self._excel:
            from serctl.reports.tables import write_excel

            return write_excel
        if self._page:
            from serctl.verbs.report import write_prediction

            return partial(write_prediction, output=self.report, embed_audio=self._embed_audio, scale=self._scale)
        if self._form is None:
            return None
        from serctl.verbs.labels import check_single, write_labels

        check_single(recordings, self.report, self._form)
        return partial(write_labels, form=self._form)

    def folder(self, recordings: Sequence[Recording]) -> Callable[[Table], None] | None:
        """Return what writes the labels of a recording into the folder; None if none is asked for."""
        if self._folder is None or self._form is None:
            return None
        from serctl.verbs.labels import LabelFolder

        return LabelFolder(self._folder, recordings, self._form, overwrite=self._overwrite)
