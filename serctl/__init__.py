"""Speech emotion recognition for folders of recordings."""

# No import here that runs: `python -m serctl` comes through before it leaves the current folder out of the search path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from serctl.api import (
        Model,
        Prediction,
        Scan,
        cross_validate,
        evaluate,
        explain,
        extract,
        load_model,
        predict,
        scan,
        train,
    )
    from serctl.cache import Cache
    from serctl.errors import SerctlError
    from serctl.explanation.options import ExplainOptions
    from serctl.explanation.recording import Explanation
    from serctl.learning.options import Augmentation, FitOptions, LabelOptions
    from serctl.run import Run
    from serctl.verbs.evaluate import CrossValidation
    from serctl.verbs.options import ExtractOptions, PredictOptions
    from serctl.verbs.train import TrainOptions

__all__ = [
    "Augmentation",
    "Cache",
    "CrossValidation",
    "ExplainOptions",
    "Explanation",
    "ExtractOptions",
    "FitOptions",
    "LabelOptions",
    "Model",
    "PredictOptions",
    "Prediction",
    "Run",
    "Scan",
    "SerctlError",
    "TrainOptions",
    "__version__",
    "cross_validate",
    "evaluate",
    "explain",
    "extract",
    "load_model",
    "predict",
    "scan",
    "train",
]

__version__ = "0.2.0"

_HOMES = {
    "serctl.cache": ("Cache",),
    "serctl.errors": ("SerctlError",),
    "serctl.explanation.options": ("ExplainOptions",),
    "serctl.explanation.recording": ("Explanation",),
    "serctl.learning.options": ("Augmentation", "FitOptions", "LabelOptions"),
    "serctl.run": ("Run",),
    "serctl.verbs.evaluate": ("CrossValidation",),
    "serctl.verbs.options": ("ExtractOptions", "PredictOptions"),
    "serctl.verbs.train": ("TrainOptions",),
}
"""Where a name comes from that is not of serctl.api."""


def __getattr__(name: str) -> object:
    # PEP 562: what a name needs is imported when it is used, for the command line starts through here too.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((module for module, names in _HOMES.items() if name in names), "serctl.api")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
