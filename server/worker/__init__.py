"""The engine's process and what the front end knows of it."""
