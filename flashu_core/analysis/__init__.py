"""Figures of what a model's neurons, layers and image tokens do, and of where a request's time goes."""
