from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from serctl.bundle.store import load_bundle
from serctl.explanation.groups import GROUPS, TIMBRE, contributions, group_of, is_idle, shapley_values
from serctl.explanation.listener import Listener
from serctl.features import FeatureConfig, compute_features, functional_names
from serctl.runtime.recogniser import Recogniser


def by_definition(values: np.ndarray, players: int) -> np.ndarray:
    """Mean of what each player adds over all orders of arrival."""
    shares = np.zeros(players)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        coalition = 0
        for player in order:
            shares[player] += values[coalition | 1 << player] - values[coalition]
            coalition |= 1 << player
    return shares / len(orders)


@pytest.mark.parametrize("players", [1, 2, 4, 5])
def test_shapley_values_are_those_of_the_definition(players: int) -> None:
    values = np.random.default_rng(players).normal(size=2**players)
    np.testing.assert_allclose(shapley_values(values, players), by_definition(values, players), atol=1e-12)


def test_only_a_player_that_changes_nothing_is_idle() -> None:
    coalitions = np.arange(8)
    values = 2.0 * (coalitions & 1) + 3.0 * (coalitions >> 2 & 1) * (coalitions & 1)
    assert [is_idle(values, player) for player in range(3)] == [False, True, False]
    assert shapley_values(values, 3)[1] == 0


def test_every_feature_has_a_group_that_people_know() -> None:
    names = functional_names(FeatureConfig(voice_encoder=True, speech_encoder=True))
    found = {name: group_of(name) for name in names}
    assert set(found.values()) == {group for group, _ in GROUPS} | {TIMBRE}
    expected = {
        "f0_semitone_slope": "pitch",
        "level_db_p95": "loudness",
        "loudness_peaks_per_s": "tempo",
        "loudness_delta_sd": "loudness",
        "unvoiced_segment_s_mean": "pauses",
        "voiced_segment_s_mean": "tempo",
        "h1_a3_db_mean": "voice quality",
        "mfcc_03_delta_p95": "timbre",
        "f1_hz_mean": "timbre",
        "encoder_000_mean": "voice encoder",
        "speech_2_000_sd": "speech encoder, layer 2",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("model", "used"),
    [
        ("serctl-base", {f"speech encoder, layer {layer}" for layer in (1, 2, 3)}),
        ("serctl-fast", {"pitch", "loudness", "pauses", "tempo", "voice quality", TIMBRE}),
    ],
)
def test_only_what_a_network_uses_contributes(speech: np.ndarray, model: str, used: set[str]) -> None:
    recogniser = Recogniser(load_bundle(model))
    features = compute_features(speech, recogniser.bundle.facts.features)
    found = contributions(features, Listener(recogniser, 0))
    assert found is not None
    assert {each.group for each in found.groups} == used


def test_contributions_lead_from_the_average_recording_to_the_answer(speech: np.ndarray) -> None:
    recogniser = Recogniser(load_bundle("serctl-base"))
    features = compute_features(speech, recogniser.bundle.facts.features)
    answer = recogniser.probabilities([features])[0]
    target = int(answer.argmax())
    found = contributions(features, Listener(recogniser, target))
    assert found is not None
    assert found.reference + sum(group.points for group in found.groups) == pytest.approx(answer[target], abs=1e-6)
    assert all(abs(a.points) >= abs(b.points) for a, b in itertools.pairwise(found.groups))


def test_the_average_recording_has_average_states_too(speech: np.ndarray) -> None:
    recogniser = Recogniser(load_bundle("serctl-base"))
    normaliser = recogniser.bundle.normaliser
    features = compute_features(speech, recogniser.bundle.facts.features)
    found = contributions(features, Listener(recogniser, 0))
    assert found is not None
    assert features.states is not None
    mean = np.tile(normaliser.state_scale()[0].astype(np.float16), (len(features.states), 1))
    average = replace(features, functionals=normaliser.functional_mean, states=mean)
    assert found.reference == pytest.approx(recogniser.probabilities([average])[0, 0], abs=1e-6)
    states_left = replace(average, states=features.states)
    assert abs(recogniser.probabilities([states_left])[0, 0] - found.reference) > 1e-3


def test_a_network_of_spectrograms_has_no_groups(speech: np.ndarray) -> None:
    recogniser = Recogniser(load_bundle("serctl-live"))
    assert contributions(compute_features(speech, recogniser.bundle.facts.features), Listener(recogniser, 0)) is None
