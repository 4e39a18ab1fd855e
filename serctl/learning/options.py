"""What a training can be asked for; kept apart from what trains, which loads TensorFlow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError
from serctl.learning import values
from serctl.learning.defaults import by_architecture, by_fit
from serctl.models import ARCHITECTURES, DEFAULT_ARCHITECTURE, Architecture, find_architecture
from serctl.options import check_options, option
from serctl.transforms.speed import Speed

if TYPE_CHECKING:
    from serctl.bundle.store import Bundle
    from serctl.corpora import ReadOptions, Utterance
    from serctl.transforms.noise import Noise
    from serctl.transforms.parameters import Transform

SEED_HELP = "Random seed: the same seed gives the same result."
PROTOCOL_HELP = (
    "loso, speaker-kfold:K, emobox-ravdess-6, leave-one-language-out, leave-one-corpus-out, random-kfold:K "
    "(speaker-dependent) or split (a manifest's, or that of folders named train and test)."
)
UNSTATED_LICENCE = "not stated: see the licences of the training data"


def _default_noise() -> Noise:
    from serctl.transforms.noise import Noise

    return Noise()


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit; shares are between 0 and 1. crop, time_mask, band_mask: for networks that take the spectrogram.

    Attributes:
        lr: highest learning rate of the schedule.
        patience: epochs of the second half without a better validation UAR before fitting stops.
        crop: most frames of a training example, the rest cut off at random; validation takes whole windows.
        mixup: alpha of the Beta distribution, 0 for none.
        specaugment: whether masks are made.
        time_mask, band_mask: the widest mask as a share of the frames and of the bands; two of each are drawn.
        functional_noise: in standard deviations.
        weight_average: momentum of the moving average of the weights; it is lower in a short training.
        teacher_share: share of the teachers' probabilities in a label, where there are teachers.
        adapted_share: share of the examples that are normalised by the recordings of their own corpus, or of a random
            part of it, as prediction does when it adapts.
        modality_dropout: share of the examples that lack words or speech, half of them each.

    Raises:
        ConfigError: a value is out of range.

    Sources: Zhang et al. 2018, arXiv:1710.09412 (mixup); Park et al. 2019, doi:10.21437/Interspeech.2019-2680
    (SpecAugment); Szegedy et al. 2016, doi:10.1109/CVPR.2016.308 (label smoothing); Hinton et al. 2015,
    arXiv:1503.02531 (distillation).
    """

    epochs: int = option(
        Architecture.epochs,
        f"Maximum number of epochs. Default: {by_architecture('epochs')}; continuing from a model: "
        f"{by_architecture('continued_epochs')}.",
        low=1,
        unset=True,
    )
    patience: int = option(
        Architecture.patience,
        "Stop after this many epochs without a better validation UAR, in the second half of the epochs. Default: "
        f"{by_architecture('patience')}.",
        low=1,
        unset=True,
    )
    batch_size: int = option(32, f"Windows in a batch. Default: {by_fit('batch_size', 32)}.", low=1, unset=True)
    lr: float = option(
        1.5e-3,
        f"Peak learning rate of the schedule, above 0. Default: {by_fit('lr', 1.5e-3)}; continuing from a model: "
        f"{by_architecture('continued_lr')}.",
        above=0,
        unset=True,
    )
    weight_decay: float = option(
        0.02, f"Weight decay of AdamW, 0 or more. Default: {by_fit('weight_decay', 0.02)}.", low=0, unset=True
    )
    label_smoothing: float = 0.1
    crop: int = 200
    mixup: float = option(0.0, "Mixup: alpha of the Beta distribution, 0 for none.", low=0)
    time_mask: float = 0.15
    band_mask: float = 0.2
    functional_noise: float = 0.1
    weight_average: float = 0.99
    teacher_share: float = 0.7
    adapted_share: float = 0.0
    modality_dropout: float = 0.0
    specaugment: bool = option(True, "Mask parts of the spectrogram, for networks that take it (not hybrid, mfcc).")
    seed: int = option(0, SEED_HELP, low=0)

    def __post_init__(self) -> None:
        check_options(self)
        self._require(self.crop >= 1, "crop", "of at least 1")
        shares = ("label_smoothing", "time_mask", "band_mask", "weight_average", "teacher_share", "adapted_share")
        for name in (*shares, "modality_dropout"):
            self._require(0 <= getattr(self, name) < 1, name, "from 0 to below 1")
        self._require(self.functional_noise >= 0, "functional_noise", "of 0 or more")

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ConfigError(f"expected {name} {expected}. Received: {getattr(self, name)}")

    @classmethod
    def defaults(cls, architecture: str, *, continued: bool = False) -> FitOptions:
        """Return the defaults of this architecture.

        Args:
            architecture: its name.
            continued: whether training starts from a model.
        """
        facts = find_architecture(architecture)
        fit: dict[str, Any] = {"epochs": facts.epochs, "patience": facts.patience, **facts.fit}
        if continued:
            fit |= {"epochs": facts.continued_epochs, "lr": facts.continued_lr}
        return cls(**fit)

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Augmentation:
    """Changed copies of each training utterance, made once and drawn at random in every epoch.

    Attributes:
        copies, noisy_copies: how many with another speed; with another speed and noise.
        degraded_copies: how many over a telephone line, in noise, in a room, through a codec, or at another level.
        vocal_tract_copies: how many with another vocal tract length and pitch, as if other speakers said the same.
        noise_files: recordings of noise for the degraded copies; without any, it is white.
        voice_files: recordings of speech, for degraded copies with voices in the background; without any, none have.

    Raises:
        ConfigError: a number of copies is negative.
    """

    copies: int = option(
        3,
        "Augmented copies of each training utterance, at another speed; 0 for none. Default: "
        f"{by_fit('copies', 3, facts='augmentation')}.",
        low=0,
        unset=True,
    )
    noisy_copies: int = option(0, "Further copies at another speed and with Gaussian noise of 10 to 20 dB SNR.", low=0)
    degraded_copies: int = option(
        0,
        "Further copies over a telephone line, in noise, in a room, through a codec or at another level. Default: "
        f"{by_fit('degraded_copies', 0, facts='augmentation')}.",
        low=0,
        unset=True,
    )
    vocal_tract_copies: int = option(
        0, "Further copies with another vocal tract length and pitch: more speakers out of few.", low=0
    )
    noise_files: tuple[Path, ...] = option(
        (),
        "Folder of noise recordings for the degraded copies. Default: white noise.",
        name="noise-dir",
        parse=values.recordings_in,
        metavar="DIR",
    )
    voice_files: tuple[Path, ...] = option(
        (),
        "Folder of recordings of speech: several voices at once are the babble of degraded copies. Default: no babble.",
        name="babble-dir",
        parse=values.recordings_in,
        metavar="DIR",
    )
    speed: Speed = option(
        lambda: Speed(0.85, 1.17),
        "Range of the speed factors of the copies, 0.1 to 10.",
        parse=Speed.from_text,
        metavar="LOW:HIGH",
    )
    noise: Noise = field(default_factory=_default_noise)
    seed: int = option(0, SEED_HELP, low=0)

    def __post_init__(self) -> None:
        check_options(self)

    def recipes(self) -> list[tuple[Transform, ...]]:
        """Return the transforms of each copy."""
        from serctl.transforms.one_of import recording_conditions
        from serctl.transforms.vocal_tract import VocalTract

        conditions = recording_conditions(self.noise_files, self.voice_files)
        return [
            *[(self.speed,)] * self.copies,
            *[(self.speed, self.noise)] * self.noisy_copies,
            *[(conditions,)] * self.degraded_copies,
            *[(VocalTract(),)] * self.vocal_tract_copies,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-able values; of noise recordings, the names alone, of voices their number."""
        return {
            **asdict(self),
            "noise": self.noise.to_dict(),
            "noise_files": [path.name for path in self.noise_files],
            "voice_files": len(self.voice_files),
        }

    @classmethod
    def defaults(cls, architecture: str) -> Augmentation:
        """Return the defaults of this architecture."""
        copies: dict[str, Any] = dict(find_architecture(architecture).augmentation)
        return cls(**copies)


@dataclass(frozen=True)
class LabelOptions:
    """Which emotions take part.

    Attributes:
        classes: emotions that take part after renaming; all that occur when empty.
        mapping: renames emotions (calm: neutral), and gives labels outside the vocabulary a meaning (froh: happy).
        target: column of a manifest whose numbers are learned instead of emotions.
        transcripts: folder or file with the words, instead of those of the manifest.

    Raises:
        ConfigError: a class, or the meaning of a label, is not in the emotion vocabulary.
    """

    classes: tuple[str, ...] = option(
        (),
        "Emotions to use, separated by commas. Default: all in the corpora.",
        parse=values.names,
        metavar="A,B,...",
    )
    mapping: tuple[tuple[str, str], ...] = option(
        (),
        "Rename an emotion, or name that of a label: calm=neutral, froh=happy. Repeatable.",
        name="map",
        parse=values.renaming,
        repeatable=True,
        metavar="FROM=TO",
    )
    target: str | None = option(
        None,
        "Predict a number instead of emotions: the manifest column that holds it, such as valence.",
        kind=str,
        metavar="COLUMN",
    )
    transcripts: str | None = option(
        None,
        "Transcripts, as for predict, instead of the column text of a manifest: for coattention, or to score speech "
        "with its words.",
        kind=str,
        metavar="DIR|FILE",
    )

    def __post_init__(self) -> None:
        from serctl.corpora import EMOTIONS, normalise_emotion

        for name in (*self.classes, *(emotion for _, emotion in self.mapping)):
            if normalise_emotion(name) != name:
                raise ConfigError(f"expected an emotion among {', '.join(EMOTIONS)}. Received: {name}")
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"expected each class once. Received: {', '.join(self.classes)}")
        if self.target is not None and (self.classes or self.mapping):
            raise ConfigError(f"{self.target} is a number: expected no emotions to choose or to rename with it")

    @property
    def reading(self) -> ReadOptions:
        """How corpora are to be read: what labels outside the vocabulary mean."""
        from serctl.corpora import ReadOptions, normalise_emotion

        labels = tuple(pair for pair in self.mapping if normalise_emotion(pair[0]) is None)
        return ReadOptions(labels=labels, target=self.target)

    def apply(self, utterance: Utterance) -> Utterance | None:
        """The utterance with its label renamed, or None if its class does not take part."""
        from serctl.corpora import normalise_emotion

        renamed = {normalise_emotion(label): emotion for label, emotion in self.mapping}
        emotion = renamed.get(utterance.emotion, utterance.emotion)
        return replace(utterance, emotion=emotion) if not self.classes or emotion in self.classes else None


@dataclass(frozen=True)
class NetworkOptions:
    """What a network is and what it starts from.

    Args:
        architecture: its name.
        base: a model to continue from instead of starting anew: its weights, its normaliser and, if they suffice, its
            classes.
        teachers: models whose probabilities are learned along with the labels (distillation).
        causal: whether an output may depend on past frames only.
        validation_share: share of the training utterances held out to choose the epoch and to calibrate.
    """

    architecture: str = option(
        DEFAULT_ARCHITECTURE,
        f"Architecture of the network: {', '.join(ARCHITECTURES)}.",
        name="arch",
        metavar="NAME",
        unset=True,
    )
    base: Bundle | None = option(
        None,
        "Continue from this model: a bundled one's name or a bundle's folder.",
        name="from",
        parse=values.model,
        metavar="MODEL",
    )
    teachers: tuple[Bundle, ...] = option(
        (),
        "Learn this model's probabilities as well (distillation). Repeatable.",
        name="teacher",
        parse=values.model,
        repeatable=True,
        metavar="MODEL",
    )
    causal: bool = option(False, "Outputs depend on past frames only (lstm): for streams.")
    validation_share: float = option(
        0.1,
        "Share held out to choose the epoch, whole speakers unless test speakers are in training too.",
        low=0.02,
        high=0.5,
    )


@dataclass(frozen=True)
class RecordOptions:
    """What is written down beside a trained model.

    Args:
        language: spoken in all recordings, whatever the corpus says.
        name: of the model; the folder's name if empty.
        licence: of the weights.
        command: for the model card.
        evaluation: folder of a cross-validation to quote in the card; the scores of the held-out part are optimistic.
        learning_curve: also train on an eighth, a quarter and half of the training data, and write the UAR of each on
            the same held-out part.
    """

    language: str | None = option(
        None,
        "Code of the language spoken (xx). When continuing from a shared_private model: fit its adapter alone.",
        kind=str,
        metavar="CODE",
    )
    name: str = option("", "Name of the model. Default: the name of the folder.")
    licence: str = option(UNSTATED_LICENCE, "Licence of the weights, for the model card.", unset=True)
    command: str = ""
    evaluation: Path | None = option(
        None, "Folder of a cross-validation (`serctl evaluate`) to quote in the model card.", kind=Path
    )
    learning_curve: bool = option(
        False,
        "Also train on an eighth, a quarter and half of the training speakers, and write learning-curve.csv and .png "
        "into OUTPUT: UAR on the same held-out part. Takes about twice the time.",
    )


@dataclass(frozen=True)
class ProtocolOptions:
    """How training and test are divided.

    Args:
        protocol: name of the protocol.
        normalise_speakers: features relative to those of the speaker's other recordings, in test as in training. It
            needs no labels, but all of a speaker's recordings at once (transductive), so results carry a stamp.
        adapt: features of the test part relative to its own recordings, corpus by corpus, as predict does when it
            adapts to recordings of any mix; transductive as well.
    """

    protocol: str = option("loso", PROTOCOL_HELP, metavar="NAME", unset=True)
    normalise_speakers: bool = option(
        False,
        "Normalise features over all recordings of a speaker, in test as well (transductive; the report says so).",
    )
    adapt: bool = option(
        False,
        "Normalise features over the test recordings of each corpus, as predict does to adapt; the report says so.",
    )
