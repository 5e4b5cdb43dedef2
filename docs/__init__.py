"""The documentation: pages as Markdown, `site`, which builds them, and `reference`, which writes those made of code."""
