"""Emotions while speech goes on: streams, their server, the microphone."""
