"""Run a bundle's network, without TensorFlow."""
