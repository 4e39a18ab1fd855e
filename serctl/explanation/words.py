"""What an explanation says, in sentences."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serctl.explanation.counterfactuals import Counterfactual
    from serctl.explanation.faithfulness import Faithfulness
    from serctl.explanation.quantity import Quantity
    from serctl.explanation.recording import Explanation

UNLIKE = 0.95
"""From this novelty on, a recording is called unlike the training recordings."""

STABLE, AGREE = 0.9, 0.3
"""Correlations below these are called low."""


def name_of(each: Explanation) -> str:
    """Return the name of the recording without its folder, and the channel where one is explained."""
    name = PurePath(each.path).name or each.path
    return name if each.channel is None else f"{name}, channel {each.channel}"


def answer_words(each: Explanation) -> str:
    """Say what the answer to the recording is, and which answer is explained: that of a window."""
    low, high = each.quantity.bounds
    scale = f", on a scale of {low:g} to {high:g}" if each.scale else ""
    answer = f"The answer to the whole recording is {each.answer} {each.quantity.shown(each.confidence)}{scale}."
    if each.emotion == each.answer and len(each.window_start_s) == 1:
        return answer
    where = f"in the window from {each.start_s:.1f} to {each.end_s:.1f} s"
    return f"{answer} Explained here: {each.emotion} {each.quantity.shown(each.probability)} {where}."


def speak_for(each: Explanation) -> str:
    """Say what a part does that counts for the answer explained."""
    return f"raise {each.emotion}" if each.scale else f"speak for {each.emotion}"


def change_words(each: Explanation) -> list[str]:
    """Name the smallest change of each quality that changes the answer; of a number, the change that moves it most."""
    if each.scale:
        return [_largest_move(each)]
    shown = each.quantity.shown
    before = f"instead of {each.window_answer} {shown(each.probabilities[each.window_answer])}"
    flips = _smallest_flips(each)
    if not flips:
        return [f"None of the {len(each.counterfactuals)} changes to the voice changes the answer to the window."]
    return [
        f"With {flip.quality} {flip.change}, the window is {flip.emotion} {shown(flip.confidence)} {before}."
        for flip in flips
    ]


def _largest_move(each: Explanation) -> str:
    """Name the change that moves the number most."""
    most = max(each.counterfactuals, key=lambda one: abs(one.probability - each.probability))
    after, before = each.quantity.shown(most.probability), each.quantity.shown(each.probability)
    return (
        f"Of {len(each.counterfactuals)} changes to the voice, {most.quality} {most.change} moves {each.emotion} most: "
        f"{after} instead of {before} in the window."
    )


def _smallest_flips(each: Explanation) -> list[Counterfactual]:
    """For each quality the first change, from the smallest on, to which the answer is another one."""
    found: dict[str, Counterfactual] = {}
    for change in sorted(each.counterfactuals, key=lambda one: int(one.change.split()[0])):
        if change.emotion != each.window_answer:
            found.setdefault(change.quality, change)
    return list(found.values())


def novelty_words(each: Explanation) -> list[str]:
    """Warn of a recording that is unlike the training recordings."""
    if each.novelty is None or each.novelty < UNLIKE:
        return []
    return [f"This recording is unlike those the model was trained on (novelty {each.novelty:.2f}): trust it less."]


def order_words(found: Faithfulness, quantity: Quantity) -> str:
    """Say whether the importance of moments is better than chance."""
    numbers = f"mean {quantity.name} {quantity.mean(found.deletion_auc)} against {quantity.mean(found.random_auc)}"
    if found.better_than_random:
        return f"Hiding the most important moments first costs more than hiding in random order ({numbers}): faithful."
    return f"Hiding the most important moments first costs no more than random order ({numbers}): do not rely on them."


def agreement_words(found: Faithfulness) -> list[str]:
    """Say how the importance agrees with changes of the voice, and how stable it is."""
    texts = []
    if found.agreement is not None:
        verdict = "low: noise and changes of the voice tell different moments" if found.agreement < AGREE else "agree"
        texts.append(f"Rank correlation with changing the voice there instead: {found.agreement:.2f} ({verdict}).")
    if found.stability is not None:
        verdict = "low" if found.stability < STABLE else "stable"
        texts.append(f"Correlation with the same under inaudible noise: {found.stability:.2f} ({verdict}).")
    return texts
