"""Tokenizer and prompts."""
