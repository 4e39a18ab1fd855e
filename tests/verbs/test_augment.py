from __future__ import annotations

import csv
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.audio.file import content_digest
from serctl.corpora import hold_out, load_corpus, make_protocol
from serctl.errors import AudioError, ConfigError, CorpusError, Remedy
from serctl.features import FeatureConfig
from serctl.learning.dataset import Dataset, load_dataset
from serctl.learning.options import LabelOptions
from serctl.learning.values import recordings_in
from serctl.run import Run
from serctl.transforms.noise import Noise
from serctl.transforms.spectral_mask import SpectralMask
from serctl.transforms.speed import Speed
from serctl.verbs import augment as augment_module
from serctl.verbs.augment import COLUMNS, AugmentOptions, augment

RATE = 8000
QUICK = AugmentOptions(transforms=(Speed(), Noise()))


def voice(seconds: float = 0.3, *, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Something that a change of speed and noise can be told by."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * (200 + 10 * seed) * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))


def record(path: Path, samples: np.ndarray | None = None, *, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice() if samples is None else samples, rate, subtype=subtype)
    return path


def make_corpus(folder: Path, count: int = 4) -> Path:
    """A folder per emotion, every recording another one."""
    for number in range(count):
        emotion = ("happy", "sad")[number % 2]
        record(folder / emotion / f"take{number:02d}.wav", voice(0.2 + 0.01 * number, seed=number))
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "corpus")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "augmented"


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "manifest.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        return list(csv.DictReader(lines))


def contents(output: Path) -> dict[str, bytes]:
    """All recordings below a folder."""
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*.wav"))}


def write_manifest(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# What is written


def test_copies_lie_by_corpus_and_folder(corpus: Path, output: Path) -> None:
    summary = augment([corpus], output=output, options=AugmentOptions(copies=2, transforms=(Noise(),)))
    assert (summary.recordings, summary.copies, summary.failed) == (4, 8, 0)
    assert summary.emotions == {"happy": 4, "sad": 4}
    assert summary.audio_s == pytest.approx(2 * (0.2 + 0.21 + 0.22 + 0.23))
    assert [*contents(output)] == [
        f"corpus/{emotion}/take{number}.aug{copy}.wav"
        for emotion, number in (("happy", "00"), ("happy", "02"), ("sad", "01"), ("sad", "03"))
        for copy in (1, 2)
    ]


def test_the_output_is_a_corpus_that_keeps_all_labels(tmp_path: Path, output: Path) -> None:
    record(tmp_path / "a.wav")
    record(tmp_path / "deep" / "b.flac")
    manifest = write_manifest(
        tmp_path,
        "path,emotion,speaker,gender,language,text,split,corpus",
        'a.wav,Anger,01,f,de,"Ja, ""gut"".",train,first',
        "deep/b.flac,happy,02,male,pl,,dev,second",
    )
    augment([manifest], output=output, options=QUICK)
    for before, after in zip(load_corpus(manifest).utterances, load_corpus(output).utterances, strict=True):
        assert before.path != after.path
        for name in ("emotion", "speaker", "gender", "language", "text", "split", "corpus", "speaker_id"):
            assert getattr(after, name) == getattr(before, name), name


def test_a_corpus_known_by_its_file_names_keeps_its_name(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "speech"
    record(folder / "Actor_12" / "03-01-06-01-02-01-12.wav")
    record(folder / "Actor_01" / "03-01-05-01-02-01-01.wav")
    augment([folder], output=output, options=QUICK)
    found = {utterance.speaker_id: utterance for utterance in load_corpus(output).utterances}
    assert sorted(found) == ["ravdess/01", "ravdess/12"]
    fearful = found["ravdess/12"]
    assert (fearful.emotion, fearful.gender, fearful.language) == ("fearful", "female", "en")
    assert fearful.path == output / "ravdess/Actor_12/03-01-06-01-02-01-12.aug1.wav"


def test_the_manifest_tells_how_each_copy_was_made(corpus: Path, output: Path) -> None:
    augment([corpus], output=output, options=AugmentOptions(copies=2, transforms=(Speed(), Noise()), seed=7))
    written = rows(output)
    assert tuple(written[0]) == COLUMNS
    for row in written:
        source = soundfile.info(row["source"])
        parameters = json.loads(row["parameters"])
        assert row["source_digest"] == content_digest(Path(row["source"]))
        assert (row["transforms"], row["seed"]) == ("speed+noise", "7")
        assert soundfile.info(output / row["path"]).duration == pytest.approx(float(row["duration"]), abs=5e-4)
        assert float(row["duration"]) * parameters["speed_factor"] == pytest.approx(source.duration, abs=1e-3)
    assert [row["copy"] for row in written] == ["1", "2"] * 4
    assert len({row["parameters"] for row in written}) == 8


def test_the_noise_has_the_power_that_the_manifest_says(corpus: Path, output: Path) -> None:
    augment([corpus], output=output, options=AugmentOptions(transforms=(Noise(10, 20),)))
    for row in rows(output):
        clean, _ = soundfile.read(row["source"])
        noisy, _ = soundfile.read(output / row["path"])
        snr_db = 10 * np.log10(np.var(clean) / np.var(noisy - clean))
        assert snr_db == pytest.approx(json.loads(row["parameters"])["noise_snr_db"], abs=0.01)


def test_by_default_speed_noise_and_masks_are_applied(tmp_path: Path, output: Path) -> None:
    augment([make_corpus(tmp_path / "corpus", 1)], output=output)
    (row,) = rows(output)
    assert row["transforms"] == "speed+noise+spectral_mask"
    assert {"speed_factor", "noise_snr_db", "masked_hz", "masked_s", "gain"} == set(json.loads(row["parameters"])) - {
        "noise_source"
    }


@pytest.mark.parametrize(
    ("suffix", "subtype", "written"),
    [
        (".wav", "PCM_U8", "PCM_16"),
        (".wav", "PCM_16", "PCM_16"),
        (".ogg", "VORBIS", "PCM_16"),
        (".flac", "PCM_24", "PCM_24"),
        (".wav", "FLOAT", "PCM_24"),
    ],
)
def test_copies_are_mono_at_the_rate_and_depth_of_the_source(
    tmp_path: Path, output: Path, suffix: str, subtype: str, written: str
) -> None:
    rate = 22050
    stereo = np.stack([voice(rate=rate), 0.5 * voice(rate=rate)], axis=1)
    record(tmp_path / "corpus" / "sad" / f"a{suffix}", stereo, rate=rate, subtype=subtype)
    augment([tmp_path / "corpus"], output=output, options=AugmentOptions(transforms=(Noise(40, 40),)))
    (copy,) = output.rglob("*.wav")
    info = soundfile.info(copy)
    assert (info.samplerate, info.channels, info.subtype) == (rate, 1, written)
    np.testing.assert_allclose(np.std(soundfile.read(copy)[0]), np.std(0.75 * voice(rate=rate)), rtol=0.05)


def test_parts_of_a_recording_are_augmented_apart(tmp_path: Path, output: Path) -> None:
    halves = np.concatenate([0.1 * np.ones(RATE // 2), -0.2 * np.ones(RATE // 2)])
    record(tmp_path / "long.wav", halves)
    manifest = write_manifest(tmp_path, "path,emotion,start,end", "long.wav,sad,0,0.5", "long.wav,happy,0.5,")
    augment([manifest], output=output, options=AugmentOptions(transforms=(Speed(),)))
    first, second = rows(output)
    assert (first["emotion"], first["source_start"], first["source_end"]) == ("sad", "", "0.5")
    assert (second["emotion"], second["source_start"], second["source_end"]) == ("happy", "0.5", "")
    for row, level in ((first, 0.1), (second, -0.2)):
        samples, _ = soundfile.read(output / row["path"])
        assert np.median(samples) == pytest.approx(level, abs=0.01)
        factor = json.loads(row["parameters"])["speed_factor"]
        assert len(samples) / RATE == pytest.approx(0.5 / factor, abs=1e-3)
    assert first["parameters"] != second["parameters"]


# Names


def test_no_two_utterances_share_a_name(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "corpus"
    names = [
        "x/sad/a.wav",
        "y/sad/a.wav",
        "x/sad/a.flac",
        "x/sad/A.wav",
        "x/sad/a-2.wav",
        "x/sad/lone\rreturn.wav",
        'x/sad/"ż,\nó.wav',
    ]
    names += [f"x/sad/{unicodedata.normalize(form, 'é')}.wav" for form in ("NFC", "NFD")]
    for number, name in enumerate(names):
        record(folder / name, voice(0.1 + 0.01 * number))
    augment([folder], output=output, options=AugmentOptions(transforms=(Noise(),)))
    copies = {row["source"]: output / row["path"] for row in rows(output)}
    assert len({str(path).casefold() for path in copies.values()}) == len(names)
    assert len({unicodedata.normalize("NFC", str(path)) for path in copies.values()}) == len(names)
    for number, name in enumerate(names):
        assert soundfile.info(copies[str(folder / name)]).duration == pytest.approx(0.1 + 0.01 * number)
    assert len(load_corpus(output).utterances) == len(names)


@pytest.mark.parametrize("name", [b"\xff\xfe latin.wav", "ż".encode() * 124 + b".wav"], ids=["not UTF-8", "long"])
def test_any_file_name_gives_a_copy_that_loads(tmp_path: Path, output: Path, name: bytes) -> None:
    record(tmp_path / "corpus" / "sad" / "a.wav").rename(tmp_path / "corpus" / "sad" / os.fsdecode(name))
    summary = augment(
        [tmp_path / "corpus"], output=output, options=AugmentOptions(transforms=(Noise(),), include_originals=True)
    )
    assert summary.failures == []
    assert len(load_corpus(output).utterances) == 2


def test_recordings_outside_the_manifests_folder_stay_inside_the_output(tmp_path: Path, output: Path) -> None:
    for name in ("data/one/a.wav", "data/two/a.wav", "lists/near.wav"):
        record(tmp_path / name)
    manifest = write_manifest(
        tmp_path / "lists",
        "path,emotion,corpus",
        "../data/one/a.wav,sad,../evil",
        f"{tmp_path}/data/two/a.wav,sad,mine",
        "near.wav,sad,mine",
    )
    augment([manifest], output=output, options=QUICK)
    assert [*contents(output)] == ["_evil/one/a.aug1.wav", "mine/near.aug1.wav", "mine/two/a.aug1.wav"]
    assert {utterance.corpus for utterance in load_corpus(output).utterances} == {"../evil", "mine"}


# The same result, always


def test_the_copies_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path / "corpus", 40)
    for jobs in (1, 2):
        augment([folder], output=tmp_path / f"jobs{jobs}", options=QUICK, run=Run(jobs=jobs))
    assert len(contents(tmp_path / "jobs1")) == 40
    assert contents(tmp_path / "jobs1") == contents(tmp_path / "jobs2")
    assert rows(tmp_path / "jobs1") == rows(tmp_path / "jobs2")


def test_copies_of_float_sources_carry_no_time_stamp(tmp_path: Path, output: Path) -> None:
    record(tmp_path / "corpus" / "sad" / "a.wav", subtype="FLOAT")
    assert b"PEAK" in (tmp_path / "corpus" / "sad" / "a.wav").read_bytes()  # libsndfile's chunk with the time in it
    augment([tmp_path / "corpus"], output=output, options=QUICK)
    assert b"PEAK" not in next(iter(contents(output).values()))


def test_another_seed_gives_other_copies(corpus: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        augment([corpus], output=tmp_path / str(seed), options=AugmentOptions(transforms=(Noise(),), seed=seed))
    first, second = contents(tmp_path / "0"), contents(tmp_path / "1")
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


# What is left out


def test_what_is_marked_test_is_left_alone(tmp_path: Path, output: Path) -> None:
    for name in "abcd":
        record(tmp_path / f"{name}.wav")
    manifest = write_manifest(
        tmp_path, "path,emotion,split", "a.wav,sad,train", "b.wav,sad,test", "c.wav,sad,", "d.wav,sad,TEST"
    )
    options = AugmentOptions(transforms=(Noise(),), include_originals=True)
    summary = augment([manifest], output=output, options=options)
    assert (summary.recordings, summary.test_utterances) == (2, 2)
    assert {Path(row["source"]).name for row in rows(output)} == {"a.wav", "c.wav"}
    assert [*contents(output)] == [f"{tmp_path.name}/a.aug1.wav", f"{tmp_path.name}/c.aug1.wav"]


def test_a_corpus_of_test_utterances_alone_is_an_error(tmp_path: Path, output: Path) -> None:
    record(tmp_path / "a.wav")
    manifest = write_manifest(tmp_path, "path,emotion,split", "a.wav,sad,test")
    with pytest.raises(CorpusError, match="all 1 utterances are marked test"):
        augment([manifest], output=output)
    assert not output.exists()


def test_an_unreadable_recording_is_a_failure_and_costs_no_other(corpus: Path, output: Path) -> None:
    (corpus / "happy" / "take00.wav").write_text("no audio")
    summary = augment([corpus], output=output, options=QUICK)
    assert (summary.recordings, summary.failed, summary.copies) == (4, 1, 3)
    ((path, error),) = summary.failures
    assert path == str(corpus / "happy" / "take00.wav")
    assert "is not audio that can be read" in error
    assert {Path(row["source"]).stem for row in rows(output)} == {"take01", "take02", "take03"}


def test_a_recording_without_a_length_is_augmented_as_it_is_predicted(corpus: Path, output: Path) -> None:
    path = record(corpus / "happy" / "piped.flac")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    summary = augment([corpus], output=output, options=QUICK)
    assert summary.failures == []
    (row,) = (row for row in rows(output) if row["source"] == str(path))
    assert (output / row["path"]).is_file()


def test_a_very_long_utterance_is_refused(corpus: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "LONGEST_S", 0.225)
    summary = augment([corpus], output=output, options=QUICK)
    ((path, error),) = summary.failures
    assert path.endswith("take03.wav")
    assert "give its parts in a manifest" in error


def test_problems_of_the_corpora_are_counted(tmp_path: Path, output: Path) -> None:
    record(tmp_path / "a.wav")
    manifest = write_manifest(tmp_path, "path,emotion", "a.wav,sad", "missing.wav,sad")
    assert augment([manifest], output=output, options=QUICK).problems == 1


# The originals


def test_originals_are_listed_where_they_lie(tmp_path: Path, output: Path) -> None:
    record(tmp_path / "long.wav", voice(1))
    manifest = write_manifest(
        tmp_path, "path,emotion,speaker,start,end", "long.wav,sad,x,0,0.4", "long.wav,angry,x,0.4,"
    )
    options = AugmentOptions(copies=2, transforms=(Noise(),), include_originals=True)
    augment([manifest], output=output, options=options)
    loaded = load_corpus(output).utterances
    assert len(loaded) == 6
    originals = [utterance for utterance in loaded if utterance.path == tmp_path / "long.wav"]
    assert [(u.emotion, u.start_s, u.end_s, u.speaker) for u in originals] == [
        ("sad", 0.0, 0.4, "x"),
        ("angry", 0.4, None, "x"),
    ]
    listed = [row for row in rows(output) if row["copy"] == "0"]
    assert [(row["transforms"], row["parameters"], row["seed"]) for row in listed] == [("", "", "")] * 2
    assert [float(row["duration"]) for row in listed] == [0.4, 0.6]


# Copies and the splits that are drawn


def dataset_of(*paths: Path) -> Dataset:
    return load_dataset(
        paths,
        labels=LabelOptions(),
        config=FeatureConfig(),
        augmentation=None,
        run=Run(jobs=1),
    )


@pytest.mark.parametrize("include_originals", [True, False], ids=["manifest of both", "corpus and copies"])
def test_copies_neither_validate_nor_test_and_leave_with_their_originals(
    tmp_path: Path, output: Path, include_originals: bool
) -> None:
    corpus = make_corpus(tmp_path / "corpus", 12)
    options = AugmentOptions(copies=2, transforms=(Noise(),), include_originals=include_originals)
    augment([corpus], output=output, options=options)
    dataset = dataset_of(output) if include_originals else dataset_of(corpus, output)
    assert len(dataset.samples) == 36
    split = hold_out(dataset.utterances, share=0.25, seed=1)
    folds = make_protocol("random-kfold:3", dataset.utterances, seed=1).folds
    assert sorted(index for fold in folds for index in fold.test) == [
        index for index, utterance in enumerate(dataset.utterances) if not utterance.is_copy
    ]
    for train, apart in [(split.train, split.held_out), *((fold.train, fold.test) for fold in folds)]:
        assert not any(dataset.utterances[index].is_copy for index in apart)
        origins = {dataset.samples[index].origin for index in apart}
        assert origins.isdisjoint(dataset.samples[index].origin for index in train)
        assert len(train) == 3 * (12 - len(apart))


def test_copies_of_copies_come_from_the_first_recording(corpus: Path, output: Path, tmp_path: Path) -> None:
    augment([corpus], output=output, options=AugmentOptions(transforms=(Noise(),)))
    augment([output], output=tmp_path / "again", options=AugmentOptions(transforms=(Speed(),), include_originals=True))
    first = {utterance.source for utterance in load_corpus(output).utterances}
    again = load_corpus(tmp_path / "again").utterances
    assert {utterance.source for utterance in again} == first
    assert len(again) == 8
    assert all(utterance.is_copy for utterance in again)


# Noise from a folder


def noise_of(folder: Path) -> Noise:
    """Noise as loud as the speech, of the recordings in the folder noise."""
    return Noise(0, 0, recordings_in(str(folder / "noise")))


def test_noise_comes_from_the_folder(corpus: Path, output: Path, tmp_path: Path) -> None:
    names = {str(record(tmp_path / "noise" / f"{name}.wav", voice(0.5, seed=20))) for name in ("rain", "street")}
    augment(
        [corpus],
        output=output,
        options=AugmentOptions(transforms=(noise_of(tmp_path),)),
    )
    sources = {json.loads(row["parameters"])["noise_source"] for row in rows(output)}
    assert sources
    assert sources <= names


def test_a_bad_noise_file_is_found_before_the_work(corpus: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "broken.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"broken\.wav"):
        augment(
            [corpus],
            output=output,
            options=AugmentOptions(transforms=(noise_of(tmp_path),)),
        )
    assert not output.exists()


# The output folder


def test_an_output_in_use_is_refused(corpus: Path, output: Path) -> None:
    augment([corpus], output=output, options=QUICK)
    before = contents(output)
    with pytest.raises(ConfigError, match="exists") as raised:
        augment([corpus], output=output, options=AugmentOptions(transforms=(Noise(),)))
    assert raised.value.remedies == (Remedy.RESUME, Remedy.OVERWRITE, Remedy.OTHER_OUTPUT)
    assert contents(output) == before


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_a_folder_of_other_things_is_never_touched(corpus: Path, output: Path, flag: str) -> None:
    output.mkdir()
    (output / "manifest.csv").write_text("mine")
    with pytest.raises(ConfigError, match="not written by serctl augment"):
        augment([corpus], output=output, options=QUICK, run=Run(**{flag: True}))
    assert [path.name for path in output.iterdir()] == ["manifest.csv"]


def test_an_output_that_is_a_file_is_refused(corpus: Path, output: Path) -> None:
    output.write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        augment([corpus], output=output)


@pytest.mark.parametrize("place", ["corpus", "corpus/augmented", "corpus/happy/../augmented", "link/augmented"])
@pytest.mark.parametrize("given", ["corpus", "link"])
def test_an_output_in_the_corpus_is_refused(corpus: Path, given: str, place: str) -> None:
    (corpus.parent / "link").symlink_to(corpus)
    with pytest.raises(ConfigError, match="lies in the corpus"):
        augment([corpus.parent / given], output=corpus.parent / place)
    assert sorted(path.name for path in corpus.iterdir()) == ["happy", "sad"]


def test_an_output_beside_a_manifests_recordings_is_fine(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    manifest = write_manifest(tmp_path, "path,emotion", "a.wav,sad")
    assert augment([manifest], output=tmp_path / "augmented", options=QUICK).copies == 1


def test_a_corpus_in_the_output_is_refused(corpus: Path, output: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the output folder"):
        augment([corpus], output=tmp_path)
    augment([corpus], output=output, options=QUICK)
    (tmp_path / "lists").mkdir()
    manifest = write_manifest(
        tmp_path / "lists",
        "path,emotion",
        f"{output}/corpus/happy/take00.aug1.wav,happy",
        f"{corpus}/sad/take01.wav,sad",
    )
    for source in (output / "manifest.csv", manifest):
        with pytest.raises(ConfigError, match="in the output folder"):
            augment([source], output=output, run=Run(overwrite=True))
    assert len(contents(output)) == 4


def test_overwrite_leaves_nothing_of_the_earlier_copies(corpus: Path, output: Path) -> None:
    augment([corpus], output=output, options=AugmentOptions(copies=3, transforms=(Noise(),)))
    augment([corpus], output=output, options=QUICK, run=Run(overwrite=True))
    assert {output / row["path"] for row in rows(output)} == set(output.rglob("*.wav"))
    assert len(contents(output)) == 4


# Interrupted and resumed


def times(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.rglob("*.wav")}


def test_resume_makes_only_what_is_missing(corpus: Path, output: Path) -> None:
    options = AugmentOptions(copies=2, transforms=(Noise(),))
    augment([corpus], output=output, options=options)
    before, made = times(output), contents(output)
    (output / "corpus/sad/take01.aug2.wav").unlink()
    record(corpus / "sad" / "take04.wav", voice(0.4))
    summary = augment([corpus], output=output, options=options, run=Run(resume=True))
    assert (summary.recordings, summary.resumed, summary.copies) == (5, 3, 10)
    after = times(output)
    assert {name for name, time in after.items() if before.get(name) != time} == {
        f"take0{number}.aug{copy}.wav" for number in (1, 4) for copy in (1, 2)
    }
    assert made.items() <= contents(output).items()
    assert len(rows(output)) == 10


def test_resume_makes_the_copies_of_a_changed_source_again(corpus: Path, output: Path) -> None:
    augment([corpus], output=output, options=QUICK)
    before = contents(output)
    source = record(corpus / "happy" / "take00.wav", voice(0.5))
    assert augment([corpus], output=output, options=QUICK, run=Run(resume=True)).resumed == 3
    assert {name for name, data in contents(output).items() if before[name] != data} == {"corpus/happy/take00.aug1.wav"}
    assert rows(output)[0]["source_digest"] == content_digest(source)


def test_resume_tries_failures_again(corpus: Path, output: Path) -> None:
    bad = corpus / "happy" / "take00.wav"
    bad.write_text("no audio")
    assert augment([corpus], output=output, options=QUICK).failed == 1
    assert augment([corpus], output=output, options=QUICK, run=Run(resume=True)).failed == 1
    record(bad)
    summary = augment([corpus], output=output, options=QUICK, run=Run(resume=True))
    assert (summary.failed, summary.resumed, len(rows(output))) == (0, 3, 4)


@pytest.mark.parametrize(
    "other",
    [
        AugmentOptions(transforms=QUICK.transforms, copies=2),
        AugmentOptions(transforms=QUICK.transforms, seed=1),
        AugmentOptions(transforms=(Speed(0.8, 1.1), Noise())),
        AugmentOptions(transforms=(Speed(),)),
    ],
    ids=["copies", "seed", "range", "transforms"],
)
def test_resume_with_other_options_is_refused(corpus: Path, output: Path, other: AugmentOptions) -> None:
    augment([corpus], output=output, options=QUICK)
    before = contents(output), rows(output)
    with pytest.raises(ConfigError, match="other options"):
        augment([corpus], output=output, options=other, run=Run(resume=True))
    assert (contents(output), rows(output)) == before


def test_an_interrupted_run_leaves_whole_files_and_goes_on(corpus: Path, output: Path, tmp_path: Path) -> None:
    def interrupt(progress: augment_module.Progress) -> None:
        if progress.done == 2:
            (output / "corpus" / ".take.wav.0123.tmp").write_bytes(b"what a killed worker leaves")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="2 of 4 utterances are finished"):
        augment([corpus], output=output, options=QUICK, run=Run(progress=interrupt))
    assert not (output / "manifest.csv").exists()
    assert len([path for path in (output / "corpus").rglob("*") if path.is_file()]) == 2
    summary = augment([corpus], output=output, options=QUICK, run=Run(resume=True))
    assert (summary.recordings, summary.resumed) == (4, 2)
    augment([corpus], output=tmp_path / "at once", options=QUICK)
    assert contents(output) == contents(tmp_path / "at once")
    assert rows(output) == rows(tmp_path / "at once")


def test_a_copy_that_cannot_be_written_is_a_failure(corpus: Path, output: Path) -> None:
    augment([corpus], output=output, options=QUICK)
    copy = output / "corpus/happy/take00.aug1.wav"
    copy.unlink()
    copy.mkdir()
    summary = augment([corpus], output=output, options=QUICK, run=Run(resume=True))
    ((_, error),) = summary.failures
    assert error == f"expected a file or a pipe to write to, but {copy} is a folder"


def test_progress_counts_utterances(corpus: Path, output: Path) -> None:
    (corpus / "sad" / "take01.wav").write_text("no audio")
    seen: list[augment_module.Progress] = []
    augment([corpus], output=output, options=QUICK, run=Run(jobs=1, progress=seen.append))
    assert [(step.done, step.total, step.failed) for step in seen] == [(1, 4, 0), (2, 4, 0), (3, 4, 1), (4, 4, 1)]


# Options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"copies": 0}, "at least 1 copy"),
        ({"seed": -1}, "seed from 0"),
        ({"transforms": ()}, "at least one transform"),
        ({"transforms": (Speed(), Speed(0.5, 0.6))}, "each at most once"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentOptions(**values)


def test_the_summary_is_json(corpus: Path, output: Path) -> None:
    summary = augment([corpus], output=output, options=AugmentOptions(transforms=(SpectralMask(1, 0.1, 0.1),)))
    facts = json.loads(json.dumps(summary.to_dict()))
    assert (facts["copies"], facts["test_utterances"], facts["problems"], facts["failed"]) == (4, 0, 0, 0)
    assert facts["wall_s"] > 0
