"""How to fit a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from serctl.errors import ConfigError
from serctl.models import Architecture, find_architecture


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit; shares are between 0 and 1, lr is the highest learning rate of the schedule.

    patience: epochs of the second half without a better validation UAR before fitting stops. crop: most frames of a
    training example, the rest cut off at random; validation and prediction take whole windows. mixup: alpha of the
    Beta distribution, 0 for none. time_mask, band_mask: the widest SpecAugment mask as a share of the frames and of the
    bands, two of each. functional_noise: in standard deviations. weight_average: momentum of the moving average of the
    weights, less in a short training. teacher_share: share of the teachers' probabilities in a label, where there are
    teachers.
    crop, time_mask and band_mask act on networks that take the spectrogram.
    Raises ConfigError if a value is out of range.
    Sources: Zhang et al. 2018, arXiv:1710.09412 (mixup); Park et al. 2019, doi:10.21437/Interspeech.2019-2680
    (SpecAugment); Szegedy et al. 2016, doi:10.1109/CVPR.2016.308 (label smoothing); Hinton et al. 2015,
    arXiv:1503.02531 (distillation).
    """

    epochs: int = Architecture.epochs
    patience: int = Architecture.patience
    batch_size: int = 32
    lr: float = 1.5e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    crop: int = 200
    mixup: float = 0.0
    time_mask: float = 0.15
    band_mask: float = 0.2
    functional_noise: float = 0.1
    weight_average: float = 0.99
    teacher_share: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "crop"):
            self._require(getattr(self, name) >= 1, name, "of at least 1")
        for name in ("label_smoothing", "time_mask", "band_mask", "weight_average", "teacher_share"):
            self._require(0 <= getattr(self, name) < 1, name, "from 0 to below 1")
        for name in ("mixup", "functional_noise", "weight_decay"):
            self._require(getattr(self, name) >= 0, name, "of 0 or more")
        self._require(self.lr > 0, "lr", "above 0")

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ConfigError(f"expected {name} {expected}, received {getattr(self, name)}")

    @classmethod
    def defaults(cls, architecture: str) -> FitOptions:
        """Return the defaults of this architecture."""
        facts = find_architecture(architecture)
        return cls(epochs=facts.epochs, patience=facts.patience)

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON-able values."""
        return asdict(self)
