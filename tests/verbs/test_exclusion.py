"""Every verb with an output keeps other runs off it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from serctl.errors import ConfigError
from serctl.files import claim
from serctl.verbs.augment import augment
from serctl.verbs.copies import MANIFEST
from serctl.verbs.evaluate import cross_validate, evaluate_model
from serctl.verbs.export import export
from serctl.verbs.scan import scan
from serctl.verbs.train import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WITH_OPTIONS = {"options": None}
VERBS: dict[str, Callable[..., Any]] = {
    "augment": augment,
    "cross_validate": partial(cross_validate, **WITH_OPTIONS),
    "evaluate_model": partial(evaluate_model, model=None, labels=None),
    "export": partial(export, **WITH_OPTIONS),
    "scan": scan,
    "train": partial(train, **WITH_OPTIONS),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verb_refuses_an_output_that_another_run_is_writing(
    verb: Callable[..., Any], samples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output.csv"
    held = output / MANIFEST if verb is augment else output  # its folder may be one that only it may write into
    with (
        claim(held),
        pytest.raises(ConfigError, match=f"{held} is being written by another run, process {os.getpid()}"),
    ):
        verb([samples], output=output)
