"""Convert a trained network for devices, and prove that the copy agrees with it."""
