"""Suggests the name of an existing field for one that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from server.limits import MAX_NAME_CHARACTERS

# Names of the same parameters in other servers and libraries, where the spelling is too different.
_SYNONYMS = {
    "steps": "num_inference_steps",
    "num_steps": "num_inference_steps",
    "sampling_steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "width": "size",
    "height": "size",
    "aspect_ratio": "size",
    "resolution": "size",
    "num_images": "n",
    "num_images_per_prompt": "n",
    "batch_size": "n",
    "format": "output_format",
    "text": "prompt",
    "query": "question",
    "image_url": "image",
    "max_length": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "policy": "acceleration",
    "timeout": "timeout_s",
}
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def likeliest(name: str, known: Collection[str]) -> str | None:
    """The field of `known` that `name` most likely means; None if none is similar."""
    if len(name) > MAX_NAME_CHARACTERS:
        return None
    plain = _CAPITAL.sub("_", name).lower().replace("-", "_")
    synonym = _SYNONYMS.get(plain)
    if synonym in known:
        return synonym
    close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return close[0] if close else None
