"""The optional packages, by the extra that installs them: `pip install 'serctl[train]'`."""

from __future__ import annotations

from importlib.util import find_spec

from serctl.errors import MissingExtraError

EXTRAS = {
    "train": ("tensorflow", "keras", "librosa", "matplotlib", "pyarrow", "scipy"),
    "parquet": ("pyarrow",),
    "onnx": ("onnxruntime", "onnx", "tf2onnx"),
    "mic": ("sounddevice",),
    "media": ("av",),
    "s3": ("s3fs", "fsspec"),
    "dask": ("distributed", "cryptography"),
    "federated": ("flwr", "cryptography"),
}
"""The modules that each extra brings."""


def require_extra(extra: str, purpose: str, *modules: str) -> None:
    """Check that optional packages are installed; nothing is imported, so it takes no time.

    Args:
        extra: name of the extra, a key of EXTRAS.
        purpose: what needs it, as the start of a sentence, such as "training".
        modules: those that are needed; all of the extra by default.

    Raises:
        MissingExtraError: at least one is not installed; the message is the line to type.
    """
    missing = tuple(name for name in modules or EXTRAS[extra] if find_spec(name) is None)
    if missing:
        raise MissingExtraError(f"{purpose} needs {', '.join(missing)}: pip install 'serctl[{extra}]'", extra=extra)
