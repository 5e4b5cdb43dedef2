"""Checkpoints of all layouts, read and converted."""
