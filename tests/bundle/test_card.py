"""The model card, of models made now and before."""

from __future__ import annotations

from dataclasses import replace

from serctl.bundle.card import model_card
from serctl.bundle.facts import CorpusFacts, TrainingFacts
from serctl.bundle.store import DEFAULT_MODEL, load_bundle
from serctl.metrics.facts import GroupScores, Leakage

SCORES = GroupScores(n=4, uar=0.75, wa=0.5)


def card_with(scores: GroupScores) -> str:
    facts = load_bundle(DEFAULT_MODEL).facts
    validation = replace(facts.metrics["validation"], per_language={"xx": scores})
    return model_card(replace(facts, metrics={"validation": validation}))


def test_the_card_of_the_bundled_model_can_be_made_again() -> None:
    card = model_card(load_bundle(DEFAULT_MODEL).facts)
    assert "Protocol `leave-one-corpus-out`, 5306 utterances of speakers not trained on" in card
    assert "| confidence | answered | of these wrong |" in card


def test_groups_show_macro_f1_where_it_is_known() -> None:
    assert "| xx | 4 | 75.0 % | 50.0 % | 62.5 % |" in card_with(replace(SCORES, macro_f1=0.625))
    assert "| xx | 4 | 75.0 % | 50.0 % |  |" in card_with(SCORES)


def test_the_card_claims_nothing_of_the_recordings_that_nobody_stated() -> None:
    card = model_card(load_bundle(DEFAULT_MODEL).facts)
    assert "indoors" not in card
    assert "training data is acted" not in card


def test_the_card_names_what_the_base_and_the_teachers_were_trained_on() -> None:
    training = TrainingFacts(inherited=12, base="old@12345678", teachers=("wise@87654321",))
    card = model_card(replace(load_bundle(DEFAULT_MODEL).facts, training=training))
    assert "continued from `old@12345678` and distilled from `wise@87654321`: 12 further recordings" in card


def test_the_card_says_whose_recordings_the_base_had_seen_and_how_it_does_on_the_held_out_part() -> None:
    facts = load_bundle(DEFAULT_MODEL).facts
    training = TrainingFacts(base="old@12345678", earlier=(CorpusFacts("nemo", 720, 6, licence="L"),), shared=3)
    validation = replace(facts.metrics["validation"], base_uar=0.5, best_epoch=0)
    card = model_card(replace(facts, training=training, metrics={"validation": validation}))
    assert "3 recordings of which are among the training data above" in card
    assert "| nemo |  | 720 | 6 | L |" in card
    assert "The model that training started from has a UAR of 50.0 % on them. No epoch" in card


def test_the_card_says_that_scores_are_leaky() -> None:
    facts = load_bundle(DEFAULT_MODEL).facts
    validation = replace(facts.metrics["validation"], leakage=Leakage(identical_audio=7))
    assert "Leaky: 7 of them were trained on" in model_card(replace(facts, metrics={"validation": validation}))
