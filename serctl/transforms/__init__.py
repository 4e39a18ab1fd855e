"""Transforms of recordings for augmentation, one a file."""
