"""serctl report: its commands, and the short form of one of them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from statistics import mean
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from serctl.bundle.store import load_bundle
from serctl.cli.report import DEFAULT, _Reports
from serctl.reports.summary import FACTS

if TYPE_CHECKING:
    from conftest import Serctl


@pytest.fixture
def group() -> typer.Typer:
    group = typer.Typer(cls=_Reports)

    @group.command(DEFAULT)
    def page(report: Path, output: Annotated[Path, typer.Option("-o")]) -> None:
        typer.echo(f"page {report} {output}")

    @group.command("merge")
    def merge(parts: list[Path]) -> None:
        typer.echo(f"merge {len(parts)}")

    return group


@pytest.mark.parametrize(
    ("words", "done"),
    [
        ("emotions.parquet -o x.html", "page emotions.parquet x.html"),
        ("-o x.html emotions.parquet", "page emotions.parquet x.html"),
        (f"{DEFAULT} emotions.parquet -o x.html", "page emotions.parquet x.html"),
        (f"{DEFAULT} merge -o x.html", "page merge x.html"),
        ("merge a.csv b.csv", "merge 2"),
    ],
)
def test_a_first_word_that_is_no_command_is_a_report_to_show(group: typer.Typer, words: str, done: str) -> None:
    assert CliRunner().invoke(group, words.split(), catch_exceptions=False).stdout.strip() == done


@pytest.fixture
def recordings(samples: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    shutil.copy(samples / "tom-sad.flac", folder / "<b>tom.flac")
    (folder / "broken.wav").write_bytes(b"")
    return folder


def shown(page: Path) -> list[dict[str, Any]]:
    text = re.search(r'id="data">([A-Za-z0-9+/=]*)</script>', page.read_text(encoding="utf-8"))
    assert text
    found: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(text[1])))["recordings"]
    return found


def test_a_prediction_ends_as_a_page(serctl: Serctl, recordings: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = ("-q", "-j", "1", "--window", "1", "-o", str(page))
    assert serctl("predict", str(recordings), *options).code == 3
    tom, broken = shown(page)
    assert (tom["name"], broken["name"]) == ("<b>tom.flac", "broken.wav")
    assert [start for start, *_ in tom["segments"]][1:] == [end for _, end, *_ in tom["segments"]][:-1]
    assert tom["link"] == "./calls/%3Cb%3Etom.flac"
    assert list(FACTS).index("novelty") in [index for index, _ in tom["facts"]]
    assert "is empty" in broken["error"]
    corpora = load_bundle("serctl-base").facts.metrics["left_out"].per_corpus.values()
    assert f"mean UAR {100 * mean(each.uar for each in corpora):.0f} % on {len(corpora)}" in page.read_text()

    assert "exists: --overwrite" in serctl("predict", str(recordings), *options).stderr
    updated = serctl("predict", str(recordings), *options, "--update")
    assert (updated.code, "cannot be updated: expected a table: -o NAME.csv" in updated.stderr) == (2, True)
    resumed = serctl("predict", str(recordings), *options, "--resume")
    assert (resumed.code, resumed.stderr) == (3, "")

    embedded = serctl("predict", str(recordings), *options, "--overwrite", "--per", "window", "--embed-audio")
    assert embedded.code == 3
    (tom, _) = shown(page)
    assert (tom["sound"], len(tom["segments"])) == (0, 3)


def test_a_page_is_made_of_an_earlier_report(serctl: Serctl, recordings: Path, tmp_path: Path) -> None:
    report, page = tmp_path / "report.csv", tmp_path / "page.html"
    serctl("predict", str(recordings), "-q", "-j", "1", "-o", str(report))
    recordings.rename(tmp_path / "moved")
    assert serctl("report", str(report), "-o", str(page)).code == 0
    assert [each["link"] for each in shown(page)] == [None, None]
    words = ("report", str(report), "-o", str(page), "--recordings", str(tmp_path / "moved"))
    assert "exists: --overwrite" in serctl(*words).stderr
    assert serctl(*words, "--overwrite").code == 0
    assert shown(page)[0]["link"] == "./moved/%3Cb%3Etom.flac"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "No such file"),
        ("other.csv", b"a,b\n1,2\n", "is not a report of predict: expected the columns"),
        ("empty.csv", b"", "is not a report of predict"),
        ("broken.jsonl", b"{", "is not a report of predict"),
        ("list.jsonl", b"[1]\n", "is not a report of predict"),
        ("broken.parquet", b"PAR1", "is not a report of predict"),
        ("bytes.csv", b"\xff\xfe\x00", "is not a report of predict"),
        ("report.html", b"", "expected a report ending in .csv, .parquet, .jsonl. Received: "),
    ],
)
def test_what_is_no_report_is_refused(
    serctl: Serctl, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    outcome = serctl("report", str(tmp_path / name), "-o", str(tmp_path / "page.html"))
    assert (outcome.code, message in outcome.stderr) == (2, True), outcome.stderr
    assert not (tmp_path / "page.html").exists()


def test_only_a_page_embeds_recordings(serctl: Serctl, recordings: Path, tmp_path: Path) -> None:
    outcome = serctl("predict", str(recordings), "--embed-audio", "-o", str(tmp_path / "x.csv"))
    assert (outcome.code, "expected -o NAME.html" in outcome.stderr) == (2, True)
