"""Limits that requests and checkpoints share: a request may ask for what a checkpoint may have as its default."""

MOST_POINTS = 1000  # of a time grid
MOST_GUIDANCE = 100.0
