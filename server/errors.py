"""The one place where an exception becomes an HTTP status and the one error body. It knows the engine's exceptions,
this server's own and those of pydantic and starlette; it decides nothing else and shows no text it does not know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from flashu_core import (
    CancelledError,
    DeadlineExceededError,
    FlashUError,
    InvalidRequestError,
    PromptTooLongError,
)
from server.limits import MAX_TEXT_CHARACTERS
from server.suggestions import likeliest

CLIENT_GONE = 499  # nginx's number for a client that left; nobody reads the answer, the metrics do
# Every status that a request for work can fail with.
FAILURES = (400, 401, 403, 404, 408, 413, 415, 429, CLIENT_GONE, 500, 503, 504)
# Codes of work that was refused or dropped, however well it was asked for.
REFUSALS = (
    *("invalid_api_key", "rate_limit_exceeded", "body_timeout", "body_too_large"),
    "body_memory_full",
    *("host_not_allowed", "origin_not_allowed"),
    *("queue_full", "loading", "restarting", "stalled", "draining", "failed"),
    *("worker_lost", "cancelled", "deadline_exceeded"),
)
_PARAMETERS = {  # the engine's names of what the routes call otherwise
    "num_images": "n",
    "width": "size",
    "height": "size",
    "deadline": "timeout_s",
}
_NOT_AGAIN = {"x-should-retry": "false"}  # OpenAI's clients would run the same work once more
_KINDS = {401: "authentication_error", 429: "rate_limit_error"}
_CONTEXT_LENGTH = "context_length_exceeded"
_CODES = {
    "missing": "missing_field",
    "union_tag_not_found": "missing_field",
    "extra_forbidden": "unknown_field",
}
_UNION_ERRORS = ("union_tag_invalid", "union_tag_not_found")
_VALUE_NOT_AT_FAULT = (*_UNION_ERRORS, "extra_forbidden")
_STATUS_CODES = {
    400: "invalid_value",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class ServerError(Exception):
    """An error of the server's own; the message is safe to show to a client."""


class InvalidJsonError(ServerError):
    """The body is not the JSON that the routes take."""


class InvalidFieldError(ServerError):
    """The body does not hold what its schema asks for.

    Args:
        error: all that pydantic found. One of it is enough, and there may be as many as the body has keys.
        sent: the body as it came; it tells a field's name from that of an alternative that pydantic tried.
        known: the fields that there are.

    Attributes:
        param: where in the body, as `acceleration.skip_ratio`; None where it is about all of it.
        code: stable, for programs.
    """

    def __init__(self, error: ValidationError, sent: object, known: Collection[str] = ()) -> None:
        found = error.errors(include_url=False)[0]
        kind = found["type"]
        # A rule about several fields names the one to change.
        path = _path(found, sent) or [name for name in (found.get("ctx", {}).get("param"),) if name]
        self.param = ".".join(path) or None
        self.code = _CODES.get(kind, "invalid_value")
        if kind == "string_too_long" and found["ctx"]["max_length"] == MAX_TEXT_CHARACTERS:
            self.code = _CONTEXT_LENGTH
        message = _words(found) + ("" if kind in _VALUE_NOT_AT_FAULT else _value(found["input"]))
        if kind == "extra_forbidden" and len(path) == 1:
            right = likeliest(path[0], known)
            message = f"there is no such field; did you mean {right}?" if right else message
        if self.param is not None:
            message = f"{self.param}: {message}"
        elif kind == "model_type":
            message = f"the body {message}"
        super().__init__(message)


class UnsupportedValueError(ServerError):
    """A field asks for what this model cannot do, and an answer without it would not be what was asked for.

    Args:
        param: the field, as `messages.0.content`; may be of a client's making.
        reason: what the model cannot do, and what to send instead.
    """

    def __init__(self, param: str, reason: str) -> None:
        self.param = _shown(param)
        super().__init__(f"{self.param}: not supported by this model: {reason}")


class InvalidApiKeyError(ServerError):
    """The request names no key of this server."""

    def __init__(self) -> None:
        super().__init__("this server needs a valid API key; send it as Authorization: Bearer KEY")


class RateLimitedError(ServerError):
    """The key has used what it may; `retry_after` is in seconds, `headers` tell more about the limit."""

    def __init__(self, message: str, *, retry_after: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.headers = headers or {}


class OverloadedError(ServerError):
    """No room for one more request; `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnavailableError(ServerError):
    """The worker takes no requests in this state."""

    def __init__(self, reason: Literal["loading", "restarting", "stalled", "draining", "failed"]) -> None:
        super().__init__(
            {
                "loading": "the model is still loading; retry later",
                "restarting": "the model is being started again; retry later",
                "stalled": "the model makes no progress; retry later",
                "draining": "the server is shutting down; retry on another one",
                "failed": "the model is not running; retry later",
            }[reason]
        )
        self.reason = reason
        self.retry_after = 30 if reason == "failed" else 5


class WorkerLostError(ServerError):
    """The process of the engine died.

    Args:
        ran: the request was inside, and may be what it died of.
    """

    def __init__(self, *, ran: bool) -> None:
        super().__init__(
            "the model's process died while it worked on the request; it is not tried again by itself"
            if ran
            else "the model's process died before it came to the request; retry later"
        )
        self.ran = ran
        self.retry_after = 5


class InternalError(ServerError):
    """A fault of ours. What happened is in the log, never in the message."""

    def __init__(self) -> None:
        super().__init__("internal error; the log has the details under this request id")


class BodyTooLargeError(ServerError):
    """The body has more bytes than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is over the limit of {limit} bytes; send a smaller one")


class BodyTimeoutError(ServerError):
    """The body did not arrive in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s; send it faster")


class BodyMemoryError(ServerError):
    """There is no room for the body beside those of others."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"request bodies hold the {limit} bytes that they may hold together; retry later")


class MalformedBodyError(ServerError):
    """The body cannot be decoded."""


class UnsupportedEncodingError(ServerError):
    """The body has a Content-Encoding that is not decoded here.

    Attributes:
        allowed: those that are.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        super().__init__(f"the Content-Encoding is not supported; send {' or '.join(allowed)}, or none")


class HostNotAllowedError(ServerError):
    """The request names a host that this server does not have."""

    def __init__(self) -> None:
        super().__init__("the Host is not one of this server's; use its address, or list the name in allowed_hosts")


class OriginNotAllowedError(ServerError):
    """The request comes from a page of another origin."""

    def __init__(self) -> None:
        super().__init__("pages of this Origin may not send requests here; list it in cors_origins to allow them")


class UnsupportedMediaTypeError(ServerError):
    """The body is of a type the route does not read."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"the Content-Type is not one this route reads; send {' or '.join(allowed)}")


class UnknownModelError(ServerError):
    """The model named is not the one loaded, which has the names `known`."""

    def __init__(self, *known: str) -> None:
        names = " or ".join(known)
        super().__init__(f"there is no model of that name here; use {names}, or leave model out where that may be")


class ClientGoneError(ServerError):
    """The client closed the connection before its answer was ready."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client gets it: a status, a stable code, and a message."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, dict[str, str | None]]:
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, headers=dict(self.headers))


def problem_of(error: Exception, names: Mapping[str, str] = MappingProxyType({})) -> Problem:
    """The answer to a request that ended in `error`; anything unknown is a 500 of fixed words.

    Args:
        names: what the route calls parameters of the engine's, where that differs from the native routes.
    """
    match error:
        case InvalidFieldError():
            return Problem(400, error.code, str(error), error.param)
        case UnsupportedValueError():
            return Problem(400, "unsupported_value", str(error), error.param)
        case ValidationError():
            return problem_of(InvalidFieldError(error, None))
        case InvalidRequestError():
            code = _CONTEXT_LENGTH if isinstance(error, PromptTooLongError) else "invalid_value"
            name = error.parameter or ""
            if name in names:  # the engine's words are about its own name
                return Problem(400, code, f"{names[name]}: {error}", names[name])
            return Problem(400, code, str(error), _PARAMETERS.get(name, name) or None)
        case DeadlineExceededError():
            return Problem(504, "deadline_exceeded", str(error), "timeout_s", headers=_NOT_AGAIN)
        case CancelledError():
            return Problem(503, "cancelled", str(error), headers={"Retry-After": "1"})
        case InvalidJsonError():
            return Problem(400, "invalid_json", str(error))
        case RecursionError():
            return Problem(400, "invalid_json", "the JSON is nested too deeply; send one flat object")
        case BodyTooLargeError():
            return Problem(413, "body_too_large", str(error), headers={"Connection": "close"})
        case BodyTimeoutError():
            return Problem(408, "body_timeout", str(error), headers={"Connection": "close"})
        case BodyMemoryError():
            return Problem(503, "body_memory_full", str(error), headers={"Retry-After": "1", "Connection": "close"})
        case MalformedBodyError():
            return Problem(400, "malformed_body", str(error))
        case UnsupportedEncodingError():
            accepted = {"Accept-Encoding": ", ".join(error.allowed)}  # RFC 9110, 12.5.3
            return Problem(415, "unsupported_content_encoding", str(error), headers=accepted)
        case HostNotAllowedError():
            return Problem(403, "host_not_allowed", str(error))
        case OriginNotAllowedError():
            return Problem(403, "origin_not_allowed", str(error))
        case UnsupportedMediaTypeError():
            return Problem(415, "unsupported_media_type", str(error))
        case InvalidApiKeyError():
            return Problem(401, "invalid_api_key", str(error), headers={"WWW-Authenticate": "Bearer"})
        case RateLimitedError():
            headers = {"Retry-After": str(error.retry_after), **error.headers}
            return Problem(429, "rate_limit_exceeded", str(error), headers=headers)
        case OverloadedError():
            return Problem(503, "queue_full", str(error), headers={"Retry-After": str(error.retry_after)})
        case UnavailableError():
            return Problem(503, error.reason, str(error), headers={"Retry-After": str(error.retry_after)})
        case WorkerLostError():
            headers = {"Retry-After": str(error.retry_after)}
            if error.ran:  # it may kill the next process too, and clients' libraries retry a 503 unasked
                headers["x-should-retry"] = "false"
            return Problem(503, "worker_lost", str(error), headers=headers)
        case UnknownModelError():
            return Problem(404, "model_not_found", str(error), "model")
        case ClientGoneError() | ClientDisconnect():
            return Problem(CLIENT_GONE, "client_gone", "the client closed the connection")
        case HTTPException() if error.status_code < 500:
            code = _STATUS_CODES.get(error.status_code, "invalid_request")
            return Problem(error.status_code, code, str(error.detail), headers=error.headers or {})
        case _:
            return Problem(500, "internal_error", str(InternalError()), headers=_NOT_AGAIN)


# Those that starlette can hand to a handler one class at a time; the rest end at the boundary as a 500.
HANDLED: tuple[type[Exception], ...] = (
    FlashUError,
    ServerError,
    ValidationError,
    HTTPException,
    ClientDisconnect,
    RecursionError,
)


def _path(found: ErrorDetails, sent: object) -> list[str]:
    path: list[str] = []
    last = len(found["loc"]) - 1
    for index, part in enumerate(found["loc"]):
        if isinstance(sent, Mapping) and part in sent:
            sent = sent[part]
        elif isinstance(sent, list) and part in range(len(sent)):
            sent = sent[int(part)]
        elif sent is not None and not (index == last and found["type"] == "missing"):
            continue  # names an alternative
        path.append(_shown(part))
    if found["type"] in _UNION_ERRORS:
        path.append(found["ctx"]["discriminator"].strip("'"))
    return path


def _words(found: ErrorDetails) -> str:
    message = found["msg"]
    match found["type"]:
        case "extra_forbidden":
            return "there is no such field; remove it"
        case "union_tag_not_found":
            return "field required"
        case "union_tag_invalid":  # pydantic's own words repeat what was sent
            return f"must be one of {found['ctx']['expected_tags']}"
        case "model_type" | "model_attributes_type":
            return "must be a JSON object"
        case "too_long":
            return f"at most {found['ctx']['max_length']} items are allowed, and there are more"
    return message[:1].lower() + message[1:]


def _value(value: Any) -> str:
    # Numbers only: text may be private or long, and Python refuses to print the largest integers.
    if isinstance(value, (bool, float)) or (isinstance(value, int) and value.bit_length() <= 128):
        return f" (it is {value!r})"
    return ""


def _shown(part: str | int) -> str:
    # A name that the client made up: short, and of characters that can be encoded.
    return str(part)[:64].encode("utf-8", "replace").decode()
