"""OpenAI's routes as its official client sees them, over a real socket with the embedded model."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

FEW = {"num_inference_steps": 4}


@pytest.fixture(scope="module")
def client(real: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{real.port}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


def pixels(file: str | None) -> Any:
    assert file is not None
    with Image.open(io.BytesIO(base64.b64decode(file))) as image:
        return np.asarray(image.convert("RGB"))


def data_url(colour: tuple[int, int, int] = (200, 20, 20)) -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def user(text: str, *urls: str) -> Any:
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


# Models


def test_models(client: openai.OpenAI, model: str) -> None:
    found = client.models.retrieve(model)
    assert (found.id, found.object, found.owned_by) == (model, "model", "flashu")
    assert found.model_extra is not None and "64x64" in found.model_extra["sizes"]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("org/other")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


# Pictures


def test_a_picture(client: openai.OpenAI, model: str, real: Any) -> None:
    answer = client.images.generate(model=model, prompt="a red circle", extra_body={"seed": 3, **FEW})
    assert answer.data is not None and len(answer.data) == 1
    assert (answer.size, answer.output_format, answer.background) == ("64x64", "png", "opaque")
    assert answer.created > 1_700_000_000
    native = real.client.post("/v1/generate", json={"prompt": "a red circle", "seed": 3, "num_inference_steps": 4})
    assert answer.data[0].b64_json == native.json()["images"][0]["b64_json"]
    assert answer.model_extra is not None
    assert (answer.model_extra["acceleration"], answer.model_extra["schedule"]["evaluations"]) == ("exact", 3)


def test_every_field_of_a_picture(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a red circle",
        n=2,
        size="auto",
        response_format="b64_json",
        output_format="jpeg",
        output_compression=50,
        quality="auto",
        background="opaque",
        moderation="low",
        user="somebody",
        extra_body={"seed": 1, "guidance_scale": 2.0, "negative_prompt": "blue", "acceleration": "flashu", **FEW},
    )
    assert answer.data is not None
    assert [pixels(image.b64_json).shape for image in answer.data] == [(64, 64, 3)] * 2
    assert base64.b64decode(answer.data[0].b64_json or "")[:2] == b"\xff\xd8"
    assert [(image.model_extra or {})["seed"] for image in answer.data] == [1, 2]
    assert (answer.model_extra or {})["acceleration"] == "flashu"


def test_a_picture_in_a_stream(client: openai.OpenAI) -> None:
    extra = {"seed": 3, "num_inference_steps": 9}
    plain = client.images.generate(prompt="a red circle", extra_body=extra)
    events = list(client.images.generate(prompt="a red circle", stream=True, partial_images=2, extra_body=extra))
    *partial, last = events
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 2
    assert last.type == "image_generation.completed"
    for index, event in enumerate(partial):
        assert event.type == "image_generation.partial_image"
        assert event.partial_image_index == index
        assert pixels(event.b64_json).shape == (64, 64, 3)
    assert plain.data is not None
    assert last.b64_json == plain.data[0].b64_json
    assert (last.size, last.output_format, last.quality) == ("64x64", "png", "auto")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "text"}, "response_format"),
        ({"background": "transparent"}, "background"),
        ({"size": "1024x1024"}, "size"),
        ({"size": "64*64"}, "size"),
        ({"n": 9}, "n"),
        ({"prompt": " "}, "prompt"),
        ({"output_format": "gif"}, "output_format"),
        ({"extra_body": {"image": "AAAA"}}, "image"),
        ({"extra_body": {"num_inference_steps": 1}}, "num_inference_steps"),
        ({"extra_body": {"seed": -2}}, "seed"),
        ({"extra_body": {"seed": 2**63}}, "seed"),
        ({"extra_body": {"acceleration": "warp"}}, "acceleration"),
        ({"stream": True, "partial_images": 1, "n": 2}, "partial_images"),
    ],
)
def test_pictures_that_are_refused(fields: dict[str, Any], param: str | None, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"prompt": "a", **fields})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


# Chat


def test_a_question_about_a_picture(client: openai.OpenAI, model: str, real: Any) -> None:
    url = data_url()
    answer = client.chat.completions.create(model=model, messages=[user("what is this?", url)], max_tokens=12)
    (choice,) = answer.choices
    native = real.client.post("/v1/vqa", json={"question": "what is this?", "image": url, "max_new_tokens": 12}).json()
    assert choice.message.content == native["answer"] != ""
    assert (choice.message.role, choice.finish_reason) == ("assistant", native["finish_reason"])
    assert answer.usage is not None and answer.usage.model_dump(exclude_unset=True) == native["usage"]
    assert (answer.object, answer.model) == ("chat.completion", model)
    assert (answer.model_extra or {})["routing"] == {
        "task": "vqa",
        "reason": "an image was given",
        "image": {"message": 0, "role": "user"},
    }
    short = client.chat.completions.create(
        model=model, messages=[user("what is this?", url)], max_completion_tokens=1, temperature=0.7, top_p=0.9, seed=2
    )
    assert short.choices[0].finish_reason in ("length", "stop")
    assert short.usage is not None and short.usage.completion_tokens <= 1


def test_an_answer_in_a_stream(client: openai.OpenAI, model: str) -> None:
    messages = [user("what is this?", data_url())]
    plain = client.chat.completions.create(model=model, messages=messages)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    finished = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finished == [None] * (len(finished) - 1) + [plain.choices[0].finish_reason]
    assert chunks[-1].choices == [] and chunks[-1].usage == plain.usage
    unasked = list(client.chat.completions.create(model=model, messages=messages, stream=True))
    assert all(chunk.choices for chunk in unasked)


async def test_the_asynchronous_client(model: str, real: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{real.port}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(
            model=model, messages=[user("what is this?", data_url())], stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces)


def test_log_probabilities(client: openai.OpenAI, model: str) -> None:
    messages = [user("what is this?", data_url())]
    fields: Any = {"model": model, "messages": messages, "logprobs": True, "top_logprobs": 4}
    answer = client.chat.completions.create(**fields)
    choice = answer.choices[0]
    assert choice.logprobs is not None and choice.logprobs.content and answer.usage is not None
    content = choice.logprobs.content
    assert len(content) == answer.usage.completion_tokens
    assert "".join(token.token for token in content) == choice.message.content
    assert b"".join(bytes(token.bytes or []) for token in content).decode() == choice.message.content
    for token in content:
        assert len(token.top_logprobs) == 4
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert sum(math.exp(one.logprob) for one in token.top_logprobs) <= 1 + 1e-5
    chunks = list(client.chat.completions.create(**fields, stream=True))
    streamed = [
        token for chunk in chunks for one in chunk.choices if one.logprobs for token in one.logprobs.content or []
    ]
    assert streamed == content
    plain = client.chat.completions.create(model=model, messages=messages).choices[0]
    assert plain.logprobs is None
    alone = client.chat.completions.create(model=model, messages=messages, logprobs=True).choices[0]
    assert alone.logprobs is not None and alone.logprobs.content is not None
    assert [token.top_logprobs for token in alone.logprobs.content] == [[]] * len(content)
    generated: Any = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "draw a cat"}], logprobs=True, extra_body=FEW
    )
    assert generated.choices[0].logprobs is None
    assert generated.warnings[0]["param"] == "logprobs"
    with pytest.raises(openai.BadRequestError, match="top_logprobs"):
        client.chat.completions.create(model=model, messages=messages, logprobs=True, top_logprobs=21)


def test_usage_of_a_generation(client: openai.OpenAI, model: str) -> None:
    image = client.images.generate(prompt="a red circle", extra_body=FEW)
    assert image.usage is not None
    assert image.usage.total_tokens == image.usage.input_tokens == image.usage.input_tokens_details.text_tokens > 3
    assert image.usage.output_tokens == 0
    turn: Any = {"model": model, "messages": [{"role": "user", "content": "draw a red circle"}], "extra_body": FEW}
    whole = client.chat.completions.create(**turn).usage
    assert whole is not None and whole.prompt_tokens == whole.total_tokens > 3 and whole.completion_tokens == 0
    chunks = list(client.chat.completions.create(**turn, stream=True, stream_options={"include_usage": True}))
    assert [chunk.usage for chunk in chunks] == [None] * (len(chunks) - 1) + [whole]
    assert chunks[-1].choices == []


def test_an_answer_ends_before_a_stop(client: openai.OpenAI, model: str) -> None:
    messages = [user("what is this?", data_url())]
    whole = client.chat.completions.create(model=model, messages=messages).choices[0].message.content or ""
    stop = whole[-2:]  # the model's answers are a word or two
    for sent in (stop, ["\0", stop]):
        cut = client.chat.completions.create(model=model, messages=messages, stop=sent).choices[0]
        assert cut.message.content == whole[: whole.index(stop)]
        assert cut.finish_reason == "stop"


def test_text_alone_and_a_follow_up(client: openai.OpenAI, model: str) -> None:
    said = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "what is red?"}])
    assert isinstance(said.choices[0].message.content, str)
    assert (said.model_extra or {})["schedule"]["visual_tokens_kept"] == 0

    url = data_url()
    first = client.chat.completions.create(model=model, messages=[user("what is this?", url)])
    talk = [
        {"role": "system", "content": "Be brief."},
        user("what is this?", url),
        first.choices[0].message.model_dump(),  # as clients send it back, with every field it came with
        {"role": "user", "content": "what colour is it?"},
    ]
    after = client.chat.completions.create(model=model, messages=talk)  # type: ignore[arg-type]
    alone = client.chat.completions.create(model=model, messages=[user("what colour is it?", url)])
    assert after.choices[0].message.content == alone.choices[0].message.content


def test_a_turn_that_asks_for_a_picture(client: openai.OpenAI, model: str, real: Any) -> None:
    extra = {"seed": 3, **FEW}
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Draw a red circle"}], extra_body=extra
    )
    message = answer.choices[0].message
    assert message.content is None
    (image,) = (message.model_extra or {})["images"]
    assert image["type"] == "image_url"
    head, file = image["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    native = real.client.post("/v1/generate", json={"prompt": "Draw a red circle", "seed": 3, "num_inference_steps": 4})
    assert file == native.json()["images"][0]["b64_json"]
    assert (answer.model_extra or {})["routing"]["reason"] == "the text asks for a picture"

    wanted = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "a red circle"}],
        modalities=["image"],  # type: ignore[list-item]
        extra_body=extra,
    )
    assert (wanted.choices[0].message.model_extra or {})["images"]
    # A generated picture can be the subject of a question: clients send it back as a picture of the user's.
    seen = client.chat.completions.create(model=model, messages=[user("what is this?", image["image_url"]["url"])])
    assert seen.choices[0].message.content


def test_a_picture_in_a_chat_stream(client: openai.OpenAI, model: str) -> None:
    messages: Any = [{"role": "user", "content": "Draw a red circle"}]
    extra = {"seed": 3, **FEW}
    plain = client.chat.completions.create(model=model, messages=messages, extra_body=extra)
    chunks = list(client.chat.completions.create(model=model, messages=messages, stream=True, extra_body=extra))
    pictures = [picture for chunk in chunks for picture in (chunk.choices[0].delta.model_extra or {}).get("images", [])]
    assert pictures == (plain.choices[0].message.model_extra or {})["images"]
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "n: not supported by this model: it generates one answer"),
        ({"messages": [user("what?", "https://example.com/a.png")]}, "is an address"),
        ({"messages": [user("what?", "data:text/plain;base64,AAAA")]}, "data URL"),
        ({"messages": [user("what?", data_url(), data_url())]}, "one picture at a time"),
        ({"messages": [user(" ", data_url())]}, "no text"),
        ({"messages": []}, "at least 1"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "last message must be the user's"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}]}, "last message must be the user's"),
        ({"messages": [{"role": "cook", "content": "a"}]}, "messages.0.role: must be one of 'user', 'system'"),
        ({"extra_body": {"size": "64*64"}}, "size: "),
        ({"messages": [user("what?"), {"role": "user", "content": [{"type": "input_audio"}]}]}, "no text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}]},
            "messages.0.content.1.type: not supported by this model",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "differ"),
        ({"temperature": 3}, "temperature"),
        ({"logit_bias": {"5": 10}}, "logit_bias"),
        ({"stop": ["a"] * 5}, "stop: at most 4 items are allowed"),
        ({"modalities": ["audio"]}, "modalities: not supported by this model"),
        ({"response_format": {"type": "json_object"}}, "response_format: not supported by this model"),
    ],
)
def test_turns_that_are_refused(fields: dict[str, Any], words: str, client: openai.OpenAI, model: str) -> None:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "what is red?"}], **fields}
    with pytest.raises(openai.BadRequestError, match=words):
        client.chat.completions.create(**body)


# Errors of the client's own classes


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "hello"}])
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.images.generate(model="dall-e-9", prompt="a")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="a", input="b")


def test_a_deadline_is_an_error_of_the_server_and_is_not_tried_again(client: openai.OpenAI, real: Any) -> None:
    late = {"timeout_s": 1e-6}
    counted = 'flashu_requests_total{policy="",status="504",task="generate"}'
    before = real.metric(counted)
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=3).images.generate(prompt="a", extra_body=late)
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")
    real.wait_for(lambda: real.metric(counted) == before + 1, 30)
    with pytest.raises(openai.InternalServerError):  # a stream that has not begun
        client.images.generate(prompt="a", stream=True, extra_body=late)


def test_a_stream_that_fails_in_the_middle_raises(client: openai.OpenAI, model: str) -> None:
    for timeout_s in (0.5, 1.0, 2.0, 4.0, 8.0):  # until the first step ends in time, and the thousandth does not
        chunks = []
        with pytest.raises(openai.APIError, match="timeout_s") as caught:
            stream = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "draw a cat"}],
                stream=True,
                extra_body={"num_inference_steps": 1000, "timeout_s": timeout_s},
            )
            for chunk in stream:
                chunks.append(chunk)
        assert caught.value.code == "deadline_exceeded"
        if chunks:
            break
    assert chunks[0].choices[0].delta.role == "assistant"
    assert not isinstance(caught.value, openai.APIStatusError)


def test_leaving_a_stream_frees_the_place(client: openai.OpenAI, model: str, real: Any) -> None:
    for _ in range(2):
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "draw a cat"}],
            stream=True,
            extra_body={"num_inference_steps": 1000},
        )
        next(iter(stream))
        stream.close()
    real.wait_for(lambda: real.client.get("/health").json()["running"] == 0, 60)


def test_a_server_that_is_not_ready(toy: Any, serving: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    with serving(engine) as live:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{live.port}/v1", api_key="none", max_retries=0)
        with client, pytest.raises(openai.InternalServerError) as caught:
            client.images.generate(prompt="a")
        assert (caught.value.status_code, caught.value.code) == (503, "loading")
        assert caught.value.response.headers["retry-after"] == "5"
