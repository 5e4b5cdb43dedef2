"""Fields of OpenAI's API and compatible servers that have no effect here. A hint, or a value that requests nothing,
is ignored with a warning; a value that would change the meaning of the answer is refused. Each route has a table of
such fields; a field in no table is ignored with a warning. Fields with an effect are in the bodies (`schemas.openai`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from server.api.schemas.warnings import Warnings
from server.errors import UnsupportedValueError
from server.limits import MAX_WARNINGS
from server.suggestions import likeliest


def _anything(_: Any) -> bool:
    return True


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


@dataclass(frozen=True, kw_only=True, slots=True)
class NoEffect:
    """A field without effect.

    Attributes:
        reason: why it has none, to follow "ignored: " or "not supported by this model: ".
        neutral: whether a value may be ignored; other values are refused. By default all are ignored.
        remedy: what to do instead of sending a refused value.
    """

    reason: str
    neutral: Callable[[Any], bool] = _anything
    remedy: str = "omit it"


class OpenBody(BaseModel):
    """A body, or an object in one, that accepts unknown fields; types are not converted."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    no_effect: ClassVar[Mapping[str, NoEffect]] = {}

    def review(self, warnings: Warnings) -> None:
        """Checks what a schema cannot express, and warns; overridden where needed.

        Raises:
            UnsupportedValueError
        """


def reviewed(body: OpenBody) -> Warnings:
    """Warnings about all fields of a body without effect.

    Raises:
        UnsupportedValueError: ignoring a value would change the meaning of the answer.
    """
    warnings = Warnings()
    suggestions = 0  # looked for; each takes time
    for path, owner, name, value in _unknown_fields(body, ""):
        found = owner.no_effect.get(name)
        if found is None:
            right = likeliest(name, type(owner).model_fields) if suggestions < MAX_WARNINGS else None
            suggestions += 1
            words = "ignored: it has no effect here" + (f"; did you mean {right}?" if right else "")
            warnings.add(path + name, words)
        elif found.neutral(value):
            warnings.add(path + name, f"ignored: {found.reason}")
        else:
            raise UnsupportedValueError(path + name, f"{found.reason}; {found.remedy}")
    body.review(warnings)
    return warnings


def _unknown_fields(body: OpenBody, path: str) -> Iterator[tuple[str, OpenBody, str, Any]]:
    for name, value in (body.model_extra or {}).items():
        yield path, body, name, value
    for name in type(body).model_fields:
        value = getattr(body, name)
        if isinstance(value, OpenBody):
            yield from _unknown_fields(value, f"{path}{name}.")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, OpenBody):
                    yield from _unknown_fields(item, f"{path}{name}.{index}.")


# In any body.
COMMON = {
    "user": NoEffect(reason="end users are not tracked"),
    "safety_identifier": NoEffect(reason="end users are not tracked"),
    "metadata": NoEffect(reason="nothing is stored"),
    "store": NoEffect(reason="nothing is stored"),
    "service_tier": NoEffect(reason="there is one tier; priority orders requests"),
    "prompt_cache_key": NoEffect(reason="there is no prompt cache across requests"),
    "prompt_cache_retention": NoEffect(reason="there is no prompt cache across requests"),
}

_SAMPLING = "answers are sampled with temperature and top_p alone"
_NO_TOOLS = "it calls no tools"
# In bodies that request text.
TEXT = {
    **COMMON,
    # They change the wording of an answer, not its meaning; many chat pages always send them.
    **dict.fromkeys(
        (
            "frequency_penalty",
            "presence_penalty",
            "repetition_penalty",
            "repeat_penalty",
            "top_k",
            "min_p",
            "typical_p",
        ),
        NoEffect(reason=_SAMPLING),
    ),
    "logit_bias": NoEffect(reason=_SAMPLING, neutral=lambda value: isinstance(value, dict) and not any(value.values())),
    "best_of": NoEffect(reason="it generates one answer", neutral=_one_of(1), remedy="send 1 or omit it"),
    "use_beam_search": NoEffect(reason="it generates one answer", neutral=_one_of(False), remedy="omit it"),
    "ignore_eos": NoEffect(reason="the model alone decides where an answer ends"),
    "min_tokens": NoEffect(reason="the model alone decides where an answer ends"),
    **dict.fromkeys(
        ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar"),
        NoEffect(
            reason="its answers are free text without a schema",
            neutral=lambda value: not value,
            remedy="describe the form of the answer in words",
        ),
    ),
}


def _calls_for_tool(choice: Any) -> bool:
    mode = choice.get("mode", choice.get("type")) if isinstance(choice, dict) else choice
    return mode not in ("auto", "none")


TOOLS = {
    "tools": NoEffect(reason=_NO_TOOLS),
    "parallel_tool_calls": NoEffect(reason=_NO_TOOLS),
    "tool_choice": NoEffect(
        reason=_NO_TOOLS, neutral=lambda value: not _calls_for_tool(value), remedy="send auto or none, or omit it"
    ),
    "functions": NoEffect(reason=_NO_TOOLS),
    "function_call": NoEffect(
        reason=_NO_TOOLS, neutral=lambda value: not _calls_for_tool(value), remedy="send auto or none, or omit it"
    ),
}
CHAT = {
    **TEXT,
    **TOOLS,
    "n": NoEffect(reason="it generates one answer", neutral=_one_of(1), remedy="send 1, or as many requests"),
    "response_format": NoEffect(
        reason="its answers are free text without a schema",
        neutral=lambda value: isinstance(value, dict) and value.get("type") == "text",
        remedy="omit it and describe the form of the answer in words",
    ),
    "web_search_options": NoEffect(reason="it cannot search the web", neutral=_one_of()),
    "audio": NoEffect(reason="it has no audio output"),
    "reasoning_effort": NoEffect(reason="it answers without reasoning first"),
    "reasoning": NoEffect(reason="it answers without reasoning first"),
    "verbosity": NoEffect(reason="answers are short; max_tokens limits them"),
    "prediction": NoEffect(reason="predicted outputs are not used"),
}
_EDITS = "it generates from text alone and edits no pictures"
IMAGES = {
    **COMMON,
    "quality": NoEffect(reason="there is one quality; num_inference_steps and guidance_scale change it"),
    "style": NoEffect(reason="describe the style in the prompt"),
    "moderation": NoEffect(reason="there is no moderation"),
    "background": NoEffect(
        reason="pictures are opaque", neutral=_one_of("auto", "opaque"), remedy="send opaque or omit it"
    ),
    "input_fidelity": NoEffect(reason=_EDITS),
    **dict.fromkeys(
        ("image", "images", "mask", "init_image", "input_image", "input_images"),
        NoEffect(reason=_EDITS, neutral=lambda value: not value, remedy="omit it and describe the whole picture"),
    ),
}
