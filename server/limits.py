"""Limits of requests, shared by schemas, error messages and documentation."""

TEXT_CHARACTERS = 32_768  # far above any model's context; keeps megabytes of text away from the tokenizer
