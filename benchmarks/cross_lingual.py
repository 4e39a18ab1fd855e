"""Across languages: macro-F1 on a language that was not in training, with and without sharing between languages.

With sharing: shared_private trained on the other three languages. Without: the same network trained on one of them, the
mean over the three. Both go through `serctl train` and `serctl evaluate --model` alike. hybrid trained on the three
together, without adapters and adversary, is the reference. 12 trainings, hours on 2 cores; each is done once.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from _claims import Claim, percent, run_claim, runs_table, with_interval
from _common import NOT_MEASURED, Comparison, Row
from _runs import Run

if TYPE_CHECKING:
    from _claims import Found

CORPORA = {"en": "ravdess", "de": "emodb", "am": "ased", "pl": "nemo"}
LABELS = ("--map", "calm=neutral", "--classes", "neutral,happy,sad,angry,fearful")
SHARING, REFERENCE = "shared_private", "hybrid"
CLAIMED_GAIN = 15
RUNS_CAPTION = "The runs, by their folders: the network, the languages it was trained on, the one it was tested on."


def test_run(arch: str, sources: tuple[str, ...], target: str) -> Run:
    """The evaluation, on one language, of a network trained on others."""
    corpora = tuple(CORPORA[code] for code in sources)
    name = f"cross-{arch}-{'-'.join(sources)}"
    training = Run(name, corpora, ("--arch", arch, *LABELS), verb="train")
    return Run(f"{name}-to-{target}", (CORPORA[target],), LABELS, model=training)


def pooled(arch: str, target: str) -> Run:
    """Trained on every language but the one it is tested on."""
    return test_run(arch, tuple(code for code in CORPORA if code != target), target)


def alone(target: str) -> dict[str, Run]:
    """The network that shares nothing: by the single language it was trained on."""
    return {code: test_run(SHARING, (code,), target) for code in CORPORA if code != target}


RUNS = (
    *(pooled(SHARING, target) for target in CORPORA),
    *(run for target in CORPORA for run in alone(target).values()),
    *(pooled(REFERENCE, target) for target in CORPORA),
)
NAMES = tuple(run.name for run in RUNS)


def score(found: Found, run: Run) -> float | None:
    """macro-F1 in per cent."""
    return percent(found[run.name], "macro_f1")


def without_sharing(found: Found, target: str) -> dict[str, float] | None:
    """macro-F1 in per cent by the single language of training, None unless all are measured."""
    scores = {code: score(found, run) for code, run in alone(target).items()}
    measured = {code: value for code, value in scores.items() if value is not None}
    return measured if len(measured) == len(scores) else None


def relative_gain(found: Found, target: str) -> float | None:
    """In per cent of the mean score without sharing."""
    shared, single = score(found, pooled(SHARING, target)), without_sharing(found, target)
    return None if shared is None or single is None else 100 * (shared / statistics.mean(single.values()) - 1)


def make_rows(found: Found) -> list[Row]:
    """The gain for each language and on average, and what sharing brings beyond the data of the other languages."""
    gains = [relative_gain(found, target) for target in CORPORA]
    measured = [value for value in gains if value is not None]
    rows = [
        Row(f"macro-F1 on unseen {target} against no sharing", value, "% relative", CLAIMED_GAIN, at_least=True)
        for target, value in zip(CORPORA, gains, strict=True)
    ]
    mean = statistics.mean(measured) if len(measured) == len(gains) else None
    return [
        *rows,
        Row("the same, mean of the languages", mean, "% relative", CLAIMED_GAIN, at_least=True),
        Row(f"macro-F1 on an unseen language, {SHARING}", _mean(found, SHARING), "%"),
        Row(f"the same, {REFERENCE} on the same three corpora", _mean(found, REFERENCE), "%"),
    ]


def _mean(found: Found, arch: str) -> float | None:
    scores = [score(found, pooled(arch, target)) for target in CORPORA]
    measured = [value for value in scores if value is not None]
    return statistics.mean(measured) if len(measured) == len(scores) else None


def by_language(found: Found) -> Comparison:
    """macro-F1 on each language, with and without sharing."""
    rows = []
    for target, corpus in CORPORA.items():
        shared, single = found[pooled(SHARING, target).name], without_sharing(found, target)
        best = max(single, key=lambda code: single[code]) if single else ""
        rows.append(
            (
                f"{target} ({corpus})",
                f"{shared['n']:,}" if shared else "",
                with_interval(shared, "macro_f1"),
                f"{statistics.mean(single.values()):.1f}" if single else NOT_MEASURED,
                f"{single[best]:.1f} ({best})" if single else NOT_MEASURED,
                with_interval(found[pooled(REFERENCE, target).name], "macro_f1"),
            )
        )
    return Comparison(
        "macro-F1 in % on each language that was not in training. The best single source is known only afterwards.",
        (
            *("unseen language", "utterances", f"{SHARING} on the three others (95 % interval)"),
            *("without sharing, mean", "without sharing, best", f"{REFERENCE} on the three others (95 % interval)"),
        ),
        tuple(rows),
    )


CLAIM = Claim(
    name="cross_lingual",
    title="Sharing between languages",
    text="Claimed: a shared encoder with a private adapter for each language, kept apart by an adversary, reaches a "
    f"macro-F1 on a language that was not in training {CLAIMED_GAIN} % (relative) above the same network trained "
    "without sharing. Four corpora take turns as the unseen language (leave one language out), five classes that all "
    "of them have (calm counts as neutral). Without sharing, the network knows one other language; the mean of the "
    "three stands for it, since nobody can tell beforehand which one helps most. "
    f"{REFERENCE} uses the deep features of the voice encoder, which {SHARING} does not, and trains for 100 epochs "
    "instead of 40.",
    results=NAMES,
    rows=make_rows,
    tables=lambda found: [by_language(found), runs_table(found, NAMES, RUNS_CAPTION)],
)

if __name__ == "__main__":
    run_claim(CLAIM, RUNS, __doc__)
