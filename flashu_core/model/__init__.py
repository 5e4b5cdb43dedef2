"""Show-o2's modules, written for inference. They hold weights and take pass options, never requests or techniques."""
