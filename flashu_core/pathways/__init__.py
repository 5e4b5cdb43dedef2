"""The two pathways through the model: generation and understanding."""
