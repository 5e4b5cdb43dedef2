"""Logging of both processes to stderr: one line per event, as JSON or as text. Prompts, pictures, keys, addresses and
the messages of unexpected exceptions stay out."""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from flashu_core import FlashUError
from server.errors import ServerError

LogFormat = Literal["json", "text"]
_OURS = ("flashu", "uvicorn")
_STDERR = 2
_own_log = logging.getLogger("flashu.log")
_worker_log = logging.getLogger("flashu.engine.output")


def configure_logging(level: str, log_format: LogFormat = "text", *, stream: IO[str] | None = None) -> logging.Handler:
    """Sends all logging of the process to stderr, or to `stream`, in place of what handlers there were.

    Libraries log from warnings on: some log pieces of what they read at lower levels. uvicorn's access log is
    off, for it has raw paths and query strings. At level debug the messages of unexpected exceptions are shown too.
    """
    handler: logging.Handler = BackgroundHandler(_STDERR) if stream is None else logging.StreamHandler(stream)
    messages = level == "debug"
    handler.setFormatter(JsonLines(messages=messages) if log_format == "json" else TextLines(messages=messages))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, BackgroundHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    return handler


def log_everything() -> None:
    """Makes lines of the log of all that Python itself writes to stderr: warnings and what nobody caught."""
    logging.captureWarnings(True)
    log = logging.getLogger("flashu.python")

    def end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        log.critical("the process ends by an exception", exc_info=(kind, error, traceback))

    def thread_ended(ended: threading.ExceptHookArgs) -> None:
        error = ended.exc_value or ended.exc_type()
        log.error("a thread ended by an exception", exc_info=(ended.exc_type, error, ended.exc_traceback))

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        error = lost.exc_value or lost.exc_type()
        log.error("an exception could not be raised", exc_info=(lost.exc_type, error, lost.exc_traceback))

    sys.excepthook, threading.excepthook, sys.unraisablehook = end, thread_ended, unraisable


def pass_on(line: str) -> None:
    """A line that the worker's process wrote. What it logged is of our format already; anything else, such as what a
    library in C complains of, becomes an event. Whatever its level was, the other process let it through."""
    _worker_log.critical("%s", line, extra={"written": line})


def dropped_lines() -> int:
    """Lines that were lost because nobody read stderr in time."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, BackgroundHandler))


class BackgroundHandler(logging.Handler):
    """Writes to a descriptor from a thread, so that no event loop and no engine waits for the log's reader. Lines
    beyond `max_lines` that wait are dropped and counted.

    Attributes:
        dropped: lines that were lost so far.
    """

    def __init__(self, descriptor: int, *, max_lines: int = 10_000, grace_s: float = 1.0) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._max_lines = max_lines
        self._grace_s = grace_s
        self._lines: queue.SimpleQueue[str | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="flashu-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= self._max_lines:
            self.dropped += 1
            return
        try:
            self._lines.put(self.format(record))
        except (TypeError, ValueError):  # arguments that do not fit their message
            self.handleError(record)

    def flush(self) -> None:
        """Gives what waits a moment to be written."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(self._grace_s)

    def close(self) -> None:
        """Gives what waits a moment to be written, and takes no more."""
        self._lines.put(None)
        self._thread.join(self._grace_s)
        super().close()

    def _write_all(self) -> None:
        described = 0
        while (line := self._lines.get()) is not None:
            if isinstance(line, threading.Event):
                line.set()
                continue
            self._write(line)
            if self.dropped > described and self._lines.empty():
                lost, described = self.dropped - described, self.dropped
                text = f"{lost} lines of the log were dropped: stderr was not read in time"
                self._write(self.format(_own_log.makeRecord("flashu.log", logging.WARNING, "", 0, text, (), None)))

    def _write(self, line: str) -> None:
        left = memoryview((line + "\n").encode(errors="backslashreplace"))
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # somebody made the pipe non-blocking, for all who write to it
                    select.select([], [self._descriptor], [])
        except OSError:
            self.dropped += 1  # there is no reader any more


class JsonLines(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `message`, and the fields of the event.

    Args:
        messages: show the messages of unexpected exceptions; they may quote a client.
    """

    def __init__(self, *, messages: bool = False) -> None:
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        written = getattr(record, "written", None)
        if written is not None and _is_event(written):
            return str(written)
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": "warning" if written is not None else record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exceptions"] = list(_exceptions(record.exc_info[1], messages=self._messages))
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """As `JsonLines`, for people."""

    def __init__(self, *, messages: bool = False) -> None:
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        if (written := getattr(record, "written", None)) is not None:
            return str(written)
        fields = getattr(record, "fields", {})
        shown = "".join(f" {name}={value}" for name, value in fields.items() if value is not None)
        lines = [f"{_moment(record)} {record.levelname} {record.name}: {_message(record)}{shown}"]
        if record.exc_info and record.exc_info[1] is not None:
            for exception in _exceptions(record.exc_info[1], messages=self._messages):
                message = exception.get("message")
                lines.append(f"  {exception['type']}" + (f": {message}" if message else ""))
                lines.extend(f"    {frame}" for frame in exception["frames"])
        return "\n".join(lines)


def _is_event(line: str) -> bool:
    """Whether a line is an object of JSON, as `JsonLines` makes them."""
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _moment(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    # asyncio, for one, goes on with the repr of a future, and that with its exception's words.
    return message if record.name.startswith(_OURS) else message.partition("\n")[0]


def _exceptions(error: BaseException, *, messages: bool) -> Iterator[dict[str, Any]]:
    """The exception and what it came from, outermost first: types and places, messages only of our own classes."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        kind = type(one)
        shown: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}", "frames": _frames(one.__traceback__)}
        if messages or isinstance(one, (FlashUError, ServerError)):
            shown["message"] = str(one)
        yield shown
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = "/".join(Path(code.co_filename).parts[-2:])
        frames.append(f"{place}:{traceback.tb_lineno} in {code.co_name}")
        traceback = traceback.tb_next
    return frames
