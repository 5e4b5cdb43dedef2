"""Fixed limits of requests, used by the engine's types, checkpoints' defaults and the server's schemas."""

from __future__ import annotations

SEEDS = 2**63  # seeds are at least 0 and below this
MAX_INFERENCE_STEPS = 1000  # `num_inference_steps`
MAX_GUIDANCE_SCALE = 100.0
MAX_IMAGES = 8  # pictures of a request
MAX_PREVIEWS = 3  # previews of a picture
MAX_NEW_TOKENS = 4096  # tokens of an answer
MAX_TEMPERATURE = 10.0
MAX_STOPS = 4  # stop sequences of an answer
MAX_LOGPROBS = 20  # likeliest tokens per position
