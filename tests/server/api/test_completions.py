"""`POST /v1/completions` as OpenAI's client sees it, over a real socket with the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

ASKED = "what is red?"


@pytest.fixture(scope="module")
def client(real: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{real.port}/v1", api_key="none", max_retries=0) as client:
        yield client


def answer_of(real: Any, question: str) -> str:
    """What the model says to a question alone, by the chat's route."""
    body = {"model": "shapes-64", "messages": [{"role": "user", "content": question}], "modalities": ["text"]}
    return real.client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]


def test_a_prompt_is_answered(client: openai.OpenAI, real: Any) -> None:
    answer = client.completions.create(model="shapes-64", prompt=ASKED)
    (choice,) = answer.choices
    assert choice.text == answer_of(real, ASKED) != ""
    assert (answer.object, choice.index, choice.finish_reason, choice.logprobs) == ("text_completion", 0, "stop", None)
    assert answer.usage is not None and answer.usage.total_tokens == (
        answer.usage.prompt_tokens + answer.usage.completion_tokens
    )
    assert (answer.model_extra or {})["acceleration"] == "exact"


def test_words_for_a_picture_are_text_here(client: openai.OpenAI) -> None:
    assert isinstance(client.completions.create(model="shapes-64", prompt="Draw a red circle").choices[0].text, str)


def test_several_prompts_are_choices_in_order(client: openai.OpenAI, real: Any) -> None:
    requested = [ASKED, "how many circles are there?", "is the sky blue?"]
    answer = client.completions.create(model="shapes-64", prompt=requested, echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.text for choice in answer.choices] == [text + answer_of(real, text) for text in requested]
    alone = [client.completions.create(model="shapes-64", prompt=text).usage for text in requested]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(usage.completion_tokens for usage in alone if usage)
    assert answer.usage.prompt_tokens == sum(usage.prompt_tokens for usage in alone if usage)


@pytest.mark.parametrize("echo", [False, True])
def test_a_stream(echo: bool, client: openai.OpenAI) -> None:
    requested = [ASKED, "is the sky blue?"]
    plain = client.completions.create(model="shapes-64", prompt=requested, echo=echo)
    chunks = list(
        client.completions.create(
            model="shapes-64", prompt=requested, echo=echo, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = ["", ""]
    finished = []
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            finished += [choice.finish_reason] if choice.finish_reason else []
    assert texts == [choice.text for choice in plain.choices]
    assert finished == [choice.finish_reason for choice in plain.choices]
    assert chunks[-1].choices == [] and chunks[-1].usage == plain.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.object for chunk in chunks} == {"text_completion"}


def test_where_an_answer_ends(client: openai.OpenAI, real: Any) -> None:
    whole = answer_of(real, ASKED)
    cut = client.completions.create(model="shapes-64", prompt=ASKED, stop=whole[-2:]).choices[0]
    assert (cut.text, cut.finish_reason) == (whole[:-2], "stop")
    long = client.completions.create(model="shapes-64", prompt=ASKED, max_tokens=10**9)
    assert long.choices[0].text == whole
    assert [entry["param"] for entry in (long.model_extra or {})["warnings"]] == ["max_tokens"]


def test_what_langchain_and_guidellm_send_by_default(client: openai.OpenAI, real: Any) -> None:
    neutral: dict[str, Any] = {"frequency_penalty": 0, "presence_penalty": 0, "n": 1, "best_of": 1, "seed": None}
    neutral |= {"stop": None, "logprobs": None, "suffix": None, "logit_bias": {}, "top_p": 1}
    answer = client.completions.create(model="shapes-64", prompt=[ASKED], **neutral, extra_body={"ignore_eos": True})
    assert answer.choices[0].text == answer_of(real, ASKED)


@pytest.mark.parametrize("echo", [False, True])
def test_log_probabilities(echo: bool, client: openai.OpenAI) -> None:
    requested = "what is left of the circle?"
    fields: Any = {"model": "shapes-64", "prompt": requested, "logprobs": 2, "echo": echo}
    whole = client.completions.create(**fields).choices[0]
    found = whole.logprobs
    assert found is not None and found.tokens and found.token_logprobs and found.top_logprobs and found.text_offset
    assert requested * echo + "".join(found.tokens) == whole.text
    assert [whole.text.index(token, at) for token, at in zip(found.tokens, found.text_offset, strict=True)] == (
        found.text_offset
    )
    for token, logprob, top in zip(found.tokens, found.token_logprobs, found.top_logprobs, strict=True):
        assert top is not None and len(top) == 2
        assert logprob == max(top.values()) == top[token] <= 0
    pieces = [chunk.choices[0].logprobs for chunk in client.completions.create(**fields, stream=True)]
    assert [token for piece in pieces if piece for token in piece.tokens or ()] == found.tokens
    assert [place for piece in pieces if piece for place in piece.text_offset or ()] == found.text_offset
    fields["logprobs"] = 0
    own = client.completions.create(**fields).choices[0].logprobs
    assert own is not None and own.token_logprobs == found.token_logprobs
    assert own.top_logprobs == [{}] * len(found.tokens)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": [1, 2, 3]}, "token ids"),
        ({"prompt": [[1, 2, 3]]}, "token ids"),
        ({"prompt": " "}, "must not be empty"),
        ({"prompt": []}, "at least 1"),
        ({"prompt": ["a"] * 21}, "at most 20"),
        ({"prompt": {"text": "a"}}, "must be text or a list of texts"),
        ({"suffix": "the end"}, "suffix: not supported by this model"),
        ({"n": 2}, "n: not supported by this model"),
        ({"best_of": 2}, "best_of: not supported by this model"),
        ({"logit_bias": {"5": 10}}, "logit_bias"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"prompt": "a " * 300}, "tokens"),
        ({"extra_body": {"acceleration": "warp"}}, "acceleration"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], words: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.completions.create(**{"model": "shapes-64", "prompt": "a", **fields})
    name = next(iter(fields.get("extra_body", fields)))
    assert (caught.value.param or "").split(".")[0] == name


@pytest.mark.parametrize("stream", [False, True])
def test_one_of_several_prompts_is_refused_by_its_number(stream: bool, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"prompt\.2: .* tokens; at most 256") as caught:
        client.completions.create(model="shapes-64", prompt=[ASKED, ASKED, "a " * 300, ASKED], stream=stream)
    assert (caught.value.param, caught.value.code) == ("prompt.2", "context_length_exceeded")


def test_a_late_prompt_is_refused_before_the_first_is_answered(shared: Any) -> None:
    before = len(shared.engine.seen)
    body = {"model": "toy", "stream": True}
    refused = shared.client.post("/v1/completions", json={**body, "prompt": [ASKED] * 19 + ["word " * 300]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt.19")
    assert len(shared.engine.seen) == before
    response = shared.client.post("/v1/completions", json={**body, "prompt": [ASKED] * 20})
    assert (response.status_code, "error" in response.text) == (200, False)
    assert len(shared.engine.seen) == before + 20


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-x", prompt="a")


def test_all_prompts_are_counted_and_charged(client: openai.OpenAI, real: Any) -> None:
    counted = 'flashu_requests_total{policy="exact",status="200",task="vqa"}'
    before = real.metric(counted)
    client.completions.create(model="shapes-64", prompt=[ASKED, ASKED])
    real.wait_for(lambda: real.metric(counted) == before + 1)


def test_one_late_prompt_fails_all(client: openai.OpenAI, real: Any) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model="shapes-64", prompt=[ASKED] * 4, extra_body={"timeout_s": 1e-6})
    assert caught.value.code == "deadline_exceeded"
    real.wait_for(lambda: real.client.get("/health").json()["running"] == 0)
