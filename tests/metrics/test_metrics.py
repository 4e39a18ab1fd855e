from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn import metrics as reference

from serctl import metrics
from serctl.errors import ConfigError
from serctl.metrics.counts import uars, was

CLASSES = ("neutral", "happy", "sad", "angry")
N_CLASSES = len(CLASSES)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def probabilities(rng):
    return rng.dirichlet(np.full(N_CLASSES, 0.6), 400)


@pytest.fixture
def truth(rng, probabilities):
    """Labels that the probabilities are right about more often than chance; class sizes are unequal."""
    drawn = rng.choice(N_CLASSES, size=len(probabilities), p=[0.5, 0.3, 0.15, 0.05])
    return np.where(rng.random(len(probabilities)) < 0.5, probabilities.argmax(axis=1), drawn)


@pytest.fixture
def predicted(probabilities):
    return probabilities.argmax(axis=1)


@pytest.fixture
def matrix(truth, predicted):
    return metrics.confusion_matrix(truth, predicted, n_classes=N_CLASSES)


def speakers(n_utterances, n_speakers):
    return [f"speaker {index % n_speakers}" for index in range(n_utterances)]


def test_confusion_matrix_equals_scikit_learn(truth, predicted, matrix):
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(truth, predicted, labels=range(N_CLASSES)))


def test_confusion_matrix_has_the_truth_in_its_rows_and_keeps_absent_classes():
    counts = metrics.confusion_matrix([0, 0, 1], [1, 0, 1], n_classes=3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_per_class_scores_equal_scikit_learn(truth, predicted, matrix):
    precision, recall, f1, _ = reference.precision_recall_fscore_support(truth, predicted, labels=range(N_CLASSES))
    np.testing.assert_allclose(metrics.precision_per_class(matrix), precision, rtol=1e-12)
    np.testing.assert_allclose(metrics.recall_per_class(matrix), recall, rtol=1e-12)
    np.testing.assert_allclose(metrics.f1_per_class(matrix), f1, rtol=1e-12)


def test_averages_equal_scikit_learn(truth, predicted, matrix):
    assert metrics.uar(matrix) == pytest.approx(reference.balanced_accuracy_score(truth, predicted), rel=1e-12)
    assert metrics.wa(matrix) == pytest.approx(reference.accuracy_score(truth, predicted), rel=1e-12)
    assert metrics.macro_f1(matrix) == pytest.approx(reference.f1_score(truth, predicted, average="macro"), rel=1e-12)


def test_undefined_per_class_scores_are_nan():
    # Class 1 is never predicted, class 2 has no truth, class 3 has neither.
    counts = metrics.confusion_matrix([0, 0, 0, 1], [0, 0, 2, 0], n_classes=4)
    np.testing.assert_allclose(metrics.recall_per_class(counts), [2 / 3, 0, np.nan, np.nan])
    np.testing.assert_allclose(metrics.precision_per_class(counts), [2 / 3, np.nan, 0, np.nan])
    np.testing.assert_allclose(metrics.f1_per_class(counts), [2 / 3, 0, 0, np.nan])


def test_averages_leave_out_classes_without_truth():
    true_labels, predicted_labels = [0, 0, 0, 1], [0, 2, 3, 1]
    counts = metrics.confusion_matrix(true_labels, predicted_labels, n_classes=5)
    assert metrics.uar(counts) == pytest.approx((1 / 3 + 1) / 2)
    expected_f1 = reference.f1_score(true_labels, predicted_labels, labels=[0, 1], average="macro", zero_division=0)
    assert metrics.macro_f1(counts) == pytest.approx(expected_f1)


@pytest.mark.parametrize(
    ("true_labels", "predicted_labels", "message"),
    [
        ([], [], r"truth: expected labels of shape \(n,\).*Received: shape \(0,\)"),
        ([[0, 1]], [0, 1], r"truth: .*Received: shape \(1, 2\)"),
        ([0, 1], [0], "predicted: expected 2 values, as many as truth. Received: 1"),
        ([0.0, 1.0], [0, 1], "truth: expected whole numbers .* Received: float64"),
        ([0, 3], [0, 1], "truth: expected labels from 0 to 2. Received: 0 to 3"),
        ([0, 1], [-1, 1], "predicted: expected labels from 0 to 2. Received: -1 to 1"),
    ],
)
def test_confusion_matrix_refuses_labels_that_do_not_fit(true_labels, predicted_labels, message):
    with pytest.raises(ConfigError, match=message):
        metrics.confusion_matrix(true_labels, predicted_labels, n_classes=3)


@pytest.mark.parametrize("average", [metrics.uar, metrics.wa, metrics.macro_f1, metrics.f1_per_class])
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1, 2, 3]], r"shape \(k, k\)\. Received: shape \(1, 3\)"),
        ([[0.5, 0.5], [0, 1]], "of counts. Received: float64"),
        ([[0, 0], [0, 0]], "at least one of them above 0"),
        ([[3, -1], [0, 1]], "counts of 0 or more"),
    ],
)
def test_scores_refuse_what_is_no_confusion_matrix(average, counts, message):
    with pytest.raises(ConfigError, match=message):
        average(counts)


def test_calibration_error_by_hand():
    # Bins of width 0.5: (0, 0.5] holds the first row, right; (0.5, 1] the others, one of two right at 0.9 and 0.7.
    rows = [[0.5, 0.5], [0.9, 0.1], [0.3, 0.7]]
    error = metrics.expected_calibration_error(rows, [0, 0, 0], bins=2)
    assert error == pytest.approx(1 / 3 * abs(1 - 0.5) + 2 / 3 * abs(0.5 - 0.8))


def test_calibration_error_equals_a_loop_over_the_bins(probabilities, truth):
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    expected = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert metrics.expected_calibration_error(probabilities, truth) == pytest.approx(expected, rel=1e-12)


def test_calibration_error_is_small_for_calibrated_predictions_and_large_for_overconfident_ones(rng):
    rows = rng.dirichlet(np.ones(3), 20000)
    labels = np.array([rng.choice(3, p=row) for row in rows])
    overconfident = metrics.temperature_scale(np.log(rows), 0.25)
    assert metrics.expected_calibration_error(rows, labels) < 0.02
    assert metrics.expected_calibration_error(overconfident, labels) > 0.15


def test_reliability_curve_equals_scikit_learn(probabilities, truth):
    from sklearn.calibration import calibration_curve

    curve = metrics.reliability_curve(probabilities, truth, bins=10)
    correct = probabilities.argmax(axis=1) == truth
    accuracy, confidence = calibration_curve(correct, probabilities.max(axis=1), n_bins=10)
    filled = curve.count > 0
    np.testing.assert_allclose(curve.accuracy[filled], accuracy, rtol=1e-12)
    np.testing.assert_allclose(curve.confidence[filled], confidence, rtol=1e-12)
    np.testing.assert_allclose(curve.centre, np.arange(0.05, 1, 0.1), rtol=1e-12)


def test_reliability_curve_is_nan_in_empty_bins_and_counts_certain_predictions():
    curve = metrics.reliability_curve([[1.0, 0.0], [0.0, 1.0]], [0, 0], bins=4)
    np.testing.assert_array_equal(curve.count, [0, 0, 0, 2])
    np.testing.assert_array_equal(curve.accuracy, [np.nan, np.nan, np.nan, 0.5])
    np.testing.assert_array_equal(curve.confidence, [np.nan, np.nan, np.nan, 1.0])


def test_coverage_risk_by_hand():
    rows = [[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]
    coverage, risk = metrics.coverage_risk(rows, [1, 0, 1, 0])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 2 / 4])


def test_coverage_risk_keeps_ties_together_whatever_the_order():
    rows = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.6, 0.4]])
    labels = np.array([0, 0, 1, 0])
    coverage, risk = metrics.coverage_risk(rows, labels)
    np.testing.assert_allclose(coverage, [0.25, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 3, 1 / 4])
    np.testing.assert_array_equal(metrics.coverage_risk(rows[::-1], labels[::-1]), (coverage, risk))


def test_risk_at_full_coverage_is_the_error_rate(probabilities, truth, matrix):
    coverage, risk = metrics.coverage_risk(probabilities, truth)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - metrics.wa(matrix), rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([0.5, 0.5], [0], r"probabilities: expected shape \(n, k\).*Received: shape \(2,\)"),
        (np.zeros((0, 2)), [], r"Received: shape \(0, 2\)"),
        ([[0.5, 0.5], [np.nan, 1.0]], [0, 1], "expected finite numbers, row 1 has nan or inf"),
        ([[1.2, -0.2]], [0], "expected values from 0 to 1. Received: -0.2"),
        ([[0.5, 0.5], [0.5, 0.3]], [0, 1], "rows that sum to 1, row 1 sums to 0.8"),
        ([[0.5, 0.5]], [0, 1], "truth: expected 1 values, as many as probabilities. Received: 2"),
        ([[0.5, 0.5]], [2], "truth: expected labels from 0 to 1. Received: 2 to 2"),
    ],
)
@pytest.mark.parametrize("measure", [metrics.expected_calibration_error, metrics.coverage_risk])
def test_probability_measures_refuse_arrays_that_do_not_fit(measure, rows, labels, message):
    with pytest.raises(ConfigError, match=message):
        measure(rows, labels)


def test_probabilities_of_half_precision_are_accepted(probabilities, truth):
    exact = metrics.expected_calibration_error(probabilities, truth)
    rounded = metrics.expected_calibration_error(probabilities.astype(np.float16), truth)
    assert rounded == pytest.approx(exact, abs=0.02)


def test_reliability_curve_refuses_no_bins(probabilities, truth):
    with pytest.raises(ConfigError, match=r"at least 1 bin\. Received: 0"):
        metrics.reliability_curve(probabilities, truth, bins=0)


def test_temperature_scale_equals_scipy_softmax(rng):
    logits = rng.normal(scale=3000, size=(50, 5))
    np.testing.assert_allclose(metrics.temperature_scale(logits, 2.5), softmax(logits / 2.5, axis=1), rtol=1e-9)


def test_temperature_one_gives_the_probabilities_back(probabilities):
    np.testing.assert_allclose(metrics.temperature_scale(np.log(probabilities), 1), probabilities, rtol=1e-9)


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf])
def test_temperature_scale_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ConfigError, match="expected a positive temperature"):
        metrics.temperature_scale([[0.0, 1.0]], temperature)


def test_fit_temperature_finds_the_temperature_that_spoiled_the_calibration(rng):
    rows = rng.dirichlet(np.ones(4), 20000)
    labels = np.array([rng.choice(4, p=row) for row in rows])
    # Twenty thousand draws pin the temperature to about one percent.
    assert metrics.fit_temperature(np.log(rows) * 3, labels) == pytest.approx(3, rel=0.04)
    assert metrics.fit_temperature(np.log(rows) * 0.5, labels) == pytest.approx(0.5, rel=0.04)


def test_fit_temperature_has_the_lowest_log_loss_of_a_grid(probabilities, truth):
    logs = np.log(probabilities)

    def loss(temperature):
        return reference.log_loss(truth, np.exp(log_softmax(logs / temperature, axis=1)), labels=range(N_CLASSES))

    grid = np.geomspace(0.05, 20, 400)
    assert loss(metrics.fit_temperature(logs, truth)) <= min(map(loss, grid)) + 1e-9


def test_fit_temperature_stays_bounded_when_every_prediction_is_right():
    temperature = metrics.fit_temperature(np.log([[0.9, 0.1], [0.2, 0.8]]), [0, 1])
    assert temperature == pytest.approx(0.05, rel=1e-3)


def test_fit_temperature_refuses_the_logarithm_of_zero():
    with pytest.raises(ConfigError, match="log-probabilities: expected finite numbers, row 0"):
        metrics.fit_temperature([[-np.inf, 0.0]], [1])


def test_bootstrap_equals_a_loop_that_draws_speakers_one_by_one(rng):
    labels = rng.integers(0, 3, 240)
    answers = np.where(rng.random(240) < 0.6, labels, rng.integers(0, 3, 240))
    names = np.array(speakers(240, 8))
    interval = metrics.bootstrap_interval(uars, labels, answers, list(names), n_classes=3, rng=rng)

    rows_of = [np.flatnonzero(names == name) for name in sorted(set(names))]
    values = []
    for _ in range(2000):
        rows = np.concatenate([rows_of[index] for index in rng.integers(0, 8, 8)])
        right = answers[rows] == labels[rows]
        values.append(np.mean([right[labels[rows] == emotion].mean() for emotion in range(3)]))
    # Two independent sets of 2,000 draws agree on the 2.5 % quantile to about 0.003.
    assert (interval.low, interval.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.008)
    assert (interval.unit, interval.groups, interval.level) == ("speaker", 8, 0.95)


def test_bootstrap_over_utterances_matches_the_binomial_distribution(rng):
    labels = np.zeros(400, dtype=int)
    answers = np.repeat([0, 1], [280, 120])
    interval = metrics.bootstrap_interval(was, labels, answers, None, n_classes=2, rng=rng, draws=20000)
    margin = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert (interval.low, interval.high) == pytest.approx((0.7 - margin, 0.7 + margin), abs=0.005)
    assert (interval.unit, interval.groups) == ("utterance", 400)


def test_bootstrap_over_speakers_is_wider_when_speakers_differ():
    labels = np.zeros(400, dtype=int)
    names = np.repeat([f"speaker {index}" for index in range(10)], 40)
    answers = np.repeat([0, 1] * 5, 40)
    arguments = {"n_classes": 2, "draws": 500}
    by_speaker = metrics.bootstrap_interval(
        was, labels, answers, list(names), rng=np.random.default_rng(1), **arguments
    )
    by_utterance = metrics.bootstrap_interval(was, labels, answers, None, rng=np.random.default_rng(1), **arguments)
    assert by_speaker.high - by_speaker.low > 4 * (by_utterance.high - by_utterance.low)


def test_bootstrap_level_sets_the_width(truth, predicted):
    def width(level):
        interval = metrics.bootstrap_interval(
            uars, truth, predicted, None, n_classes=4, rng=np.random.default_rng(3), level=level
        )
        return interval.high - interval.low

    assert width(0.5) < width(0.95) < width(0.99)


@pytest.mark.parametrize("groups", [None, ["anna"] * 400, ["anna", None] * 200])
def test_bootstrap_falls_back_to_utterances_without_two_known_speakers(truth, predicted, groups, rng):
    interval = metrics.bootstrap_interval(uars, truth, predicted, groups, n_classes=4, rng=rng, draws=50)
    assert (interval.unit, interval.groups) == ("utterance", 400)
    assert interval.low < interval.high


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ["anna"]}, "groups: expected 400 values, as many as truth. Received: 1"),
        ({"draws": 0}, "Received: 0 draws"),
        ({"level": 1.0}, "level between 0 and 1. Received: 2000 draws and level 1.0"),
    ],
)
def test_bootstrap_refuses_arguments_that_do_not_fit(truth, predicted, rng, changes, message):
    arguments = {"groups": None, "n_classes": 4, "rng": rng, **changes}
    with pytest.raises(ConfigError, match=message):
        metrics.bootstrap_interval(uars, truth, predicted, **arguments)


def test_counts_give_the_scores_of_the_predictions(truth, probabilities):
    probabilities = probabilities.copy()
    probabilities[:7] = np.nan
    expected = metrics.score(truth, probabilities, classes=CLASSES, groups=None, seed=5)
    confusion = np.column_stack([expected.confusion, expected.no_speech])
    found = metrics.score_counts(confusion, ece=expected.ece, classes=CLASSES, seed=5)
    assert found.to_dict() == expected.to_dict()


def test_score_holds_every_measure(truth, predicted, matrix, probabilities):
    scores = metrics.score(truth, probabilities, classes=CLASSES, groups=speakers(400, 10), seed=5)
    assert scores.n == 400
    np.testing.assert_array_equal(scores.confusion, matrix)
    assert scores.uar == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert scores.wa == pytest.approx(reference.accuracy_score(truth, predicted))
    assert scores.macro_f1 == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert scores.ece == metrics.expected_calibration_error(probabilities, truth)
    for name in ("uar", "wa", "macro_f1"):
        assert scores.intervals[name].low < getattr(scores, name) < scores.intervals[name].high
        assert scores.intervals[name].unit == "speaker"


def test_score_depends_on_the_seed_alone_and_not_on_the_order_of_rows(truth, probabilities):
    names = speakers(400, 10)

    def intervals(seed, step=1):
        return metrics.score(
            truth[::step], probabilities[::step], classes=CLASSES, groups=names[::step], seed=seed
        ).intervals

    assert intervals(5) == intervals(5, step=-1)
    assert intervals(5) != intervals(6)


def test_scores_become_json_with_null_for_undefined_values():
    rows = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    scores = metrics.score([0, 1, 1], rows, classes=["happy", "sad", "angry"], groups=None, seed=0)
    restored = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert restored["per_class"]["angry"] == {"n": 0, "recall": None, "precision": None, "f1": None}
    assert restored["per_class"]["sad"] == {"n": 2, "recall": 0.5, "precision": 1.0, "f1": pytest.approx(2 / 3)}
    assert restored["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert restored["uar"] == 0.75
    assert restored["intervals"]["uar"]["unit"] == "utterance"
    assert restored["intervals"]["uar"]["groups"] == 3


def test_score_refuses_probabilities_of_other_classes(probabilities, truth):
    with pytest.raises(ConfigError, match=r"expected probabilities of 3 classes\. Received: the shape"):
        metrics.score(truth, probabilities, classes=CLASSES[:3], groups=None, seed=0)


def test_score_by_gives_each_value_its_own_scores(truth, predicted, probabilities):
    genders = np.where(np.arange(400) % 3 == 0, "female", "male")
    by_gender = metrics.score_by(list(genders), truth, probabilities, classes=CLASSES)
    assert list(by_gender) == ["female", "male"]
    for gender, scores in by_gender.items():
        rows = genders == gender
        assert scores["n"] == rows.sum()
        assert scores["uar"] == pytest.approx(reference.balanced_accuracy_score(truth[rows], predicted[rows]))
        assert scores["wa"] == pytest.approx(reference.accuracy_score(truth[rows], predicted[rows]))


def test_score_by_counts_missing_values_as_unknown():
    rows = [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]
    by_language = metrics.score_by(["de", None, "de"], [0, 1, 1], rows, classes=["happy", "sad"])
    assert by_language == {
        "de": {"n": 2, "uar": 1.0, "wa": 1.0, "macro_f1": 1.0, "ece": pytest.approx(0.1)},
        "unknown": {"n": 1, "uar": 0.0, "wa": 0.0, "macro_f1": 0.0, "ece": pytest.approx(0.9)},
    }


def test_score_by_is_empty_when_nothing_is_known():
    assert metrics.score_by([None], [0], [[0.9, 0.1]], classes=["happy", "sad"]) == {}


def test_score_by_refuses_values_that_do_not_fit(truth, probabilities):
    with pytest.raises(ConfigError, match=r"values: expected 400 values, as many as truth\. Received: 1"):
        metrics.score_by(["de"], truth, probabilities, classes=CLASSES)


def test_an_utterance_without_speech_counts_as_wrong_and_has_no_confidence() -> None:
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan], [0.3, 0.7]])
    scores = metrics.score([0, 1, 0, 1], rows, classes=("happy", "sad"), groups=None, seed=0)
    heard = metrics.score([0, 1, 1], rows[[0, 1, 3]], classes=("happy", "sad"), groups=None, seed=0)
    assert scores.n == 4
    assert scores.no_speech.tolist() == [1, 0]
    assert scores.confusion.tolist() == heard.confusion.tolist() == [[1, 0], [0, 2]]
    assert (scores.uar, scores.wa) == (0.75, 0.75)  # one of two happy ones found, both sad ones
    assert scores.recall.tolist() == [0.5, 1.0]
    assert scores.ece == heard.ece
    assert scores.to_dict()["per_class"]["happy"]["n"] == 2
    groups = metrics.score_by(["a", "a", "b", "b"], [0, 1, 0, 1], rows, classes=("happy", "sad"))
    assert (groups["b"]["n"], groups["b"]["uar"], groups["b"]["wa"]) == (2, 0.5, 0.5)


def test_recordings_without_any_speech_score_nothing() -> None:
    scores = metrics.score([0, 1], np.full((2, 2), np.nan), classes=("happy", "sad"), groups=None, seed=0)
    assert (scores.uar, scores.wa) == (0.0, 0.0)
    assert math.isnan(scores.ece)
