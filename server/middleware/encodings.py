"""Middleware that decompresses request bodies with a `Content-Encoding`. Body limits apply behind it, to decompressed
bytes."""

from __future__ import annotations

import asyncio
import zlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import MalformedBodyError, UnsupportedEncodingError

ENCODINGS = ("gzip", "deflate")
_PIECE = 256 * 1024  # maximum bytes of one message, however far a few bytes inflate
_EITHER_FORMAT = 32 + zlib.MAX_WBITS  # zlib detects gzip or zlib by the header


class ContentEncoding:
    """Decompresses gzip or deflate bodies (RFC 9110: the zlib format) while the route reads them, in pieces of up to
    256 KiB, so that a reader that stops at its limit has decompressed no more than one piece beyond it.

    Raises:
        UnsupportedEncodingError: from `receive`, for any other encoding, or several at once.
        MalformedBodyError: from `receive`, if the data is damaged, truncated, or continues after its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            encoding = ",".join(Headers(scope=scope).getlist("content-encoding")).strip().lower()
            if encoding not in ("", "identity"):
                receive = _Inflated(receive, encoding).receive
        await self._app(scope, receive, send)


class _Inflated:
    def __init__(self, receive: Receive, encoding: str) -> None:
        self._receive = receive
        self._known = encoding.removeprefix("x-") in ENCODINGS
        self._inflate = zlib.decompressobj(_EITHER_FORMAT)
        self._tail = b""  # received, not yet decompressed
        self._more_sent = True
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:  # the disconnect follows
            return await self._receive()
        if not self._known:
            raise UnsupportedEncodingError(ENCODINGS)
        if self._tail:
            await asyncio.sleep(0)  # let other tasks run between the pieces of a body that inflates far
        elif self._more_sent:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._tail = message.get("body", b"")
            self._more_sent = message.get("more_body", False)
        return {"type": "http.request", "body": self._piece(), "more_body": not self._complete}

    def _piece(self) -> bytes:
        try:
            piece = self._inflate.decompress(self._tail, _PIECE)
        except zlib.error:
            raise MalformedBodyError(
                "the body cannot be decompressed by its Content-Encoding; send it whole, or uncompressed"
            ) from None
        self._tail = self._inflate.unconsumed_tail
        if self._inflate.unused_data:
            raise MalformedBodyError("the body continues after its compressed data; send a single compressed stream")
        if not self._more_sent and not self._tail and len(piece) < _PIECE:
            if not self._inflate.eof:
                raise MalformedBodyError("the body's compressed data is truncated; send it whole")
            self._complete = True
        return piece
