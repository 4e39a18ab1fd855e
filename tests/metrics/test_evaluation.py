from __future__ import annotations

import json
from pathlib import Path

import pytest

from serctl.errors import ConfigError
from serctl.metrics.evaluation import EvaluationFacts, evaluation_dict, read_evaluation
from serctl.metrics.facts import ScoredPart

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SCORES = {"n": 2, "uar": 0.5, "wa": 0.5, "macro_f1": 0.5, "ece": None, "intervals": {}}
FACTS = {"protocol": {"name": "loso", "description": "each speaker left out"}, "confusion": [[1, 0], [1, 0]], **SCORES}


def written(folder: Path, **changes: object) -> Path:
    (folder / "metrics.json").write_text(json.dumps({**FACTS, **changes}))
    return folder


def test_files_of_earlier_versions_are_read_with_all_they_say() -> None:
    """Those of the benchmarks, which have no version."""
    folders = [path.parent for path in RESULTS.glob("*/metrics.json") if "uar" in json.loads(path.read_text())]
    assert len(folders) > 40
    for folder in folders:
        said = json.loads((folder / "metrics.json").read_text())
        assert said.keys() <= EvaluationFacts.__dataclass_fields__.keys(), folder
        found = read_evaluation(folder)
        assert (found.version, found.uar, len(found.per_fold)) == (1, said["uar"], len(said.get("per_fold", ())))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version: expected a value from 1 to 1. Received: 2"),
        ({"uar": "half"}, "uar: expected a number"),
        ({"per_fold": [{"fold": "a"}]}, r"per_fold\[0\].n_train: expected a value"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"is no evaluation: metrics.json: {message}"):
        read_evaluation(written(tmp_path, **changes))


def test_what_is_undefined_stays_so(tmp_path: Path) -> None:
    counts = dict.fromkeys(
        ("n_train", "n_validation", "n_test", "best_epoch", "epochs", "temperature", "parameters"), 1
    )
    texts = {"fold": "a", "validation": "speakers"}
    scores = {"uar": 0.5, "wa": 0.5, "ece": None, "validation_uar": None}
    folder = written(tmp_path, per_fold=[{**counts, **texts, **scores, "history": {"val_uar": [None, 0.5]}}])
    found = read_evaluation(folder)
    assert found.per_fold[0].history == {"val_uar": (None, 0.5)}
    assert evaluation_dict(found)["per_fold"][0]["history"] == {"val_uar": [None, 0.5]}


def test_a_bundle_quotes_the_scores_alone(tmp_path: Path) -> None:
    part = read_evaluation(written(tmp_path, model="m@1", fit={"lr": 1})).part()
    assert type(part) is ScoredPart
    assert (part.n, part.confusion) == (2, ())
