"""Benchmarks: agreement with golden data, counted FLOPs, speed, simulated scheduling and admission.

They use the engine's own passes and its slow reference. Files in `results/` are written by these commands, never by
hand.
"""
