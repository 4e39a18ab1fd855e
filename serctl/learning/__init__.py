"""Train networks: recipe, dataset, batches, fit, calibration, checkpoints, leakage."""
