"""A network of speech and words by the commands: trained, predicted with and without words, scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.audio.find import Recording
from serctl.bundle.store import load_bundle
from serctl.encoders.text import PARAMETERS
from serctl.errors import ConfigError, Remedy
from serctl.export.material import gather
from serctl.export.options import ExportOptions
from serctl.learning.options import LabelOptions
from serctl.reports.schema import headers
from serctl.run import Run
from serctl.verbs.evaluate import evaluate_model
from serctl.verbs.export import export
from serctl.verbs.options import PredictOptions
from serctl.verbs.predict import columns, predict
from serctl.verbs.train import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serctl.bundle.store import Bundle
    from serctl.cache import Cache

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.fixture(scope="module")
def both(small_bundle: Callable[..., Bundle]) -> Bundle:
    """Trained on the sample recordings and the words of their manifest, of happy and sad."""
    return small_bundle("coattention", "happy", "sad")


def answer(model: Bundle, recording: Path, transcripts: Path | None, **options: Any) -> dict[str, Any]:
    tables: list[dict[str, Any]] = []
    chosen = PredictOptions(transcripts=None if transcripts is None else str(transcripts), **options)
    predict([Recording(recording)], model=model, options=chosen, on_table=tables.append, run=Run(jobs=1))
    assert tables[0]["status"] == "ok", tables[0]
    return tables[0]


def test_words_are_part_of_the_answer_and_either_stream_does_alone(both: Bundle, samples: Path, tmp_path: Path) -> None:
    assert both.facts.features.text_encoder
    assert both.facts.parameters > PARAMETERS
    recording = samples / "emma-happy.flac"
    alone = answer(both, recording, None)

    heard = answer(both, recording, samples / "manifest.csv")

    assert heard["text"] == ["used"]
    assert heard["p_sad"] != alone["p_sad"]
    assert "text" not in alone
    names = set(headers(columns(both, PredictOptions(transcripts="x"))))
    assert "text" in names
    assert not {"conflict", "text_weight"} & names
    for name, text in (("missing", "... !"), ("ignored", "Dziunia, nie jesteś moim szefem.")):
        (tmp_path / "emma-happy.txt").write_text(text)
        without = answer(both, recording, tmp_path)
        assert (without["text"], without["p_sad"]) == ([name], alone["p_sad"])
    assert "it is not English" in without["notes"]


def test_nothing_tells_the_answers_of_both_apart(both: Bundle, samples: Path) -> None:
    with pytest.raises(ConfigError, match="speech and words at once"):
        answer(both, samples / "emma-happy.flac", samples / "manifest.csv", explain_modalities=True)


def test_an_evaluation_says_what_became_of_the_words(
    both: Bundle, mfcc_bundle: Bundle, samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    def score(model: Bundle, name: str, **labels: Any) -> dict[str, Any]:
        run = Run(shared_cache, jobs=1)
        found = evaluate_model([samples], model=model, output=tmp_path / name, labels=LabelOptions(**labels), run=run)
        return found.metrics

    (tmp_path / "words").mkdir()
    for path in samples.glob("*-sad.*"):
        (tmp_path / "words" / f"{path.stem}.txt").write_text("I am so sad, I have been crying all day long.")
    # Half of the speakers do not speak English, the manifest says.
    assert score(both, "own")["text"] == {"used": 4, "ignored": 4}
    assert score(both, "given", transcripts=str(tmp_path / "words"))["text"] == {"used": 2, "ignored": 2, "missing": 4}
    plain = score(mfcc_bundle, "plain")
    mixed = score(mfcc_bundle, "mixed", transcripts=str(tmp_path / "words"))
    assert not plain["text"]
    assert mixed["text"] == {"used": 2, "ignored": 2, "missing": 12}
    assert mixed["ece"] != plain["ece"]


def test_an_architecture_of_speech_takes_no_transcripts() -> None:
    with pytest.raises(ConfigError, match="speech-attention takes no words: expected one of coattention") as raised:
        TrainOptions(labels=LabelOptions(transcripts="words"))
    assert raised.value.remedies == (Remedy.NO_TRANSCRIPTS,)


def test_it_is_exported_to_onnx_with_words_and_without(
    both: Bundle, samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    options = ExportOptions(format="onnx", quantize="none", verify=samples)
    export(both, output=tmp_path / "m", options=options, run=Run(shared_cache, jobs=1))
    exported = load_bundle(tmp_path / "m")
    for transcripts in (samples / "manifest.csv", None):
        old, new = (answer(each, samples / "emma-happy.flac", transcripts)["p_sad"][0] for each in (both, exported))
        assert new == pytest.approx(old, abs=0.001)


def test_networks_are_compared_on_windows_of_which_some_have_words(both: Bundle, samples: Path) -> None:
    found = gather(samples, part="validation", most=9, model=both, run=Run(jobs=1)).windows
    words = [None if window.tokens is None else len(window.tokens) for window in found]
    assert len(words) == 9
    assert words[7] is None
    assert words[8] == words[0]
    assert len(set(words[:7])) > 4


def test_some_examples_lack_their_words_and_others_their_speech() -> None:
    from serctl.features import Features, Normaliser
    from serctl.features.words import UNITS
    from serctl.learning.batches import Batches, Example
    from serctl.learning.options import FitOptions
    from serctl.models import ModelSpec, build

    spec = ModelSpec(n_frames=40, n_mels=16, functionals=("a",), n_classes=2)
    rng = np.random.default_rng(0)

    def example(label: int, *, words: bool = True) -> Example:
        log_mel = rng.normal(size=(40, 16)).astype(np.float16)
        tokens = np.ones((5, UNITS), np.float16) if words else None
        return Example((Features(log_mel, np.empty((0, 0), np.float32), np.zeros(1, np.float32), 0, tokens),), label)

    examples = [*(example(each % 2) for each in range(300)), *(example(each % 2, words=False) for each in range(100))]
    batches = Batches(
        examples,
        model=build("coattention", spec),
        spec=spec,
        normaliser=Normaliser.fit([each.variants[0] for each in examples]),
        options=FitOptions(batch_size=400, modality_dropout=0.5),
    )
    inputs, *_ = batches[0]
    speech, words = inputs["mask"].any(axis=1), inputs["token_mask"].any(axis=1)
    assert (speech | words).all()
    assert 45 <= (~speech).sum() <= 105
    assert 145 <= (~words).sum() <= 205
    assert not inputs["log_mel"][~speech].any()
    assert not inputs["tokens"][~words].any()
