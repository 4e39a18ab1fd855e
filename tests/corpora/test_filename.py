from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.corpora import EMOTIONS, load_corpus, normalise_emotion
from serctl.corpora.filename import BY_NAME, NAMINGS, Naming


def names_of(naming: Naming) -> st.SearchStrategy[str]:
    """Names that follow the naming, in either case where it has letters."""
    return st.from_regex(re.compile(naming.pattern, re.IGNORECASE | re.ASCII), fullmatch=True)


EXAMPLES = [
    # path in the corpus, corpus, emotion, speaker, gender, language
    ("Actor_12/03-01-06-01-02-01-12.wav", "ravdess", "fearful", "12", "female", "en"),
    ("Actor_01/03-01-08-02-01-01-01.flac", "ravdess", "surprised", "01", "male", "en"),
    ("wav/03a01Fa.wav", "emodb", "happy", "03", "male", "de"),
    ("wav/16b10Lb.wav", "emodb", "boredom", "16", "female", "de"),
    ("AudioWAV/1001_DFA_ANG_XX.wav", "cremad", "angry", "1001", "male", "en"),
    ("AudioWAV/1091_WSI_SAD_HI.wav", "cremad", "sad", "1091", "female", "en"),
    ("AudioWAV/1040_ITH_SAD_X.wav", "cremad", "sad", "1040", "male", "en"),
    ("DC_a01.wav", "savee", "angry", "DC", "male", "en"),
    ("AudioData/KL/su15.wav", "savee", "surprised", "KL", "male", "en"),
    ("AudioData/JE/sa15.wav", "savee", "sad", "JE", "male", "en"),
    ("OAF_Fear/OAF_back_fear.wav", "tess", "fearful", "OA", "female", "en"),
    ("YAF_pleasant_surprised/YAF_youth_ps.wav", "tess", "surprised", "YA", "female", "en"),
    ("OAF_neutral/OA_bite_neutral.wav", "tess", "neutral", "OA", "female", "en"),
    ("f1/dis-f1-b1.wav", "emovo", "disgust", "f1", "female", "it"),
    ("m3/tri-m3-n5.wav", "emovo", "sad", "m3", "male", "it"),
    ("01Neutral/n1-01-01-02-03.wav", "ased", "neutral", "03", "male", "am"),
    ("04Sad/S4-04-02-01-29.wav", "ased", "sad", "29", "female", "am"),
    ("samples/EB0_happiness_90.wav", "nemo", "happy", "EB0", "female", "pl"),
    ("samples/TP0_surprised_1.wav", "nemo", "surprised", "TP0", "male", "pl"),
    ("Angry/SM1_F10_A010.wav", "urdu", "angry", "SM1", "male", "ur"),
    ("Neutral/SF9_F1_N01.wav", "urdu", "neutral", "SF9", "female", "ur"),
    ("Sound Source/Angry/1157_kz_beste.wav", "turev", "angry", "1157", None, "tr"),
    ("Sound Source/Sad/1157_hl_acik.wav", "turev", "sad", "1157", None, "tr"),
    ("Sound Source/Happy/1234_mt_acik.wav", "turev", "happy", "1234", None, "tr"),
    ("Sound Source/Calm/1234_sk_algi.wav", "turev", "calm", "1234", None, "tr"),
    ("0011/Angry/0011_000351.wav", "esd", "angry", "0011", "male", "en"),
    ("0001/Surprise/0001_001401.wav", "esd", "surprised", "0001", "female", "zh"),
]


def make(root: Path, *recordings: str) -> None:
    for recording in recordings:
        (root / recording).parent.mkdir(parents=True, exist_ok=True)
        (root / recording).touch()


@pytest.mark.parametrize(("recording", "corpus", "emotion", "speaker", "gender", "language"), EXAMPLES)
def test_a_known_corpus_is_read_from_its_file_names(
    tmp_path: Path, recording: str, corpus: str, emotion: str, speaker: str, gender: str | None, language: str
) -> None:
    make(tmp_path, recording)
    loaded = load_corpus(tmp_path)
    (utterance,) = loaded.utterances
    assert (loaded.name, utterance.corpus) == (corpus, corpus)
    assert utterance.path == tmp_path / recording
    assert (utterance.emotion, utterance.speaker, utterance.gender, utterance.language) == (
        emotion,
        speaker,
        gender,
        language,
    )
    assert loaded.problems == ()


@settings(deadline=None)
@given(st.sampled_from(NAMINGS).flatmap(lambda naming: st.tuples(st.just(naming), names_of(naming))))
def test_a_name_follows_one_corpus_and_its_codes_have_a_meaning(named: tuple[Naming, str]) -> None:
    naming, name = named
    path = Path("/corpora") / f"{name}.wav"
    assert [other.name for other in NAMINGS if other.read(path)] == [naming.name]
    utterance = naming.read(path)
    assert utterance is not None
    assert utterance.emotion in EMOTIONS
    assert utterance.speaker
    assert utterance.gender in ("female", "male", None)


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0")))
def test_any_name_can_be_asked_for(name: str) -> None:
    for naming in NAMINGS:
        read = naming.read(Path(f"/corpora/{name}.wav"))
        assert read is None or read.corpus == naming.name


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.name)
def test_the_example_in_the_expectation_follows_the_naming(naming) -> None:
    example = naming.expected.rpartition(" ")[2]
    assert naming.read(Path("/x") / f"{example}.wav") is not None


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.name)
def test_labels_are_emotions_and_terms_are_given(naming) -> None:
    assert set(naming.labels.values()) <= set(EMOTIONS)
    assert naming.licence
    assert naming.citation


@pytest.mark.parametrize("corpus", ["ravdess", "nemo", "tess", "esd", "cremad"])
def test_labels_that_are_words_mean_what_the_vocabulary_says(corpus: str) -> None:
    words = {code: emotion for code, emotion in BY_NAME[corpus].labels.items() if normalise_emotion(code)}
    assert words == {code: normalise_emotion(code) for code in words}


def test_cremad_has_48_men_and_43_women() -> None:
    genders = [
        utterance.gender
        for actor in range(1001, 1092)
        if (utterance := BY_NAME["cremad"].read(Path(f"/{actor}_IEO_NEU_XX.wav")))
    ]
    assert (genders.count("male"), genders.count("female")) == (48, 43)


def test_sentences_are_known_where_the_corpus_has_a_fixed_set(tmp_path: Path) -> None:
    make(tmp_path, "03-01-06-01-02-01-12.wav")
    assert load_corpus(tmp_path).utterances[0].text == "Dogs are sitting by the door"


def test_the_folders_of_esd_give_the_split(tmp_path: Path) -> None:
    make(tmp_path, *(f"0012/Happy/{part}/0012_00070{n}.wav" for n, part in enumerate(("train", "evaluation", "test"))))
    splits = {utterance.path.parent.name: utterance.split for utterance in load_corpus(tmp_path).utterances}
    assert splits == {"train": "train", "evaluation": "validation", "test": "test"}


def test_a_speaker_folder_is_recognised_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "DC/a01.wav", "DC/su02.wav")
    monkeypatch.chdir(tmp_path / "DC")
    assert load_corpus(Path()).name == "savee"


def test_recordings_that_do_not_follow_become_problems(tmp_path: Path) -> None:
    make(tmp_path, *(f"03-01-06-01-02-01-{actor:02}.wav" for actor in range(1, 5)), "bell.wav")
    corpus = load_corpus(tmp_path)
    assert len(corpus.utterances) == 4
    (problem,) = corpus.problems
    assert "bell.wav: the file name does not follow RAVDESS (expected modality-" in problem
    assert problem.endswith("found bell)")


def test_a_code_that_means_no_emotion_does_not_follow(tmp_path: Path) -> None:
    make(tmp_path, *(f"03-01-06-01-02-01-{actor:02}.wav" for actor in range(1, 5)), "03-01-09-01-02-01-01.wav")
    assert len(load_corpus(tmp_path).utterances) == 4


def test_without_a_majority_nothing_is_recognised(tmp_path: Path) -> None:
    make(tmp_path, *(f"happy/03-01-06-01-02-01-{actor:02}.wav" for actor in range(1, 4)), "happy/bell.wav")
    corpus = load_corpus(tmp_path)
    assert corpus.name == tmp_path.name
    assert {utterance.emotion for utterance in corpus.utterances} == {"happy"}
