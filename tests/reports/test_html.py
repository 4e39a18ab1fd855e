"""The page of a report: what it says, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import shutil
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from serctl.metrics import reliability_curve, score, score_by
from serctl.metrics.evaluation import EvaluationFacts
from serctl.records import read_record
from serctl.reports.evaluation import write_evaluation_page
from serctl.reports.html import Page, write_page
from serctl.reports.plots import plot_reliability
from serctl.reports.ranges import Ranges
from serctl.reports.summary import summarise
from serctl.verbs.report import _address, _find, make_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

pytestmark = pytest.mark.drawn

LABELS = ("neutral", "happy", "angry")
SCRIPT = "<script>alert(1)</script>"


def row(path: str, start: float = 0, emotion: str = "happy", confidence: float = 0.8, **more: Any) -> dict[str, Any]:
    rest = (1 - confidence) / 2
    shares = {f"p_{label}": confidence if label == emotion else rest for label in LABELS}
    facts = {"status": "ok", "error": None, "notes": None, "duration": 4.0, "snr_db": 30.0, "clipping": 0.0}
    return {"path": path, "start": start, "end": start + 2, "emotion": emotion, "confidence": confidence, **shares} | (
        facts | {"model": "my-model@12345678"} | more
    )


def failed(path: str, error: str) -> dict[str, Any]:
    return dict.fromkeys(row("x")) | {"path": path, "status": "error", "error": error}


ROWS = [
    *(row("calls/a.wav", 0, "happy"), row("calls/a.wav", 2, "angry", 0.9)),
    row(f"calls/{SCRIPT} & 'b'.wav", 0, "neutral", snr_db=3.0, notes=SCRIPT),
    row("calls/c.wav", 0, "no-speech", float("nan")),
    failed("calls/broken.wav", f"'{SCRIPT}' is empty (0 bytes)"),
    row("calls/take10.wav", emotion="angry", confidence=0.5),
    row("calls/take2.wav", emotion="angry", confidence=0.6, end=3.0),
]


def packed(page: Path) -> dict[str, Any]:
    text = re.search(r'id="data">([A-Za-z0-9+/=]*)</script>', page.read_text(encoding="utf-8"))
    assert text
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text[1])))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A page beside the first of its recordings, which it links to; it embeds none."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "calls").mkdir()
    samples_of_call, rate = soundfile.read(samples / "tom-sad.flac")
    soundfile.write(folder / "calls" / "a.wav", samples_of_call, rate)
    path = folder / "report.html"
    write_page(
        path,
        ROWS,
        Page(
            (("Model", SCRIPT),),
            (f"Limit {SCRIPT}",),
            lambda name: "./calls/a.wav" if "a.wav" in name else None,
            model="serctl-fast",
        ),
    )
    return path


def test_the_page_is_small_and_names_no_other_place(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text) < 60_000
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)


def test_totals_and_shares_are_those_of_the_rows() -> None:
    summary = summarise(ROWS)
    assert dict(summary.totals) == {
        "With a result": "5",
        "Failed": "1",
        "Clipped or noisy": "1",
        "Length": "0.3 min",
    }
    assert summary.shares == pytest.approx({"neutral": 2 / 11, "happy": 2 / 11, "angry": 7 / 11})
    assert summary.emotions == [*LABELS, "no-speech"]
    assert summary.course_title == "Emotions in the order of the recordings"
    first = summary.recordings[0]
    assert (first.name, summary.emotions[first.emotion or 0], first.confidence) == ("a.wav", "angry", 0.5)
    assert first.segments == ((0, 2, 1, 0.8), (2, 4, 2, 0.9))


CHECKED = {"clipping": 0.0, "snr_db": 30.0, "bandwidth_hz": 8000.0, "silence": 0.1, "novelty": 0.99}


@pytest.mark.parametrize(
    ("columns", "total", "unchecked", "head"),
    [
        (5, ("With a warning", "1"), None, "Warnings"),
        (4, ("Clipped, noisy, narrow band or mostly silent", "0"), "unlike training (novelty).", "Warnings"),
        (
            1,
            ("Clipped", "0"),
            "noisy (snr_db), narrow band (bandwidth_hz), mostly silent (silence), unlike",
            "Warnings",
        ),
        (0, None, "clipped (clipping), noisy (snr_db), narrow band", "Errors"),
    ],
)
@pytest.mark.parametrize("absent", ["column", "value"])
def test_a_warning_that_cannot_be_told_is_not_counted_as_none(
    tmp_path: Path, columns: int, total: tuple[str, str] | None, unchecked: str | None, head: str, absent: str
) -> None:
    values = dict(list(CHECKED.items())[:columns])
    empty = dict.fromkeys(CHECKED, float("nan")) if absent == "value" else {}
    one = {name: value for name, value in row("a.wav").items() if name not in CHECKED}
    rows = [{**one, **empty, **values}, failed("broken.wav", "empty")]
    known = ("With a result", "Failed", "Length")
    assert [each for each in summarise(rows).totals if each[0] not in known] == ([total] if total else [])
    write_page(tmp_path / "page.html", rows, Page())
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    sentence = (
        f"Not checked, because the report does not have these values: {unchecked}" if unchecked else "Not checked"
    )
    assert text.count(sentence) == (2 if unchecked else 0)  # with the totals, and with the table
    assert (f">{head}</button>" in text, ">with a warning<" in text) == (True, columns > 0)


def test_a_report_of_failures_alone_has_nothing_to_check() -> None:
    assert summarise([failed("broken.wav", "empty")]).unchecked == []


def test_the_hour_is_taken_from_the_names() -> None:
    names = ["2026-11-27T08-30.wav", "call 20261127_0915 b.wav", "2026-11-27 08.59.mp3"]
    summary = summarise([row(name, emotion=emotion) for name, emotion in zip(names, LABELS, strict=True)])
    assert summary.course_title == "Emotions over the day"
    told = {mark: shares for mark, shares in summary.course if shares}
    assert told == {
        "08": pytest.approx({"neutral": 0.5, "happy": 0, "angry": 0.5}),
        "09": pytest.approx({"neutral": 0, "happy": 1, "angry": 0}),
    }


def test_channels_are_shown_apart_and_their_recording_is_embedded_once(tmp_path: Path) -> None:
    rows = [row("call.wav", channel=1), row("call.wav", channel=2, emotion="angry"), row("x.wav"), row("y.wav")]
    found = [(each.name, each.channel) for each in summarise(rows).recordings]
    assert found == [("call.wav", 1), ("call.wav", 2), ("x.wav", None), ("y.wav", None)]
    write_page(tmp_path / "page.html", rows, Page(sound=lambda path: None if path == "x.wav" else path.encode()))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    sounds = dict(re.findall(r'id="sound-(\d+)">([A-Za-z0-9+/=]+)<', text))
    shown = [
        (each["name"], sounds.get(str(each.get("sound")))) for each in packed(tmp_path / "page.html")["recordings"]
    ]
    call, y = (base64.b64encode(name).decode() for name in (b"call.wav", b"y.wav"))
    assert shown == [("call.wav", call), ("call.wav", call), ("x.wav", None), ("y.wav", y)]
    assert len(sounds) == 2


def test_a_recording_of_several_channels_counts_once() -> None:
    summary = summarise([row("call.wav", channel=1), row("call.wav", channel=2, snr_db=1.0), row("x.wav", channel=1)])
    assert (summary.title, summary.entries) == ("Emotions in 2 recordings", "channels")
    assert dict(summary.totals) == {"With a result": "2", "Failed": "0", "Clipped or noisy": "1", "Length": "0.1 min"}
    assert [each.channel for each in summary.recordings] == [1, 2, None]  # x.wav has no other channel


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 10,000 recordings."""
    path = tmp_path_factory.mktemp("long") / "page.html"
    write_page(path, (row(f"{index}.wav", confidence=index * 7919 % 89 / 100) for index in range(10_000)), Page())
    return path


def test_ten_thousand_recordings_are_under_two_megabytes(long_page: Path) -> None:
    assert long_page.stat().st_size < 2_000_000


def test_recordings_are_found_beside_the_page_or_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "moved" / "day 1").mkdir(parents=True)
    recording = tmp_path / "moved" / "day 1" / "#1: a.wav"
    recording.touch()
    assert _find("/old/place/day 1/#1: a.wav", tmp_path / "moved") == recording
    assert _find("../../etc/passwd", tmp_path / "moved" / "day 1") is None
    assert _find("no\0thing.wav", None) is None
    assert _address(recording, tmp_path / "pages" / "x.html") == "./../moved/day%201/%231%3A%20a.wav"


def test_an_embedded_recording_is_that_recording(tmp_path: Path, samples: Path) -> None:
    report = tmp_path / "report.jsonl"
    report.write_text(json.dumps(row(str(samples / "tom-sad.flac"))) + "\n", encoding="utf-8")
    make_page(report, tmp_path / "page.html", embed_audio=True)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    sound = re.search(r'id="sound-0">([A-Za-z0-9+/=]+)</script>', text)
    assert sound
    (tmp_path / "sound.mp3").write_bytes(base64.b64decode(sound[1]))
    assert soundfile.info(tmp_path / "sound.mp3").duration == pytest.approx(
        soundfile.info(samples / "tom-sad.flac").duration, abs=0.1
    )
    assert packed(tmp_path / "page.html")["recordings"][0]["sound"] == 0


FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--autoplay-policy=no-user-gesture-required",
)


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """Start the browser with an empty profile; skip the test where it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    started = webdriver.Chrome(options=options, service=service)
    try:
        yield started
    finally:
        started.quit()


def show(browser: Chrome, page: Path, *, width: int = 1280, dark: bool = False, ready: bool = True) -> None:
    """Open a page on a screen of this width, and wait until its script has run, where it has one."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.as_uri())
    if ready:
        wait(browser, "return document.documentElement.dataset.ready === 'yes'")


def wait(browser: Chrome, script: str, limit_s: float = 60.0) -> Any:
    """Return the value of the script once it is true; a machine may be slow, so the limit is long."""
    end = time.monotonic() + limit_s
    while not (value := browser.execute_script(script)):
        assert time.monotonic() < end, script
        time.sleep(0.05)
    return value


def violations(browser: Chrome) -> list[tuple[str, list[str]]]:
    """What axe-core finds: the rule and the elements."""
    browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("const done = arguments[0]; axe.run().then((found) => done(found.violations))")
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def names(browser: Chrome) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#table tbody button')].map((each) => each.textContent)"
    )
    return found


def click(browser: Chrome, selector: str, index: int = 0) -> None:
    browser.find_elements("css selector", selector)[index].click()


def test_names_are_text_and_nothing_is_fetched(browser: Chrome, page: Path) -> None:
    show(browser, page)
    assert f"{SCRIPT} & 'b'.wav" in names(browser)
    for index in range(5):
        click(browser, ".open", index)
        click(browser, "#close")
    text = browser.execute_script("return document.body.textContent")
    assert f"'{SCRIPT}' is empty (0 bytes)" in text
    assert f"Limit {SCRIPT}" in text
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert [each for each in fetched if not each.endswith("/calls/a.wav")] == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing(browser: Chrome, page: Path, width: int, dark: bool) -> None:
    show(browser, page, width=width, dark=dark)
    assert violations(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    click(browser, ".open")
    assert violations(browser) == []


def test_the_table_is_sorted_and_filtered(browser: Chrome, page: Path) -> None:
    show(browser, page)
    by_name = [f"{SCRIPT} & 'b'.wav", "a.wav", "broken.wav", "c.wav", "take2.wav", "take10.wav"]
    click(browser, "th[data-key=name] button")
    assert names(browser) == by_name
    click(browser, "th[data-key=name] button")
    assert names(browser) == by_name[::-1]
    assert browser.find_element("css selector", "th[data-key=name]").get_attribute("aria-sort") == "descending"
    click(browser, "th[data-key=confidence] button")
    assert names(browser)[-1] == by_name[0]
    browser.find_element("id", "name").send_keys("TAKE")
    assert names(browser) == ["take10.wav", "take2.wav"]
    assert browser.find_element("id", "count").text == "2 of 6 recordings"
    show(browser, page)
    for state, expected in (("failed", ["broken.wav"]), ("warned", [by_name[0]])):
        choose(browser, "state", state)
        assert names(browser) == expected


def test_numbers_stand_where_emotions_do(browser: Chrome, tmp_path: Path) -> None:
    values = {"low.wav": -2.5, "no.wav": float("nan"), "high.wav": 2.6, "zero.wav": -0.001}
    rows = [{"path": path, "start": 0, "end": 2, "mood": mood, "status": "ok"} for path, mood in values.items()]
    write_page(tmp_path / "page.html", rows, Page(ranges=Ranges("mood", -3, 3)))
    show(browser, tmp_path / "page.html", width=390)
    assert browser.find_element("css selector", "th[data-key=emotion]").text == "Mood"
    click(browser, "th[data-key=emotion] button")
    assert names(browser) == ["no.wav", "low.wav", "zero.wav", "high.wav"]
    cells = browser.find_elements("css selector", "#table tbody td:nth-child(2)")
    assert [each.text for each in cells] == ["no-speech", "-2.50", "0.00", "2.60"]
    assert not browser.find_elements("css selector", "th[data-key=confidence]")[0].is_displayed()
    choose(browser, "emotion", 4)
    assert names(browser) == ["high.wav"]
    click(browser, ".open")
    assert browser.find_element("id", "details-result").text == "2.60"
    assert violations(browser) == []


def choose(browser: Chrome, field: str, value: object) -> None:
    browser.execute_script(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input'))",
        field,
        str(value),
    )


def test_the_recordings_with_most_of_an_emotion_come_first(browser: Chrome, page: Path) -> None:
    show(browser, page)
    choose(browser, "emotion", LABELS.index("angry"))
    assert names(browser) == ["take2.wav", "a.wav", "take10.wav"]
    click(browser, "th[data-key=name] button")
    assert names(browser) == ["a.wav", "take2.wav", "take10.wav"]


def test_the_details_name_the_command_that_explains_the_answer(browser: Chrome, page: Path) -> None:
    show(browser, page)
    click(browser, ".open", 1)
    command = f"serctl explain --model serctl-fast 'calls/{SCRIPT} & '\\''b'\\''.wav' -o why.html"
    assert browser.find_element("css selector", "#details-why code").text == command
    click(browser, "#close")
    click(browser, ".open", 2)  # no speech, no answer
    assert not browser.find_element("id", "details-why").is_displayed()


def test_every_column_is_printed(browser: Chrome, page: Path) -> None:
    show(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    widths = browser.execute_script(
        "document.body.style.width = '180mm'; dispatchEvent(new Event('beforeprint'));"
        "return [...document.querySelectorAll('#table thead th')].map((each) => each.getBoundingClientRect().width)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert min(widths) > 30


def test_a_moment_is_played_where_it_is(browser: Chrome, page: Path) -> None:
    show(browser, page)
    click(browser, ".open")
    click(browser, ".play", 1)
    wait(browser, "const sound = document.getElementById('audio'); return sound.currentTime > 2.05 && !sound.error")
    marked = browser.execute_script("return parseFloat(document.getElementById('playhead').style.left)")
    assert marked >= 50


def test_the_keyboard_opens_and_closes_details(browser: Chrome, page: Path) -> None:
    show(browser, page)
    browser.execute_script("document.querySelector('.open').focus()")
    browser.switch_to.active_element.send_keys("\n")
    assert browser.execute_script("return document.getElementById('details').open")
    browser.switch_to.active_element.send_keys("\ue00c")  # Escape
    assert not browser.execute_script("return document.getElementById('details').open")
    assert browser.switch_to.active_element.text == "a.wav"


def test_ten_thousand_recordings_are_a_few_rows_at_a_time(browser: Chrome, long_page: Path) -> None:
    show(browser, long_page)
    assert 10 < len(names(browser)) < 60
    browser.execute_script("document.getElementById('list').scrollTop = 1e9")
    wait(browser, "return document.querySelector('#table tbody tr:last-child button')?.textContent === '9999.wav'")
    assert len(names(browser)) < 60


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation of emotions with a name that is markup."""
    folder = tmp_path_factory.mktemp("evaluation")
    rng = np.random.default_rng(0)
    truth, probabilities = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60)
    classes, speakers = ("happy", SCRIPT, "sad"), [f"{SCRIPT} {index % 6}" for index in range(60)]
    scores = score(truth, probabilities, classes=classes, groups=speakers, seed=0)
    metrics = {
        "architecture": "hybrid",
        "corpus": ["a", SCRIPT],
        "protocol": {"name": "loso", "description": SCRIPT},
        "created": "2026-11-27T12:00:00+00:00",
        "seed": 0,
        "leakage": {},
        "left_out": {"failed": 2, "other_classes": 3},
        "per_speaker": score_by(speakers, truth, probabilities, classes=classes),
        **scores.to_dict(),
    }
    plot_reliability(folder / "reliability.png", reliability_curve(probabilities, truth), ece=scores.ece, title="x")
    write_evaluation_page(folder, read_record(EvaluationFacts, metrics), scores)
    return folder


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_of_an_evaluation(browser: Chrome, evaluation: Path, width: int, dark: bool) -> None:
    show(browser, evaluation / "report.html", width=width, dark=dark, ready=False)
    assert violations(browser) == []
    text = browser.execute_script("return document.body.textContent")
    assert "Left out: 2 recordings that failed" in text
    assert text.count(SCRIPT) > 6
    assert browser.execute_script("return document.scripts.length") == 0
    assert browser.execute_script("return document.images[0].naturalWidth") > 100
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
