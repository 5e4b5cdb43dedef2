"""Fields of OpenAI's, and of other servers that speak its protocol, that have no effect here. One that only hints, or a
value that asks for nothing, is ignored with a warning; a value that would change what the answer means is refused. Each
route has a table of the fields it knows of; a field in no table is ignored with a warning.

It knows names and values. Fields that do have an effect are in the bodies (`openai_schemas`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from server.api.schemas.warnings import Warnings
from server.errors import UnsupportedValueError
from server.suggestions import likeliest


def _anything(_: Any) -> bool:
    return True


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


@dataclass(frozen=True, kw_only=True, slots=True)
class NoEffect:
    """A field without effect.

    Attributes:
        reason: why it has none, as the end of "ignored: ..." and of "not supported by this model: ...".
        neutral: whether a value may be ignored; the others are refused. By default all may.
        remedy: what to send instead of a refused value.
    """

    reason: str
    neutral: Callable[[Any], bool] = _anything
    remedy: str = "leave it out"


class OpenBody(BaseModel):
    """A body, or an object in one, that takes fields it does not know; those it knows are not converted."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    no_effect: ClassVar[Mapping[str, NoEffect]] = {}

    def review(self, warnings: Warnings) -> None:
        """What a schema cannot say; a body that needs it overrides this.

        Raises:
            UnsupportedValueError
        """


def reviewed(body: OpenBody) -> Warnings:
    """Warns of all that has no effect in a body.

    Raises:
        UnsupportedValueError: ignoring a value would change what the answer means.
    """
    warnings = Warnings()
    for path, owner, name, value in _unknown_fields(body, ""):
        found = owner.no_effect.get(name)
        if found is None:
            right = None if path or warnings.full else likeliest(name, type(owner).model_fields)
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


# What any body may hold.
COMMON = {
    "user": NoEffect(reason="nothing is kept of end users"),
    "safety_identifier": NoEffect(reason="nothing is kept of end users"),
    "metadata": NoEffect(reason="nothing is stored"),
    "store": NoEffect(reason="nothing is stored"),
    "service_tier": NoEffect(reason="there is one tier; priority orders requests"),
    "prompt_cache_key": NoEffect(reason="there is no cache of prompts to choose"),
    "prompt_cache_retention": NoEffect(reason="there is no cache of prompts to choose"),
}

_SAMPLING = "answers are sampled by temperature and top_p alone"
_NO_TOOLS = "it calls no tools"
# Of whatever writes text.
TEXT = {
    **COMMON,
    # They shape how an answer is worded, not what is answered; pages have sliders for them.
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
    "best_of": NoEffect(reason="it writes one answer", neutral=_one_of(1), remedy="send 1 or leave it out"),
    "use_beam_search": NoEffect(reason="it writes one answer", neutral=_one_of(False), remedy="leave it out"),
    "ignore_eos": NoEffect(reason="an answer ends where the model ends it"),
    "min_tokens": NoEffect(reason="an answer ends where the model ends it"),
    **dict.fromkeys(
        ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar"),
        NoEffect(
            reason="its answers are free text, held to no schema",
            neutral=lambda value: not value,
            remedy="say in words what form the answer should have",
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
        reason=_NO_TOOLS, neutral=lambda value: not _calls_for_tool(value), remedy="send auto or none, or leave it out"
    ),
    "functions": NoEffect(reason=_NO_TOOLS),
    "function_call": NoEffect(
        reason=_NO_TOOLS, neutral=lambda value: not _calls_for_tool(value), remedy="send auto or none, or leave it out"
    ),
}
CHAT = {
    **TEXT,
    **TOOLS,
    "n": NoEffect(reason="it writes one answer", neutral=_one_of(1), remedy="send 1, or as many requests"),
    "response_format": NoEffect(
        reason="its answers are free text, held to no schema",
        neutral=lambda value: isinstance(value, dict) and value.get("type") == "text",
        remedy="leave it out and say in words what form the answer should have",
    ),
    "web_search_options": NoEffect(reason="it cannot search the web", neutral=_one_of()),
    "audio": NoEffect(reason="it says nothing aloud"),
    "reasoning_effort": NoEffect(reason="it answers without reasoning first"),
    "reasoning": NoEffect(reason="it answers without reasoning first"),
    "verbosity": NoEffect(reason="answers are short; max_tokens bounds them"),
    "prediction": NoEffect(reason="nothing is predicted"),
}
_EDITS = "it draws from text alone and edits no pictures"
IMAGES = {
    **COMMON,
    "quality": NoEffect(reason="there is one quality; num_inference_steps and guidance_scale change it"),
    "style": NoEffect(reason="say in the prompt what style is wanted"),
    "moderation": NoEffect(reason="nothing is moderated"),
    "background": NoEffect(
        reason="pictures are opaque", neutral=_one_of("auto", "opaque"), remedy="send opaque or leave it out"
    ),
    "input_fidelity": NoEffect(reason=_EDITS),
    **dict.fromkeys(
        ("image", "images", "mask", "init_image", "input_image", "input_images"),
        NoEffect(reason=_EDITS, neutral=lambda value: not value, remedy="leave it out and describe the whole picture"),
    ),
}
