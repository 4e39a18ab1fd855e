"""What to export a model as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from serctl.errors import ConfigError, Remedy

if TYPE_CHECKING:
    from pathlib import Path

    from serctl.export.convert import Quantize

Format = Literal["litert", "onnx"]

LEAST_AGREEMENT = {"none": 0.98, "float16": 0.98, "dynamic": 0.98, "int8": 0.95}
"""Share of equal labels below which an export fails, where nothing else is asked for."""

_LONGER_NAMES = {"none": "float32"}


@dataclass(frozen=True)
class ExportOptions:
    """What to make of a model.

    calibrate: folder or file of recordings that int8 measures its ranges on; None for those the model learned from.
    verify: recordings that the networks are compared on; None for those it was validated on, or else the former.
    min_agreement: least share of equal labels, None for the default of the quantization. with_frontend: add a LiteRT
    model that takes samples; it needs recordings to verify, for the cache holds no samples. name: of the new model,
    empty for the old one's with the quantization. command: for the record.
    Raises ConfigError if they do not fit together.
    """

    format: Format = "litert"
    quantize: Quantize = "float16"
    calibrate: Path | None = None
    verify: Path | None = None
    min_agreement: float | None = None
    with_frontend: bool = False
    name: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        if self.format not in ("litert", "onnx"):
            raise ConfigError(f"expected the format litert or onnx, came {self.format}")
        if self.quantize not in LEAST_AGREEMENT:
            raise ConfigError(f"expected to quantize by one of {', '.join(LEAST_AGREEMENT)}, came {self.quantize}")
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
        if not 0 <= self.least_agreement <= 1:
            raise ConfigError(f"expected a share of equal labels between 0 and 1, came {self.min_agreement}")

    @property
    def least_agreement(self) -> float:
        """Share of equal labels below which the export fails."""
        return LEAST_AGREEMENT[self.quantize] if self.min_agreement is None else self.min_agreement

    @property
    def suffix(self) -> str:
        """What the name of the model gets."""
        return "onnx" if self.format == "onnx" else _LONGER_NAMES.get(self.quantize, self.quantize)
