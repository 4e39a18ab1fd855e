"""A trained model as a self-describing folder: its facts, how it is stored and verified, its card."""
