"""Show-o2's parts, written for inference: they hold weights and know levers, never requests or techniques."""
