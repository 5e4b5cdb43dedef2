"""Pictures decoded and encoded beside the event loop, in processes that can be killed
([decision 19](../decisions/0019-pictures-in-processes-that-can-be-killed.md)). Each way has processes of its own, so
that a finished picture waits for no sent one. It knows what is asked of them, not how processes are kept."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Literal

from flashu_core import DeadlineExceededError, InvalidRequestError, Pixels
from server.errors import InternalError
from server.images.process_pool import JobTimeoutError, PoolLimits, ProcessLostError, ProcessPool
from server.ipc.framing import encode
from server.ipc.protocol import (
    FROM_IMAGE_PROCESS,
    DecodeImage,
    EncodeImage,
    FromImageProcess,
    ImageDecoded,
    ImageEncoded,
    ImageRefused,
)

# Without -P Python would look for the module in the working directory first, where anybody's `server` may be.
PROGRAM = (sys.executable, *(["-P"] if sys.version_info >= (3, 11) else []), "-m", "server.images.process")
# A picture needs one thread, and threads that are never used take address space, of which there is a bound.
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ENCODE_S = 60.0  # far more than the largest picture of a model takes
_ENCODE_TRIES = 2
_COPIES = 5  # of a file: as it came, without blanks, decoded from base64, bare, and as a decoder holds it
_BESIDE = 64 * 2**20  # bytes for what is neither file nor pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Bounds on a sent picture.

    Attributes:
        max_pixels: width times height.
        min_side: of width and height each.
        max_memory: bytes that decoding it may take, beside its file.
        max_file_bytes: of its file, or its base64.
        timeout_s: seconds that decoding it may take.
    """

    max_pixels: int = 64_000_000
    min_side: int = 8
    max_memory: int = 512 * 2**20
    max_file_bytes: int = 20 * 2**20
    timeout_s: float = 10.0


class ImagePool:
    """Args:
    processes: that decode; half as many, at least one, encode.
    max_wait_s: seconds that a picture may wait for one of them.
    """

    def __init__(self, limits: ImageLimits, *, processes: int, max_wait_s: float = 10.0) -> None:
        self._limits = limits
        waiting = PoolLimits(max_wait_s=max_wait_s)
        program = (*PROGRAM, str(limits.max_memory + _COPIES * limits.max_file_bytes + _BESIDE))

        def pool(name: str, size: int) -> ProcessPool[FromImageProcess]:
            return ProcessPool(
                name,
                size=size,
                program=program,
                kinds=FROM_IMAGE_PROCESS,
                limits=waiting,
                environment=_ENVIRONMENT,
            )

        self._decoders = pool("decode", processes)
        self._encoders = pool("encode", max(processes // 2, 1))

    @property
    def pools(self) -> tuple[ProcessPool[FromImageProcess], ...]:
        """For metrics."""
        return self._decoders, self._encoders

    def start(self) -> None:
        """Starts the processes, within an event loop, and waits for none."""
        for pool in self.pools:
            pool.start()

    async def decode(self, sent: str | bytes, target: tuple[int, int], deadline: float, *, client: str = "") -> Pixels:
        """The pixels of a sent file, base64 or data URL; of a large picture those that a model of `target` (width,
        height) reads.

        Args:
            deadline: monotonic seconds.
            client: who sent it; clients take turns.

        Raises:
            InvalidRequestError: it cannot be read, or took too long.
            OverloadedError, UnavailableError, DeadlineExceededError
        """
        limits = self._limits
        job = DecodeImage(
            # What is not ASCII is no base64 whatever becomes of it.
            file=sent.encode("ascii", "replace") if isinstance(sent, str) else sent,
            is_text=isinstance(sent, str),
            max_pixels=limits.max_pixels,
            min_side=limits.min_side,
            max_memory=limits.max_memory,
            width=target[0],
            height=target[1],
            cpu_s=limits.timeout_s,
        )
        try:
            reply = await self._decoders.run(encode(job), client=client, seconds=limits.timeout_s, deadline=deadline)
        except JobTimeoutError:
            message = f"image took longer than {limits.timeout_s:g} s to decode; send a smaller one"
            raise InvalidRequestError(message, parameter="image") from None
        except ProcessLostError:
            message = "image cannot be decoded; send it in another format, or save it anew"
            raise InvalidRequestError(message, parameter="image") from None
        except asyncio.TimeoutError:
            raise _late() from None
        if isinstance(reply, ImageDecoded):
            return reply.pixels
        raise _refusal(reply)

    async def encode(
        self,
        pixels: Pixels,
        output_format: Literal["png", "jpeg", "webp"],
        quality: int,
        deadline: float,
        *,
        client: str = "",
    ) -> bytes:
        """A file of a picture, without metadata; `quality` 0-100 is of jpeg and webp. Clients take turns.

        Raises:
            DeadlineExceededError: it was not ready before the deadline, in monotonic seconds.
            OverloadedError, UnavailableError
            InternalError: it cannot be encoded, which is no fault of the client's.
        """
        job = EncodeImage(pixels=pixels, output_format=output_format, quality=quality, cpu_s=_ENCODE_S)
        for _ in range(_ENCODE_TRIES):
            if time.monotonic() >= deadline:
                raise _late()
            try:
                reply = await self._encoders.run(encode(job), client=client, seconds=_ENCODE_S, deadline=deadline)
            except ProcessLostError:
                continue
            except JobTimeoutError:
                break
            except asyncio.TimeoutError:
                raise _late() from None
            if isinstance(reply, ImageEncoded):
                return reply.file
            break
        raise InternalError

    def close(self) -> None:
        """Gives up all pictures, whose senders get the error that the server shuts down."""
        for pool in self.pools:
            pool.close()

    async def stop(self) -> None:
        """Ends all processes at once, whatever they do."""
        for pool in self.pools:
            await pool.stop()


def _late() -> DeadlineExceededError:
    return DeadlineExceededError("the result was not ready within timeout_s; allow more time")


def _refusal(reply: FromImageProcess) -> Exception:
    return reply.error if isinstance(reply, ImageRefused) else InternalError()
