"""Techniques, the plans that they write, and what they are calibrated by."""
