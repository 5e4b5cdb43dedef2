"""Harnesses that compare and measure the engine: agreement with golden data, counted arithmetic, speed.

They use the engine's own passes and its slow reference; the engine and the server know nothing of them. Results in
`results/` are written by these commands, never by hand.
"""
