"""TensorFlow, imported without the lines that it prints, and the device that networks are trained on."""

from __future__ import annotations

import os

from serctl.extras import require_extra
from serctl.quiet import quiet_stderr


def import_tensorflow() -> None:
    """Import TensorFlow and initialise it without its log lines; errors of later calls are not hidden."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # All memory of a GPU at once would leave none to another backend of Keras, or to another training.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with quiet_stderr():
        import tensorflow as tf

        tf.config.list_logical_devices()
        # It warns when several networks are built in one process, which a cross-validation does.
        tf.get_logger().setLevel("ERROR")


def start_training(purpose: str) -> None:
    """Import TensorFlow, where it is installed.

    Args:
        purpose: what needs it, as the start of a sentence.

    Raises:
        MissingExtraError: the packages of the extra `train` are not installed.
    """
    require_extra("train", purpose)
    import_tensorflow()


def training_device() -> str:
    """Name the device that networks are trained on, and the backend of Keras: `gpu:0 (tensorflow)`."""
    import keras

    return f"{keras.distribution.list_devices()[0]} ({keras.backend.backend()})"
