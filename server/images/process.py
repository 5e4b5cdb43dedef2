"""The program of an image process: it decodes or encodes one picture at a time, takes them from an inherited pipe, and
can be killed at any moment. It knows neither HTTP nor torch, writes nothing, and logs nothing.

Run as `python -m server.images.process MEMORY DESCRIPTOR`, which only `server.images.pool` does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import NoReturn

from flashu_core import FlashUError, InvalidRequestError
from server.images.codec import decode_image, encode_image
from server.ipc.framing import encode, receive_blocking
from server.ipc.process_limits import die_with_parent, limit_cpu, limit_memory, write_no_core
from server.ipc.protocol import (
    TO_IMAGE_PROCESS,
    DecodeImage,
    EncodeImage,
    FromImageProcess,
    ImageDecoded,
    ImageEncoded,
    ImageProcessReady,
    ImageRefused,
)

_NICENESS = 2  # the front end goes first


def main(memory: int, descriptor: int) -> NoReturn:
    """Serves until the pipe ends.

    Args:
        memory: bytes that a picture may take.
        descriptor: of the pipe, a stream socket.
    """
    # A terminal, or a service manager, signals all processes at once: the front end decides what that means here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    write_no_core()
    limit_memory(memory)
    os.nice(_NICENESS)
    with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as pipe:
        pipe.sendall(b"".join(encode(ImageProcessReady())))
        while (job := receive_blocking(pipe, TO_IMAGE_PROCESS)) is not None:
            limit_cpu(job.cpu_s)
            for buffer in encode(done(job)):
                pipe.sendall(buffer)
            del job  # it may be large, and the next one is waited for
    os._exit(0)


def done(job: DecodeImage | EncodeImage) -> FromImageProcess:
    """What became of a job."""
    try:
        if isinstance(job, DecodeImage):
            return ImageDecoded(pixels=decode_image(job))
        return ImageEncoded(file=encode_image(job))
    except FlashUError as error:
        return ImageRefused(error=error)
    except Exception:  # noqa: BLE001 - the process's boundary: whatever a library raises may quote the picture
        message = "image cannot be decoded; send it in another format, or save it anew"
        return ImageRefused(error=InvalidRequestError(message, parameter="image"))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
