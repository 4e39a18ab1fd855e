"""The model card of a bundle: what it was trained on, how it scored and where its limits are, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serctl.features import encoder_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serctl.bundle.facts import (
        BundleFacts,
        CorpusFacts,
        EndToEndFacts,
        ExportFacts,
        TrainingFacts,
    )
    from serctl.bundle.federation import FederationFacts
    from serctl.metrics.facts import ClassScores, GroupScores, Kept, NumberPart, ScoredPart

_SCORED = ("left_out", "left_out_adapted", "cross_validation", "validation")
"""Names of scored parts, in their order in the card."""

_LIMITS = """\
- It classifies how speech sounds, not what a person feels. Do not decide about people with it.
- Expect less on speech unlike the training data above: other languages, speakers, rooms, microphones, or spontaneous
  speech where it is acted. Check on labelled recordings of your own with `serctl evaluate`.
- Windows below one second hold little evidence; the confidence says so, and a threshold on it
  leaves them unnamed."""


def model_card(facts: BundleFacts) -> str:
    """Markdown text; everything in it comes from the facts of the bundle."""
    sections = [
        f"# {facts.name}",
        _summary(facts),
        "## Training data",
        _corpora(facts.training.corpora),
        *_inherited(facts.training),
        *_federation(facts.training.federation),
        "## Scores",
        *(_scores(facts.metrics[name]) for name in _SCORED if name in facts.metrics),
        *(map(_number_scores, facts.target.metrics.values()) if facts.target else ()),
        "## Limits",
        _LIMITS,
        "## Licence of the weights",
        f"{facts.licence}. The code of serctl is Apache-2.0; these terms are those of the training data.",
        *(f"- {citation}" for citation in facts.attribution),
    ]
    if facts.training.command:
        sections += ["## How to rebuild it", f"```\n{facts.training.command}\n```"]
    if facts.export:
        sections += ["## Export", _export(facts.export)]
    return "\n\n".join(sections) + "\n"


def _inherited(training: TrainingFacts) -> list[str]:
    """What the base and the teachers add to the training data; nothing without any."""
    models = [f"continued from `{training.base}`"] if training.base else []
    models += [f"distilled from `{teacher}`" for teacher in training.teachers]
    if not models:
        return []
    lines = [
        f"The model was {' and '.join(models)}: {training.inherited} further recordings, on which only those were "
        "trained, are in its training list."
    ]
    if training.earlier:
        lines.append(
            f"They were trained on these, {training.shared} recordings of which are among the training data above too:"
        )
        lines.append(_corpora(training.earlier))
    return lines


def _federation(made: FederationFacts | None) -> list[str]:
    """Who trained the model together, and what left each party; nothing for an ordinary training."""
    if made is None:
        return []
    cells = [
        [
            *(each.name, ", ".join(each.languages), str(each.utterances), str(each.speakers), str(each.rounds)),
            f"{sum(each.sent.values()) / 1e6:.1f} MB: {', '.join(each.sent)}",
            _percent(each.uar),
        ]
        for each in made.parties
    ]
    header = ["party", "languages", "utterances", "speakers", "rounds", "what left it", "UAR on its held-out part"]
    lines = [
        "## Federated training",
        f"{len(made.parties)} parties trained it together by `{made.strategy}`: {made.rounds} rounds of "
        f"{made.local_epochs} local epochs, of which round {made.best_round} was the best. No recording and no feature "
        "of one left its party; the training list of this bundle is therefore empty.",
        _table(header, cells),
        *([_privacy(made.privacy)] if made.privacy else ()),
    ]
    return [*lines, "Refused:\n\n" + "\n".join(f"- {each}" for each in made.refused)] if made.refused else lines


def _privacy(facts: Mapping[str, Any]) -> str:
    """How what the parties sent was protected, and what was not."""
    if "epsilon" in facts:
        return (
            "Differential privacy of the updates of a whole party, not of a recording: "
            f"epsilon {facts['epsilon']:g} at delta {facts['delta']:g} over all rounds. "
            f"Every update was clipped to length {facts['clip']:g}, and {facts['noise_of']} added noise of "
            f"{facts['noise_multiplier']:g} times that. Not protected: counts of utterances, speakers and emotions, "
            "sums of the features (the normaliser), and the losses and scores that chose the round and the temperature."
        )
    return "Privacy: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items()) + "."


def _summary(facts: BundleFacts) -> str:
    shared = encoder_parameters(facts.features)
    encoder = f" ({shared:,} of them in pretrained encoders, which were not trained on emotions)" if shared else ""
    return (
        f"Speech emotion recognition: {_answers(facts)}. Architecture `{facts.architecture}`, "
        f"{facts.parameters:,} parameters{encoder}, windows of {facts.features.window_s:g} s, "
        f"{facts.features.sample_rate} Hz. "
        f"Trained {facts.created[:10]} with serctl {facts.packages.get('serctl')}, seed {facts.training.seed}."
    )


def _answers(facts: BundleFacts) -> str:
    if facts.target is None:
        return ", ".join(facts.labels)
    scale = facts.target.scale
    return f"the number {scale.name}, from {scale.low:g} to {scale.high:g}"


def _export(made: ExportFacts) -> str:
    parity = made.parity
    costs = (parity.before, parity.after)
    lines = [
        f"Made of `{made.source}` {made.created[:10]}, format {made.format}, quantization "
        f"{made.quantize}. The scores above are those of the original. On {parity.windows} windows "
        f"{_percent(parity.equal_labels)} of the labels are equal; probabilities differ by at most "
        f"{parity.largest_difference:.3f}, {parity.mean_difference:.4f} on average.",
        _table(
            ["", "before", "after"],
            [
                ["network, KB", *(f"{cost.size_bytes / 1e3:.0f}" for cost in costs)],
                [
                    "ms for a second of audio",
                    *(f"{cost.ms_per_audio_s:.3f}" for cost in costs),
                ],
            ],
        ),
    ]
    if made.end_to_end:
        lines.append(_end_to_end(made.end_to_end))
    if made.command:
        lines.append(f"```\n{made.command}\n```")
    return "\n\n".join(lines)


def _end_to_end(made: EndToEndFacts) -> str:
    parity = made.parity
    lines = [
        f"`{made.file}` takes samples and gives probabilities: front end, network ({made.weights} weights) and "
        f"calibration in one, with built-in operators of LiteRT only. On {parity.windows} windows probabilities "
        f"differ from those of Python by at most {parity.largest_difference:.5f}; a second of audio takes "
        f"{parity.after.ms_per_audio_s:.3f} ms on one thread, in Python {parity.before.ms_per_audio_s:.3f} "
        "ms.",
        _table(
            ["", "name", "shape", "type", "meaning"],
            [
                [kind, f"`{name}`", str(list(tensor.shape)), tensor.dtype, tensor.meaning]
                for kind, tensors in (("inputs", made.inputs), ("outputs", made.outputs))
                for name, tensor in tensors.items()
            ],
        ),
    ]
    return "\n\n".join(lines)


def _corpora(corpora: Sequence[CorpusFacts]) -> str:
    cells = [
        [each.name, ", ".join(each.languages), str(each.utterances), str(each.speakers), each.licence]
        for each in corpora
    ]
    return _table(["corpus", "languages", "utterances", "speakers", "licence"], cells)


def _scores(metrics: ScoredPart) -> str:
    protocol = metrics.protocol
    interval = metrics.intervals["uar"]
    kind = "speakers not trained on" if protocol.speaker_independent else "speakers that may have been trained on"
    lines = [
        f"Protocol `{protocol.name}`, {metrics.n} utterances of {kind}: {protocol.description}.",
        f"UAR {_percent(metrics.uar)} (95 % interval {_percent(interval.low)} to {_percent(interval.high)}, "
        f"over {interval.unit}s), WA {_percent(metrics.wa)}, macro-F1 {_percent(metrics.macro_f1)}, "
        f"ECE {_number(metrics.ece)}.",
    ]
    if metrics.base_uar is not None:
        lines.append(_against_base(metrics))
    if seen := metrics.leakage and metrics.leakage.identical_audio:
        lines.append(
            f"Leaky: {seen} of them were trained on, as they are or as augmented copies, by this "
            "model or one that it inherits from; the scores are worthless."
        )
    groups = {"corpus": metrics.per_corpus, "language": metrics.per_language, "gender": metrics.per_gender}
    lines += [_group_table(title, scores) for title, scores in groups.items() if scores]
    if metrics.per_class:
        lines.append(_class_table(metrics.per_class))
    if metrics.thresholds:
        lines.append(_threshold_table(metrics.thresholds))
    return "\n\n".join(lines)


def _number_scores(metrics: NumberPart) -> str:
    kind = "speakers not trained on" if metrics.protocol.speaker_independent else "speakers that may be in training too"
    values = ", ".join(
        f"{title} {_number(getattr(metrics, name))} (95 % interval {_number(metrics.intervals[name].low)} to "
        f"{_number(metrics.intervals[name].high)})"
        for name, title in (("mae", "MAE"), ("ccc", "CCC"), ("pearson", "Pearson's r"))
    )
    protocol = metrics.protocol
    return f"Protocol `{protocol.name}`, {metrics.n} utterances of {kind}: {protocol.description}.\n\n{values}."


def _threshold_table(thresholds: Mapping[str, Kept]) -> str:
    cells = [[f"at least {name}", _percent(each.coverage), _percent(each.risk)] for name, each in thresholds.items()]
    return _table(["confidence", "answered", "of these wrong"], cells)


def _against_base(metrics: ScoredPart) -> str:
    kept = (
        " No epoch of training was better by more than chance: the weights are those of that model."
        if metrics.best_epoch == 0
        else ""
    )
    return f"The model that training started from has a UAR of {_percent(metrics.base_uar)} on them.{kept}"


def _class_table(scores: Mapping[str, ClassScores]) -> str:
    cells = [[name, str(each.n), _percent(each.recall), _percent(each.precision)] for name, each in scores.items()]
    return _table(["emotion", "utterances", "recall", "precision"], cells)


def _group_table(title: str, scores: Mapping[str, GroupScores]) -> str:
    cells = [
        [name, str(each.n), *map(_percent, (each.uar, each.wa, each.macro_f1)), _calibration(each.ece)]
        for name, each in scores.items()
    ]
    return _table([title, "utterances", "UAR", "WA", "macro-F1", "ECE"], cells)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def _percent(share: float | None) -> str:
    """Empty where it is not known or not defined."""
    return "" if share is None else f"{100 * share:.1f} %"


def _calibration(ece: float | None) -> str:
    return "" if ece is None else f"{ece:.3f}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
