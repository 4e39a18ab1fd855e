"""Frozen pretrained encoders of speech, each with the licence and source of its weights."""
