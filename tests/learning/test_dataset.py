from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serctl.errors import ConfigError, CorpusError
from serctl.features import FeatureConfig, compute_features
from serctl.learning.dataset import Dataset, load_dataset, normalise_speakers
from serctl.learning.options import Augmentation, LabelOptions
from serctl.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.cache import Cache


def load(paths: list[Path], cache: Cache, **options: Any) -> Dataset:
    given = {"labels": LabelOptions(), "augmentation": None, "config": FeatureConfig()}
    return load_dataset(paths, run=Run(cache, jobs=1), **{**given, **options})


def manifest(folder: Path, samples: Path, rows: dict[str, tuple[str, str]]) -> Path:
    """A manifest of sample recordings: file name to emotion and split."""
    path = folder / "manifest.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "emotion", "speaker", "split"])
        writer.writerows(
            [samples / name, emotion, name.split("-")[0], split] for name, (emotion, split) in rows.items()
        )
    return path


FOUR = {
    "emma-sad.flac": ("sad", "train"),
    "tom-sad.flac": ("sad", "test"),
    "emma-happy.flac": ("happy", "train"),
    "jana-happy.ogg": ("happy", "train"),
    "tom-happy.flac": ("happy", "test"),
    "jana-sad.flac": ("sad", "validation"),
}


def test_samples_come_in_the_order_of_the_corpus_with_their_labels(samples: Path, shared_cache: Cache) -> None:
    dataset = load([samples], shared_cache)
    assert dataset.classes == ("angry", "happy", "neutral", "sad")
    assert len(dataset.samples) == 16
    assert [utterance.path.name for utterance in dataset.utterances[:3]] == [
        "emma-angry.wav",
        "emma-happy.flac",
        "emma-neutral.flac",
    ]
    np.testing.assert_array_equal(dataset.labels[:4], [0, 1, 2, 3])
    assert all(sample.copies == () for sample in dataset.samples)


def test_copies_are_changed_and_the_same_for_a_seed(samples: Path, shared_cache: Cache) -> None:
    def first(seed: int, cache: Cache | None = shared_cache) -> Any:
        labels = LabelOptions(classes=("sad", "happy"))
        augmentation = Augmentation(copies=1, noisy_copies=1, seed=seed)
        return load([samples], cache, labels=labels, augmentation=augmentation).samples[0]

    once, fresh, other = first(1), first(1, None), first(2)
    assert len(once.copies) == 2
    for (mine,), (theirs,) in zip(once.copies, fresh.copies, strict=True):
        np.testing.assert_array_equal(mine.functionals, theirs.functionals)
    original, changed, noisy = (window.functionals for (window,) in (once.windows, *once.copies))
    assert not np.allclose(original, changed)
    assert not np.allclose(changed, noisy)
    assert not np.allclose(changed, other.copies[0][0].functionals)


def test_classes_and_renaming(samples: Path, shared_cache: Cache) -> None:
    dataset = load([samples], shared_cache, labels=LabelOptions(("sad", "neutral"), (("happy", "neutral"),)))
    assert dataset.classes == ("sad", "neutral")
    assert np.bincount(dataset.labels).tolist() == [4, 8]


def test_what_a_manifest_marks_as_test_can_be_left_out(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    path = manifest(tmp_path, samples, FOUR)
    assert len(load([path], shared_cache).samples) == 6
    trained = load([path], shared_cache, skip_test=True)
    assert sorted(utterance.path.name for utterance in trained.utterances) == sorted(
        name for name, (_, split) in FOUR.items() if split != "test"
    )
    assert trained.marked_test == 2


def test_a_recording_that_fails_is_a_problem_and_not_the_end(
    samples: Path, shared_cache: Cache, tmp_path: Path
) -> None:
    for name in ("emma-sad", "tom-sad", "emma-happy", "tom-happy"):
        shutil.copy(samples / f"{name}.flac", tmp_path)
    (tmp_path / "bad.wav").write_text("no audio")
    names = ("emma-sad.flac", "tom-sad.flac", "emma-happy.flac", "tom-happy.flac", "bad.wav")
    path = manifest(tmp_path, tmp_path, {name: ("sad" if "sad" in name else "happy", "") for name in names})
    dataset = load([path], shared_cache)
    assert len(dataset.samples) == 4
    (problem,) = dataset.problems
    assert "bad.wav' is not audio that can be read" in problem


def test_recordings_that_cannot_be_read_are_told_where_nothing_is_left(tmp_path: Path) -> None:
    for name in ("happy/a.wav", "happy/b.wav", "sad/c.wav", "sad/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no audio")
    message = r"found happy 2, sad 2; 4 of 4 recordings cannot be read, the first: '.*a.wav' is not audio"
    with pytest.raises(CorpusError, match=message):
        load([tmp_path], None)


def test_labels_of_the_corpus_are_given_a_meaning(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    path = manifest(tmp_path, samples, {name: ("froh" if "happy" in name else "sad", "") for name in FOUR})
    labels = LabelOptions(mapping=(("froh", "happy"), ("sadness", "calm")))
    assert load([path], shared_cache, labels=labels).classes == ("calm", "happy")


def test_too_few_classes_or_utterances_are_refused(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="at least two emotions, found"):
        load([samples], shared_cache, labels=LabelOptions(("sad",)))
    with pytest.raises(CorpusError, match="no utterance of boredom: found"):
        load([samples], shared_cache, labels=LabelOptions(("sad", "boredom")))
    rows = {"emma-sad.flac": ("sad", ""), "tom-sad.flac": ("sad", ""), "emma-happy.flac": ("happy", "")}
    with pytest.raises(CorpusError, match=r"at least 2 utterances of each emotion, too few of happy \(1\)"):
        load([manifest(tmp_path, samples, rows)], shared_cache)


def test_parts_of_a_recording_are_utterances(samples: Path, shared_cache: Cache, tmp_path: Path) -> None:
    source = samples / "jana-sad.flac"
    lines = ["path,emotion,start,end"]
    lines += [f"{source},{emotion},{start},{start + 1}" for start, emotion in enumerate(["sad", "happy"])]
    lines += [
        f"{samples / 'tom-sad.flac'},{emotion},{start},{start + 1}" for start, emotion in enumerate(["sad", "happy"])
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    dataset = load([tmp_path / "m.csv"], shared_cache)
    from serctl.audio.segments import read_audio

    config = FeatureConfig()
    expected = compute_features(read_audio(source, sample_rate=config.sample_rate, start_s=1, end_s=2), config)
    sample = next(each for each in dataset.samples if each.utterance.path == source and each.utterance.start_s == 1)
    np.testing.assert_allclose(sample.windows[0].functionals, expected.functionals, rtol=1e-3, atol=1e-4)


def test_normalised_speakers_have_mean_zero_and_variance_one(samples: Path, shared_cache: Cache) -> None:
    dataset = load([samples], shared_cache, augmentation=Augmentation(copies=1))
    normalised = normalise_speakers(dataset.samples)
    assert [each.utterance for each in normalised] == [each.utterance for each in dataset.samples]
    for speaker in ("emma", "tom", "jana", "marek"):
        own = [window for each in normalised if each.utterance.speaker == speaker for window in each.windows]
        log_mel = np.concatenate([window.log_mel for window in own]).astype(np.float64)
        functionals = np.stack([window.functionals for window in own]).astype(np.float64)
        np.testing.assert_allclose(log_mel.mean(axis=0), 0, atol=5e-3)
        np.testing.assert_allclose(log_mel.std(axis=0), 1, atol=5e-3)
        np.testing.assert_allclose(functionals.mean(axis=0), 0, atol=2e-3)
        varied = functionals.std(axis=0) > 0
        assert varied.mean() > 0.9
        raw = np.stack(
            [
                window.functionals
                for each in dataset.samples
                if each.utterance.speaker == speaker
                for window in each.windows
            ]
        )
        steady = raw.std(axis=0) < 2e-3  # differences too small to be divided by
        np.testing.assert_allclose(functionals.std(axis=0)[~steady], 1, atol=2e-3)


def test_normalised_copies_keep_their_distance_and_speech_is_still_speech(samples: Path, shared_cache: Cache) -> None:
    dataset = load([samples], shared_cache, augmentation=Augmentation(copies=1))
    for before, after in zip(dataset.samples, normalise_speakers(dataset.samples), strict=True):
        assert (after.speech, after.digest) == (before.speech, before.digest)
        assert any(after.speech)
        (old,), (new,) = (each.windows[:1] for each in (before, after))
        (old_copy,), (new_copy,) = (each.copies[0][:1] for each in (before, after))
        # The same line for the copy as for the original: (x - mean) / sd.
        moved = np.abs(old.functionals - old_copy.functionals) > 0.1
        ratio = (new.functionals - new_copy.functionals)[moved] / (old.functionals - old_copy.functionals)[moved]
        assert (ratio > 0).all()


def test_without_speakers_the_corpus_stands_in(samples: Path, shared_cache: Cache) -> None:
    dataset = load([samples], shared_cache)
    unknown = [replace(each, utterance=replace(each.utterance, speaker=None)) for each in dataset.samples]
    stacked = np.stack([window.functionals for each in normalise_speakers(unknown) for window in each.windows])
    np.testing.assert_allclose(stacked.mean(axis=0), 0, atol=2e-3)
    assert np.abs(stacked[:4].mean(axis=0)).max() > 0.1


def test_options_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected an emotion among neutral, .*\. Received: Angst"):
        LabelOptions(classes=("Angst",))
    with pytest.raises(ConfigError, match="Received: calm-ish"):
        LabelOptions(mapping=(("calm", "calm-ish"),))
    with pytest.raises(ConfigError, match="expected copies at least 0"):
        Augmentation(copies=-1)
