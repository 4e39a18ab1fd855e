"""`serctl explain` on a second of a sample recording: page, JSON, picture, and what can go wrong."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import serctl as library
from serctl.audio.find import Recording
from serctl.bundle.store import load_bundle
from serctl.explanation.options import ExplainOptions
from serctl.explanation.page import make_page
from serctl.explanation.recording import follow
from serctl.run import Run
from serctl.runtime.recogniser import Recogniser
from serctl.verbs import explain as verb

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serctl

NASTY = '<script>alert("x")<script>&\udcff.wav'


class Reader(HTMLParser):
    """Every tag with its attributes, and the text outside style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A second of speech under a nasty name, silence, and what is no recording."""
    folder = tmp_path_factory.mktemp("explain")
    voice, rate = soundfile.read(samples / "emma-angry.wav", frames=18_000)
    soundfile.write(folder / "voice.wav", voice, rate)
    (folder / "nasty").mkdir()
    shutil.copy(folder / "voice.wav", folder / "nasty" / NASTY)
    soundfile.write(folder / "silence.wav", np.zeros(rate), rate)
    return folder


@pytest.fixture(scope="module")
def explained(folder: Path) -> verb.Explained:
    recordings = [Recording(path) for path in (folder / "nasty").iterdir()] + [Recording(folder / "silence.wav")]
    return verb.explain(recordings, model=load_bundle("serctl-base"), run=Run(jobs=1))


def test_the_parts_add_up(explained: verb.Explained) -> None:
    (found,) = explained.explanations
    assert sum(found.importance) == pytest.approx(found.probability - found.hidden_probability, abs=1e-5)
    assert len(found.edges_s) == len(found.importance) + 1
    assert np.shape(found.band_importance) == (len(found.edges_hz) - 1, len(found.importance))
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.answer == found.emotion == found.window_answer


def test_an_explanation_is_the_same_again_and_through_the_library(folder: Path) -> None:
    again = library.explain(folder / "voice.wav", model="serctl-live")
    assert again == library.explain(folder / "voice.wav", model=library.load_model("serctl-live"))
    assert again.answer == library.load_model("serctl-live").predict(folder / "voice.wav").emotion
    assert again.contributions is None


def test_what_holds_no_speech_fails_alone(explained: verb.Explained) -> None:
    ((path, error),) = explained.failures
    assert path.endswith("silence.wav")
    assert "holds no speech" in error


def test_the_page_is_complete_and_harmless(explained: verb.Explained) -> None:
    page = Reader(verb.as_page(explained))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert not {"img", "link", "iframe", "audio", "object"} & set(tags)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "src"]
    assert "url(" not in page.text
    assert "http" not in page.text.replace("http-equiv", "")
    assert "<script>" in page.text
    assert all(attributes["aria-label"] for tag, attributes in page.tags if tag == "svg")
    assert len(verb.as_page(explained)) < 60_000
    assert "holds no speech" in page.text
    assert "How to read this page" in page.text


def test_attention_is_shown_where_a_network_keeps_it(explained: verb.Explained) -> None:
    (without,) = explained.explanations
    assert "Where the network looks" not in make_page([without])
    assert "Where the network looks" in make_page(
        [replace(without, attention_edges_s=(0, 0.5, 1), attention=(0.2, 0.8))]
    )


def test_json_holds_every_number(explained: verb.Explained) -> None:
    content: dict[str, Any] = json.loads(verb.as_json(explained))
    (one,) = content["explanations"]
    assert set(one) == set(type(explained.explanations[0]).__dataclass_fields__)
    assert one["faithfulness"]["random_auc"] == explained.explanations[0].faithfulness.random_auc
    assert content["failures"][0]["path"].endswith("silence.wav")
    assert one["path"].endswith(r"\udcff.wav")


@pytest.mark.drawn
def test_a_picture_is_drawn(explained: verb.Explained, tmp_path: Path) -> None:
    from serctl.explanation.picture import draw

    draw(tmp_path / "why.png", explained.explanations[0])
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_writes_a_page_and_says_what_failed(serctl: Serctl, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    common = ("--model", "serctl-live", "-j", 1, "--no-cache")
    ended = serctl("explain", folder / "voice.wav", folder / "silence.wav", *common, "-o", page)
    assert ended.code == 3
    assert "silence.wav" in ended.stderr
    assert re.search(r"<title>Why voice\.wav</title>", page.read_text(encoding="utf-8"))
    assert serctl("explain", folder / "voice.wav", *common, "-o", page).code == 2
    assert serctl("explain", folder / "silence.wav", *common, "-o", tmp_path / "none.html").code == 4
    assert not (tmp_path / "none.html").exists()


def test_one_speaker_of_a_call_is_explained(serctl: Serctl, folder: Path, tmp_path: Path) -> None:
    voice, rate = soundfile.read(folder / "voice.wav")
    call, one = tmp_path / "call.wav", tmp_path / "one.wav"
    soundfile.write(one, voice[:, 0], rate)
    soundfile.write(call, np.column_stack([np.zeros(len(voice)), voice[:, 0]]), rate)
    common = ("--model", "serctl-live", "-j", 1, "--no-cache")
    (found,) = json.loads(serctl("explain", call, "--channel", 2, *common).stdout)["explanations"]
    alone = follow(one, Recogniser(load_bundle("serctl-live")), ExplainOptions(), None)
    assert (found["channel"], found["confidence"]) == (2, pytest.approx(alone.whole.max()))
    for channel, message in ((1, "holds no speech"), (3, "there is no channel 3")):
        failed = serctl("explain", call, "--channel", channel, *common)
        assert (failed.code, message in failed.stderr) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--emotion", "boredom"), "expected an emotion that the model knows: neutral"),
        (("-o", "why.txt"), r"expected an output ending in \.html, \.json or \.png"),
        (("--at", "-1"), "at"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    serctl: Serctl, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    ended = serctl("explain", folder / "voice.wav", *arguments)
    assert ended.code == 2
    assert re.search(message, ended.stderr)
    assert ended.stdout == ""


def test_a_picture_of_several_recordings_is_refused(serctl: Serctl, folder: Path, tmp_path: Path) -> None:
    ended = serctl("explain", folder, "-o", tmp_path / "why.png")
    assert ended.code == 2
    assert "a picture shows one recording" in ended.stderr


def test_a_recording_too_short_for_speech_fails(folder: Path, tmp_path: Path) -> None:
    voice, rate = soundfile.read(folder / "voice.wav", start=8_000, frames=1_000)
    soundfile.write(tmp_path / "short.wav", voice, rate)
    with pytest.raises(library.SerctlError, match=r"expected at least 0\.1 s of speech"):
        library.explain(tmp_path / "short.wav", model="serctl-live")


def test_a_time_without_speech_fails(folder: Path) -> None:
    with pytest.raises(library.SerctlError, match="expected speech at 9 s, found none; it ends at"):
        library.explain(folder / "voice.wav", model="serctl-live", options=library.ExplainOptions(at_s=9))
