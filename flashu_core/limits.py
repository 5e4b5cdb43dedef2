"""Limits that requests and checkpoints share: a request may ask for what a checkpoint may have as its default."""

MAX_INFERENCE_STEPS = 1000  # of a time grid
MAX_GUIDANCE_SCALE = 100.0
