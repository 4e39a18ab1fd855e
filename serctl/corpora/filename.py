"""Corpora that encode labels and speakers in their file names: one table, one row per corpus."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serctl.corpora.base import Corpus, Utterance

if TYPE_CHECKING:
    from pathlib import Path

MAJORITY = 0.8
"""Least share of a folder's recordings that must match a naming for the folder to be recognised as that corpus."""

_SPLITS = {"train": "train", "evaluation": "validation", "test": "test"}

GenderRule = Callable[[Mapping[str, str]], "str | None"]


@dataclass(frozen=True)
class Naming:
    """The file naming of one corpus, and its terms of use.

    Attributes:
        pattern: matched, ignoring case, against the end of the path without its suffix. It names the groups emotion and
            speaker, and optionally gender, text and split.
        labels, genders, texts: translate the codes; genders through the rule.
    """

    name: str
    title: str
    expected: str
    pattern: str
    labels: Mapping[str, str]
    gender: GenderRule
    language: str
    licence: str
    citation: str
    language_of_speaker: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def match(self, stem: str) -> re.Match[str] | None:
        """Find the codes in an absolute path without its suffix; None if it does not follow this corpus."""
        return re.fullmatch(f"(?:.*/)?{self.pattern}", stem, re.IGNORECASE | re.DOTALL)

    def read(self, path: Path) -> Utterance | None:
        """Read what the file name says about the recording; None if it does not follow this corpus."""
        match = self.match(_stem(path))
        if match is None:
            return None
        codes = {group: code for group, code in match.groupdict().items() if code is not None}
        return Utterance(
            path=path,
            emotion=self.labels[codes["emotion"].lower()],
            corpus=self.name,
            speaker=codes["speaker"],
            gender=self.gender(codes),
            language=self.language_of_speaker.get(codes["speaker"], self.language),
            text=self.texts.get(codes.get("text", "").lower()),
            split=_SPLITS.get(codes.get("split", "").lower()),
        )


def _stem(path: Path) -> str:
    # Absolute, so that a corpus whose speaker is the folder is recognised from inside that folder, too.
    return path.absolute().with_suffix("").as_posix()


def _gender_code(codes: Mapping[str, str]) -> str | None:
    return {"f": "female", "01": "female", "m": "male", "02": "male"}.get(codes["gender"].lower())


def _odd_is_male(codes: Mapping[str, str]) -> str:
    return "male" if int(codes["speaker"]) % 2 else "female"


def _always(gender: str) -> GenderRule:
    return lambda _codes: gender


def _listed(*, female: str, male: str) -> GenderRule:
    genders = dict.fromkeys(female.split(), "female") | dict.fromkeys(male.split(), "male")
    return lambda codes: genders.get(codes["speaker"].upper())


def _unknown(_codes: Mapping[str, str]) -> None:
    return None


def _among(*, female: str) -> GenderRule:
    women = frozenset(female.split())
    return lambda codes: "female" if codes["speaker"] in women else "male"


NAMINGS: tuple[Naming, ...] = (
    Naming(
        name="ravdess",
        title="RAVDESS",
        expected="modality-channel-emotion-intensity-statement-repetition-actor, as in 03-01-06-01-02-01-12",
        pattern=r"0[1-3]-0[12]-(?P<emotion>0[1-8])-0[12]-(?P<text>0[12])-0[12]-(?P<speaker>0[1-9]|1\d|2[0-4])",
        labels={
            "01": "neutral",
            "02": "calm",
            "03": "happy",
            "04": "sad",
            "05": "angry",
            "06": "fearful",
            "07": "disgust",
            "08": "surprised",
        },
        gender=_odd_is_male,
        language="en",
        texts={"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"},
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391",
    ),
    Naming(
        name="emodb",
        title="EMO-DB",
        expected="speaker, text, emotion letter, version, as in 03a01Fa",
        pattern=r"(?P<speaker>0[389]|1[0-6])(?P<text>[ab]\d\d)(?P<emotion>[WLEAFTN])[a-z]",
        labels={
            "w": "angry",
            "l": "boredom",
            "e": "disgust",
            "a": "fearful",
            "f": "happy",
            "t": "sad",
            "n": "neutral",
        },
        gender=_listed(female="08 09 13 14 16", male="03 10 11 12 15"),
        language="de",
        texts={
            "a01": "Der Lappen liegt auf dem Eisschrank.",
            "a02": "Das will sie am Mittwoch abgeben.",
            "a04": "Heute abend könnte ich es ihm sagen.",
            "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
            "a07": "In sieben Stunden wird es soweit sein.",
            "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
            "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
            "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
            "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
            "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
        },
        licence="no licence text at the source; free to download, cite the paper",
        citation="Burkhardt et al. 2005, A Database of German Emotional Speech, Interspeech, "
        "doi:10.21437/Interspeech.2005-446",
    ),
    Naming(
        name="cremad",
        title="CREMA-D",
        expected="actor_sentence_EMOTION_level, as in 1001_DFA_ANG_XX",
        # The level is one letter in a single file of the release, 1040_ITH_SAD_X.
        pattern=r"(?P<speaker>1\d{3})_(?P<text>[A-Z]{3})_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?)",
        labels={
            "ang": "angry",
            "dis": "disgust",
            "fea": "fearful",
            "hap": "happy",
            "neu": "neutral",
            "sad": "sad",
        },
        gender=_among(
            female="1002 1003 1004 1006 1007 1008 1009 1010 1012 1013 1018 1020 1021 1024 1025 1028 1029 1030 1037 "
            "1043 1046 1047 1049 1052 1053 1054 1055 1056 1058 1060 1061 1063 1072 1073 1074 1075 1076 1078 1079 "
            "1082 1084 1089 1091"
        ),
        language="en",
        texts={
            "dfa": "Don't forget a jacket",
            "ieo": "It's eleven o'clock",
            "iom": "I'm on my way to the meeting",
            "ith": "I think I have a doctor's appointment",
            "its": "I think I've seen this before",
            "iwl": "I would like a new alarm clock",
            "iww": "I wonder what this is about",
            "mti": "Maybe tomorrow it will be cold",
            "tai": "The airplane is almost full",
            "tie": "That is exactly what happened",
            "tsi": "The surface is slick",
            "wsi": "We'll stop in a couple of minutes",
        },
        licence="ODbL 1.0",
        citation="Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244",
    ),
    Naming(
        name="savee",
        title="SAVEE",
        expected="speaker and emotion letters with a number, as in DC_a01 or DC/a01",
        pattern=r"(?P<speaker>DC|JE|JK|KL)[_/](?P<emotion>a|d|f|h|n|sa|su)\d\d",
        labels={
            "a": "angry",
            "d": "disgust",
            "f": "fearful",
            "h": "happy",
            "n": "neutral",
            "sa": "sad",
            "su": "surprised",
        },
        gender=_always("male"),
        language="en",
        licence="research use only, after registration",
        citation="Haq & Jackson 2010, Multimodal Emotion Recognition, in Machine Audition, IGI Global",
    ),
    Naming(
        name="tess",
        title="TESS",
        expected="actress_word_emotion, as in OAF_back_angry",
        # One file of the release, OA_bite_neutral, lacks the F: so the F is no part of the speaker's code here.
        pattern=r"(?P<speaker>OA|YA)F?_[a-z]+_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)",
        labels={
            "angry": "angry",
            "disgust": "disgust",
            "fear": "fearful",
            "happy": "happy",
            "neutral": "neutral",
            "ps": "surprised",
            "sad": "sad",
        },
        gender=_always("female"),
        language="en",
        licence="CC BY-NC-ND 4.0",
        citation="Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF",
    ),
    Naming(
        name="emovo",
        title="EMOVO",
        expected="emotion-speaker-sentence, as in dis-f1-b1",
        pattern=r"(?P<emotion>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>(?P<gender>[fm])\d)-[a-z]+\d*",
        labels={
            "dis": "disgust",
            "gio": "happy",
            "neu": "neutral",
            "pau": "fearful",
            "rab": "angry",
            "sor": "surprised",
            "tri": "sad",
        },
        gender=_gender_code,
        language="it",
        licence="no licence text at the source; free to download, cite the paper",
        citation="Costantini et al. 2014, EMOVO Corpus: an Italian Emotional Speech Database, LREC",
    ),
    Naming(
        name="ased",
        title="ASED",
        expected="emotion letter and folder-sentence-repetition-gender-speaker, as in n1-01-01-02-03",
        pattern=r"(?P<emotion>[nfhsa])[1-5]-\d\d-\d\d-(?P<gender>0[12])-(?P<speaker>\d\d)",
        labels={"n": "neutral", "f": "fearful", "h": "happy", "s": "sad", "a": "angry"},
        gender=_gender_code,
        language="am",
        licence="no licence text at the source; free to download, cite the paper",
        citation="Retta et al. 2022, arXiv:2201.02710",
    ),
    Naming(
        name="nemo",
        title="nEMO",
        expected="speaker_emotion_sentence, as in EB0_anger_1",
        pattern=r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>anger|fear|happiness|neutral|sadness|surprised)_\d+",
        labels={
            "anger": "angry",
            "fear": "fearful",
            "happiness": "happy",
            "neutral": "neutral",
            "sadness": "sad",
            "surprised": "surprised",
        },
        gender=_listed(female="EB0 IC0 KD0", male="KS0 SM0 TP0"),
        language="pl",
        licence="CC BY-NC-SA 4.0",
        citation="Christop 2024, arXiv:2404.06292",
    ),
    Naming(
        name="urdu",
        title="URDU",
        expected="speaker_file_emotion letter and number, as in SM1_F10_A010",
        pattern=r"(?P<speaker>S(?P<gender>[FM])\d+)_F\d+_(?P<emotion>[AHNS])\d+",
        labels={"a": "angry", "h": "happy", "n": "neutral", "s": "sad"},
        gender=_gender_code,
        language="ur",
        licence="research use only",
        citation="Latif et al. 2018, Cross Lingual Speech Emotion Recognition: Urdu vs. Western Languages, FIT, "
        "pp. 88-93",
    ),
    Naming(
        name="turev",
        title="TurEV-DB",
        expected="speaker_emotion_word, as in 1157_kz_beste",
        pattern=r"(?P<speaker>\d{4})_(?P<emotion>kz|sk|mt|hl)_\w+",
        labels={"kz": "angry", "sk": "calm", "mt": "happy", "hl": "sad"},
        gender=_unknown,
        language="tr",
        licence="CC BY-NC-ND 4.0",
        citation="Canpolat et al. 2020, Turkish Emotion Voice Database (TurEV-DB), SLTU, pp. 368-375",
    ),
    Naming(
        name="esd",
        title="ESD",
        expected="speaker/emotion/speaker_number, as in 0011/Angry/0011_000351",
        pattern=r"(?P<speaker>00(?:0[1-9]|1\d|20))/(?P<emotion>angry|happy|neutral|sad|surprise)/"
        r"(?:(?P<split>train|evaluation|test)/)?(?P=speaker)_\d{6}",
        labels={
            "angry": "angry",
            "happy": "happy",
            "neutral": "neutral",
            "sad": "sad",
            "surprise": "surprised",
        },
        gender=_listed(
            female="0001 0002 0003 0007 0009 0015 0016 0017 0018 0019",
            male="0004 0005 0006 0008 0010 0011 0012 0013 0014 0020",
        ),
        language="en",
        language_of_speaker=dict.fromkeys([f"{number:04}" for number in range(1, 11)], "zh"),
        licence="research use only",
        citation="Zhou et al. 2021, doi:10.1109/ICASSP39728.2021.9413391",
    ),
)
"""Every corpus that is recognised by file names."""

BY_NAME: Mapping[str, Naming] = {naming.name: naming for naming in NAMINGS}


def matches(recordings: Sequence[Path]) -> dict[str, int]:
    """Count the recordings that follow each corpus's naming, by its title; corpora without any are left out."""
    stems = [_stem(path) for path in recordings]
    counts = {naming.title: sum(naming.match(stem) is not None for stem in stems) for naming in NAMINGS}
    return {title: count for title, count in counts.items() if count}


def recognise(recordings: Sequence[Path]) -> Naming | None:
    """Find the corpus whose naming at least MAJORITY of the recordings follow; None if there is none."""
    counts = matches(recordings)
    for naming in NAMINGS:
        if counts.get(naming.title, 0) >= MAJORITY * max(len(recordings), 1):
            return naming
    return None


def load(root: Path, recordings: Sequence[Path], naming: Naming) -> Corpus:
    """Read recordings as the corpus of a naming.

    Args:
        root: the folder of the corpus.
        recordings: the recordings below it.
        naming: how their names are made.

    Returns:
        The corpus; recordings that do not follow the naming become problems.
    """
    read = [(path, naming.read(path)) for path in recordings]
    return Corpus(
        name=naming.name,
        utterances=tuple(utterance for _, utterance in read if utterance is not None),
        problems=tuple(
            f"{path}: the file name does not follow {naming.title} (expected {naming.expected}; found {path.stem})"
            for path, utterance in read
            if utterance is None
        ),
        licence=naming.licence,
        citation=naming.citation,
        root=root,
    )
