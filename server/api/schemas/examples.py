"""Examples of request bodies for the OpenAPI document; a test sends each of them."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

# A red disc, 64x64, as a PNG file.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEX////IHh7kMBY6AAAAcklEQVR42s3QsQ3CMBSE4c/PSKRkBDYhbO4RGCEj"
    "uIwQiilMCgsKyvzV6e6e9HQcj3P9iNuGjCWlIkjMvdJaJZiYiP00uHAiuBJjNJNGp5MpSOU7+kdkzNx/dwptdBY2gsprjFZWgicPgtZ/29cY9jkA"
    "b7FqFwcNkzldAAAAAElFTkSuQmCC"
)


def example(**body: Any) -> ConfigDict:
    """The configuration of a model whose JSON schema has this example."""
    return ConfigDict(json_schema_extra={"examples": [body]})
