"""The record of an architecture and the specification that a network is built for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from serctl.models.lazy import keras

    Input = Literal["log_mel", "mask", "functionals", "language", "tokens", "token_mask", "states", "state_mask"]

LANGUAGE_OUTPUT = "adversary"
"""Name of the output that is trained to classify languages instead of emotions."""

ATTENTION_LAYER = "attention"
"""Name of the layer, where a network has one, whose output is the weight of each frame."""

ADAPTER_LAYERS = ("adapter_down", "adapter_up")
"""Names of the layers whose weights belong to one language each, block after block."""

LEFT_IN_FLOAT = (
    *("ADD", "SUB", "MUL", "SUM", "MEAN", "SQUARED_DIFFERENCE", "MAXIMUM", "SQRT", "RSQRT"),
    *("SOFTMAX", "TANH"),
)
"""LiteRT operators that lose accuracy in int8 and gain little speed.

Attention adds a large negative number to the scores of padded frames: beside it, all other scores would fall into one
step of int8. A variance squares the range of its input.
"""


@dataclass(frozen=True)
class ModelSpec:
    """Specification of a network.

    Attributes:
        n_classes: number of emotions.
        functionals: names, in the order of the input's columns.
        languages: those of the training data, in the order of the language input's columns; the input is all zeros for
            any other language.
        causal: whether outputs may depend on past frames only.
        n_states: most states of the speech encoder in a window; 0 where the features have none.
    """

    n_frames: int
    n_mels: int
    functionals: tuple[str, ...]
    n_classes: int
    languages: tuple[str, ...] = ()
    causal: bool = False
    n_states: int = 0


@dataclass(frozen=True)
class Architecture:
    """The facts of an architecture, all in one place: its own file.

    Attributes:
        build: makes a new, untrained network. Its first output, named probabilities, is the prediction; further ones
            are heads that only training uses.
        inputs: names of the network's inputs.
        voice_encoder, speech_encoder: whether it needs the deep features of that encoder behind the functionals.
        text_encoder: whether it takes the words, as states of their tokens.
        speech_states: whether it takes the states of the speech encoder too.
        adapters: whether it has an adapter for each language.
        build_step: makes one step of a trained causal network; None for one that cannot be built causal.
        epochs, patience: defaults of a fit.
        fit, augmentation: further defaults, by the name of the field of FitOptions and of Augmentation.
        continued_epochs, continued_lr: epochs and learning rate of a fit that starts from a model.
        left_in_float: LiteRT operators that an int8 export leaves in float.
        leaves_corpora_out: whether it is trained quickly enough to be calibrated by trainings without each corpus.
    """

    name: str
    build: Callable[[ModelSpec], keras.Model]
    inputs: frozenset[Input]
    voice_encoder: bool = False
    speech_encoder: bool = False
    text_encoder: bool = False
    speech_states: bool = False
    adapters: bool = False
    build_step: Callable[[keras.Model, ModelSpec], keras.Model] | None = None
    epochs: int = 40
    patience: int = 15
    fit: Mapping[str, float] = field(default_factory=dict)
    augmentation: Mapping[str, int] = field(default_factory=dict)
    continued_epochs: int = 20
    continued_lr: float = 5e-4
    left_in_float: tuple[str, ...] = LEFT_IN_FLOAT
    leaves_corpora_out: bool = False

    @property
    def causal(self) -> bool:
        """Whether it can be built causal, for streaming."""
        return self.build_step is not None

    @property
    def spectrogram_only(self) -> bool:
        """Whether the log-mel spectrogram is the only input."""
        return self.inputs == SPECTROGRAM


SPECTROGRAM: frozenset[Input] = frozenset({"log_mel", "mask"})
FUNCTIONALS: frozenset[Input] = frozenset({"functionals"})
STATES: frozenset[Input] = frozenset({"states", "state_mask"})
TOKENS: frozenset[Input] = frozenset({"tokens", "token_mask"})
