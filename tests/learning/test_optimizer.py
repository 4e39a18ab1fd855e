from __future__ import annotations

import numpy as np
import pytest

from serctl.learning.options import FitOptions

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.mark.parametrize("epochs", [1, 30])
def test_the_schedule_is_that_of_keras(epochs: int) -> None:
    import keras

    from serctl.learning.optimizer import make_optimizer

    options = FitOptions(epochs=epochs, lr=3e-3)
    found = make_optimizer(4, options, weight_decay=1e-4)
    warm_up = max(round(0.05 * 4 * epochs), 1)
    expected = keras.optimizers.schedules.CosineDecay(
        3e-3 / 20, 4 * epochs - warm_up, warmup_target=3e-3, warmup_steps=warm_up
    )
    for step in range(4 * epochs + 2):
        found.iterations.assign(step)
        np.testing.assert_allclose(found.learning_rate, expected(step), rtol=1e-4, atol=1e-9)


def test_a_traced_step_computes_the_learning_rate_without_branches() -> None:
    """Every weight that decays traces it once more."""
    import keras
    import tensorflow

    from serctl.learning.optimizer import make_optimizer

    weights = [keras.Variable(np.ones(2, np.float32)) for _ in range(8)]
    optimizer = make_optimizer(4, FitOptions(epochs=2), weight_decay=1e-4)
    optimizer.build(weights)
    step = tensorflow.function(lambda: optimizer.apply([weight * 1.0 for weight in weights]))
    kinds = {operation.type for operation in step.get_concrete_function().graph.get_operations()}
    assert "Cos" in kinds
    assert not kinds & {"If", "StatelessIf", "While", "StatelessWhile"}
