"""Options of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serctl.errors import ConfigError, Remedy
from serctl.options import check_options, option

Format = Literal["litert", "onnx"]
Quantize = Literal["none", "float16", "dynamic", "int8"]

LEAST_AGREEMENT = {"none": 0.98, "float16": 0.98, "dynamic": 0.98, "int8": 0.95}
"""Default share of equal labels below which an export fails."""

_LONGER_NAMES = {"none": "float32"}


@dataclass(frozen=True)
class ExportOptions:
    """How to export a model.

    Args:
        format: litert or onnx.
        quantize: none, float16, dynamic or int8.
        calibrate: folder or file of recordings for measuring int8 ranges; None for the training recordings.
        verify: recordings that the networks are compared on; None for the validation recordings, or else those to
            calibrate on.
        min_agreement: least share of equal labels; None for the default of the quantization.
        with_frontend: also write a LiteRT model that takes samples; verifying it needs recordings, as the cache holds
            no samples.
        name: name of the new model; empty for the old name with the quantization appended.
        command: the command line, for the record.

    Raises:
        ConfigError: the options contradict each other.
    """

    format: Format = option(
        "litert", "Format of the network; onnx needs pip install 'serctl[onnx]'.", choices=("litert", "onnx")
    )
    quantize: Quantize = option(
        "float16",
        "none: float32. float16: half of that. dynamic: weights in int8. int8: arithmetic in int8 as well. Default: "
        "float16; none for onnx.",
        choices=("none", "float16", "dynamic", "int8"),
        unset=True,
    )
    calibrate: Path | None = option(
        None,
        "Recordings that int8 measures its ranges on. Default: those the model learned from, as far as their features "
        "are cached.",
        kind=Path,
        metavar="DIR",
    )
    verify: Path | None = option(
        None,
        "Recordings that the old and the new model are compared on. Default: those the model was validated on, as far "
        "as their features are cached, or else those to calibrate on.",
        kind=Path,
        metavar="DIR",
    )
    min_agreement: float | None = option(
        None, "Fail below this share (0 to 1) of equal labels. Default: 0.98, for int8 0.95.", kind=float, low=0, high=1
    )
    with_frontend: bool = option(
        False,
        "Add end_to_end.tflite: samples in, calibrated probabilities out, for devices without Python; of cnn, cnn3d, "
        "resnet, lstm, separable, separable-small and cnn-large models. Its network has float32 weights; with dynamic "
        "and int8, int8 weights. It is compared with Python on the recordings to verify.",
    )
    name: str = option("", "Name of the new model. Default: the old one's with the quantization.")
    command: str = ""

    def __post_init__(self) -> None:
        check_options(self)
        if self.format == "onnx" and self.quantize != "none":
            raise ConfigError(
                f"an ONNX model is exported in float32. Received: quantize={self.quantize}", Remedy.NO_QUANTIZATION
            )
        if self.with_frontend and self.format != "litert":
            raise ConfigError("the front end is part of a LiteRT model. Received: format=onnx", Remedy.LITERT)
        if self.with_frontend and self.verify is None:
            raise ConfigError(
                "with its front end, a model is compared from samples on, which the feature cache does not hold",
                Remedy.VERIFICATION_RECORDINGS,
            )

    @property
    def least_agreement(self) -> float:
        """Share of equal labels below which the export fails."""
        return LEAST_AGREEMENT[self.quantize] if self.min_agreement is None else self.min_agreement

    @property
    def suffix(self) -> str:
        """Suffix of the model's name."""
        return "onnx" if self.format == "onnx" else _LONGER_NAMES.get(self.quantize, self.quantize)
