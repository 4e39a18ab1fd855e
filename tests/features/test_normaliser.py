from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from serctl.encoders.speech import LAYERS, STATE_LAYER, UNITS
from serctl.errors import BundleError
from serctl.features import Features, Normaliser
from serctl.features.adaptation import Statistics, adapt

N_MELS, N_FUNCTIONALS = 5, 7
LENGTHS = (30, 8, 51)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    scales = np.geomspace(0.1, 300, N_FUNCTIONALS)
    return [
        Features(
            log_mel=(10 * rng.standard_normal((length, N_MELS)) - np.arange(30, 30 + N_MELS)).astype(np.float16),
            lld=np.empty((0, 0), np.float32),
            functionals=(scales * (3 + rng.standard_normal(N_FUNCTIONALS))).astype(np.float32),
            first_frame=0,
        )
        for length in LENGTHS
    ]


@pytest.fixture
def normaliser(windows):
    return Normaliser.fit(windows)


def test_fit_measures_frames_and_windows_as_scikit_learn_does(windows, normaliser):
    """Within 1e-4, though the frames are float16."""
    frames = StandardScaler().fit(np.concatenate([each.log_mel for each in windows]).astype(np.float64))
    functionals = StandardScaler().fit(np.stack([each.functionals for each in windows]).astype(np.float64))
    np.testing.assert_allclose(normaliser.mel_mean, frames.mean_, rtol=1e-4)
    np.testing.assert_allclose(normaliser.mel_sd, frames.scale_, rtol=1e-4)
    np.testing.assert_allclose(normaliser.functional_mean, functionals.mean_, rtol=1e-4)
    np.testing.assert_allclose(normaliser.functional_sd, functionals.scale_, rtol=1e-4)
    for array in vars(normaliser).values():
        assert array.dtype == np.float32


def test_what_never_varies_is_not_divided_by_zero(windows):
    for window in windows:
        window.functionals[2] = 4.0
        window.log_mel[:, 1] = -100
    normaliser = Normaliser.fit(windows)
    inputs = normaliser.model_inputs(windows, n_frames=20)
    assert np.all(inputs["functionals"][:, 2] == 0)
    assert np.all(inputs["log_mel"][:, :, 1] == 0)


def test_one_window_is_enough_to_fit(windows):
    inputs = Normaliser.fit(windows[:1]).model_inputs(windows[:1], n_frames=10)
    assert np.all(inputs["functionals"] == 0)


def test_inputs_have_equal_shapes_and_float32(windows, normaliser):
    inputs = normaliser.model_inputs(windows, n_frames=40)
    assert {name: array.shape for name, array in inputs.items()} == {
        "log_mel": (3, 40, N_MELS),
        "mask": (3, 40),
        "functionals": (3, N_FUNCTIONALS),
    }
    assert all(array.dtype == np.float32 for array in inputs.values())


def test_short_windows_are_padded_and_masked(windows, normaliser):
    inputs = normaliser.model_inputs(windows, n_frames=40)
    for row, length in enumerate(LENGTHS):
        kept = min(length, 40)
        assert np.all(inputs["mask"][row, :kept] == 1)
        assert np.all(inputs["mask"][row, kept:] == 0)
        assert np.all(inputs["log_mel"][row, kept:] == 0)


def test_frames_are_scaled_band_by_band(windows, normaliser):
    inputs = normaliser.model_inputs(windows, n_frames=60)
    frames = np.concatenate([inputs["log_mel"][row, :length] for row, length in enumerate(LENGTHS)])
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize(("n_frames", "first"), [(51, 0), (50, 0), (49, 1), (31, 10), (1, 25)])
def test_long_windows_are_cut_to_their_middle(windows, normaliser, n_frames, first):
    inputs = normaliser.model_inputs(windows[2:], n_frames=n_frames)
    middle = windows[2].log_mel[first : first + n_frames].astype(np.float64)
    expected = (middle - normaliser.mel_mean) / normaliser.mel_sd
    np.testing.assert_allclose(inputs["log_mel"][0], expected, atol=1e-4)
    assert inputs["mask"].all()


def test_functionals_are_scaled_and_limited_to_5_standard_deviations(windows, normaliser):
    normal = normaliser.model_inputs(windows, n_frames=10)["functionals"]
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-4)
    assert np.abs(normal).max() < 5
    windows[0].functionals[:2] = 1e6, -1e6
    limited = normaliser.model_inputs(windows, n_frames=10)["functionals"]
    np.testing.assert_array_equal(limited[0, :2], [5, -5])
    np.testing.assert_array_equal(limited[0, 2:], normal[0, 2:])


def test_inputs_do_not_depend_on_the_other_windows(windows, normaliser):
    together = normaliser.model_inputs(windows, n_frames=40)
    for row, window in enumerate(windows):
        alone = normaliser.model_inputs([window], n_frames=40)
        for name, array in alone.items():
            np.testing.assert_array_equal(array[0], together[name][row])


@pytest.fixture
def encoded():
    """Windows whose functionals end with the statistics of the speech encoder, and the states that these are of."""
    rng = np.random.default_rng(4)
    made = []
    for length in (9, 20, 31):
        layers = rng.normal(2, 3, (LAYERS, length, UNITS)) + rng.normal(0, 2, (LAYERS, 1, UNITS))
        statistics = np.concatenate([part for each in layers for part in (each.mean(axis=0), each.std(axis=0))])
        functionals = np.concatenate([[7.0], statistics]).astype(np.float32)
        states = layers[STATE_LAYER - 1].astype(np.float16)
        empty = np.empty((0, 0), np.float32)
        made.append(Features(np.zeros((length, 2), np.float16), empty, functionals, 0, states=states))
    return made


def test_states_are_scaled_by_what_the_functionals_say_of_them(encoded):
    """Every window counts alike, whatever its length."""
    normaliser = Normaliser.fit(encoded)
    mean, sd = normaliser.state_scale()
    means = np.stack([each.states.astype(np.float64).mean(axis=0) for each in encoded])
    squares = np.stack([np.square(each.states.astype(np.float64)).mean(axis=0) for each in encoded])
    np.testing.assert_allclose(mean, means.mean(axis=0), atol=1e-2)
    np.testing.assert_allclose(sd, np.sqrt(squares.mean(axis=0) - np.square(means.mean(axis=0))), rtol=1e-2)
    inputs = normaliser.model_inputs(encoded, n_frames=10, n_states=25)
    np.testing.assert_array_equal(inputs["state_mask"].sum(axis=1), [9, 20, 25])
    np.testing.assert_allclose(inputs["states"][1, 3], (encoded[1].states[3] - mean) / sd, atol=1e-5)
    assert not inputs["states"][0, 9:].any()
    assert set(normaliser.model_inputs(encoded, n_frames=10)) == {"log_mel", "mask", "functionals"}


def test_states_are_adapted_with_the_functionals(encoded):
    normaliser = Normaliser.fit(encoded)
    moved = [replace(each, functionals=each.functionals + 1) for each in encoded] * 400
    adapted = adapt(normaliser, Statistics.measure(each.functionals for each in moved))
    np.testing.assert_allclose(adapted.state_scale()[0] - normaliser.state_scale()[0], 1, atol=0.05)


def test_states_of_a_speaker_are_standardised_with_the_rest(encoded):
    normaliser = Normaliser.fit(encoded)
    standardised = [normaliser.standardise(each) for each in encoded]
    again = Normaliser.fit(standardised)
    given, expected = (
        each.model_inputs(windows, n_frames=10, n_states=25)["states"]
        for each, windows in ((again, standardised), (normaliser, encoded))
    )
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(given, expected, atol=1e-2)


def test_windows_are_left_as_they_were(windows, normaliser):
    before = windows[0].log_mel.copy(), windows[0].functionals.copy()
    normaliser.model_inputs(windows, n_frames=40)
    np.testing.assert_array_equal(windows[0].log_mel, before[0])
    np.testing.assert_array_equal(windows[0].functionals, before[1])


@pytest.fixture
def saved(tmp_path, normaliser):
    path = tmp_path / "normaliser.npz"
    normaliser.save(path)
    return path


def test_what_was_saved_is_loaded(saved, normaliser):
    loaded = Normaliser.load(saved)
    for name, array in vars(normaliser).items():
        assert getattr(loaded, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(loaded, name), array)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"some text", b"PK\x03\x04 not a zip", b"\x93NUMPY\x01\x00", bytes(500)]
)
def test_garbage_is_a_bundle_error(saved, content):
    saved.write_bytes(content)
    with pytest.raises(BundleError, match=r"normaliser\.npz: expected a normaliser"):
        Normaliser.load(saved)


def test_a_cut_or_altered_file_is_a_bundle_error_or_still_readable(saved):
    """zip has no checksum over its directory, so some bytes do not matter; none brings another exception."""
    content = saved.read_bytes()
    refused = 0
    for position in range(0, len(content), 29):
        altered = bytearray(content)
        altered[position] ^= 1
        for damaged in (content[:position], bytes(altered)):
            saved.write_bytes(damaged)
            try:
                Normaliser.load(saved)
            except BundleError:
                refused += 1
    assert refused > len(content) // 29


def test_a_single_array_is_a_bundle_error(saved, normaliser):
    with saved.open("wb") as stream:
        np.save(stream, normaliser.mel_mean)
    with pytest.raises(BundleError, match="expected a normaliser"):
        Normaliser.load(saved)


def test_a_missing_array_is_a_bundle_error(saved, normaliser):
    np.savez(saved, mel_mean=normaliser.mel_mean, mel_sd=normaliser.mel_sd)
    with pytest.raises(BundleError, match="functional_mean"):
        Normaliser.load(saved)


def test_pickled_objects_are_refused(saved, normaliser):
    np.savez(saved, **{**vars(normaliser), "mel_sd": np.array([{}], dtype=object)})
    with pytest.raises(BundleError, match="expected a normaliser"):
        Normaliser.load(saved)


def test_a_missing_file_or_a_folder_is_a_bundle_error(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(BundleError, match="expected a normaliser"):
            Normaliser.load(path)
