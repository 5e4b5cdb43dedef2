"""The recipe that makes the embedded checkpoint: data, optimiser, the two training runs and their reports."""
