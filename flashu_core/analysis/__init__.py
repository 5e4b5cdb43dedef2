"""Figures that show what a model's neurons, layers and image tokens do, and where a request's time goes."""
