"""Keras as serctl sets it; each case in an interpreter of its own, since Keras reads its settings once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BUILD = """
import numpy as np
from serctl.models import ModelSpec, build
import sys
assert "keras" not in sys.modules
model = build("cnn", ModelSpec(n_frames=32, n_mels=16, functionals=(), n_classes=2))
import keras
found = model({"log_mel": np.zeros((1, 32, 16)), "mask": np.ones((1, 32))})
print(keras.config.backend(), keras.config.image_data_format(), found.shape, str(model.layers[-1].dtype_policy.name))
"""


def run(script: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "KERAS_HOME": str(home), **environment}
    return subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False)


def test_keras_is_set_for_the_run_whatever_its_settings_say(tmp_path: Path) -> None:
    settings = {"backend": "torch", "floatx": "float16", "epsilon": 1e-2, "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    ended = run(BUILD, tmp_path, KERAS_BACKEND="torch")
    assert ended.stdout.split() == ["tensorflow", "channels_last", "(1,", "2)", "float32"], ended.stderr
