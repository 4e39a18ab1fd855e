"""Labels that were changed on purpose are the ones that are doubted."""

from __future__ import annotations

import numpy as np
import pytest

from serctl.errors import ConfigError
from serctl.metrics import doubtful_labels


def test_changed_labels_are_found_first() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    probabilities = 0.7 * np.eye(4)[truth] + 0.3 * rng.dirichlet([1] * 4, 400)
    labels = truth.copy()
    changed = rng.choice(400, 30, replace=False)
    labels[changed] = (labels[changed] + 1) % 4
    found, suggested, margins = doubtful_labels(labels, probabilities)
    assert set(found[:25]) <= set(changed)
    assert len(set(found) & set(changed)) > 25
    np.testing.assert_array_equal(suggested[:25], truth[found[:25]])
    assert (np.diff(margins) >= 0).all()


def test_a_class_is_confident_from_its_own_mean_on() -> None:
    # Class 1 is never very likely, so 0.4 counts for it; class 0 needs 0.75.
    probabilities = [[0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.8, 0.2]]
    found, suggested, margins = doubtful_labels([0, 0, 1, 1], probabilities)
    assert found.tolist() == [3, 1]
    assert suggested.tolist() == [0, 1]
    np.testing.assert_allclose(margins, [-0.6, 0.2])


def test_a_class_without_labels_is_never_suggested() -> None:
    found, _, _ = doubtful_labels([0, 0], [[0.1, 0.9], [0.2, 0.8]])
    assert len(found) == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError):
        doubtful_labels([0, 1], [[0.5, 0.5]])
