"""A Run says how a verb works; the verbs map over items through it, on whatever backend it names."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from serctl.audio.find import Recording
from serctl.run import Run
from serctl.verbs.augment import augment
from serctl.verbs.extract import extract
from serctl.verbs.predict import predict
from serctl.verbs.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

OWNED = {"cache", "jobs", "backend", "scheduler", "shard", "resume", "overwrite", "fail_fast", "update", "progress"}


def verbs() -> list[Callable[..., Any]]:
    from serctl.verbs.evaluate import cross_validate, evaluate_model
    from serctl.verbs.export import export
    from serctl.verbs.train import train

    return [predict, extract, scan, augment, train, evaluate_model, cross_validate, export]


def test_every_verb_takes_a_run_and_none_of_its_parts(tensorflow: None) -> None:
    assert set(inspect.signature(Run).parameters) == OWNED
    for verb in verbs():
        parameters = set(inspect.signature(verb).parameters)
        assert "run" in parameters, verb
        assert not parameters & OWNED, verb


@pytest.mark.parametrize("output", [None, "o.csv"])
def test_a_verb_works_on_the_backend_of_its_run(samples: Path, tmp_path: Path, output: str | None) -> None:
    given: list[tuple[int, int]] = []

    def backend(
        function: Callable[[Any], Any], items: Sequence[Any], *, jobs: int
    ) -> Generator[tuple[int, Any], None, None]:
        given.append((len(items), jobs))
        yield from ((index, function(item)) for index, item in reversed(list(enumerate(items))))

    found = [Recording(samples / "tom-sad.flac"), Recording(samples / "jana-sad.flac")]
    tables: list[Any] = []
    extract(found, output=output and tmp_path / output, run=Run(jobs=3, backend=backend), on_table=tables.append)
    assert given == [(2, 3)]
    assert [table["path"] for table in tables] == ([] if output else [str(each.path) for each in found])


def test_a_scheduler_is_for_dask(serctl: Any, samples: Path) -> None:
    done = serctl("extract", samples, "--scheduler", "tcp://127.0.0.1:8786")
    assert done.code == 2
    assert done.stderr == "error: a scheduler needs the back end dask. Received: loky: add --backend dask\n"
