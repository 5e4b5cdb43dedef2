"""The likeliest right name for a field that does not exist, from the names that do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

# What other servers and libraries call our fields, where the spelling alone would not tell.
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
_LONGEST = 64
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def likeliest(name: str, known: Collection[str]) -> str | None:
    """The field of `known` that `name` most likely means, or None where none is near."""
    if len(name) > _LONGEST:
        return None
    plain = _CAPITAL.sub("_", name).lower().replace("-", "_")
    synonym = _SYNONYMS.get(plain)
    if synonym in known:
        return synonym
    close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return close[0] if close else None
