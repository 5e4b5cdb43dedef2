"""Pictures that are kept for a while, so that an answer can name them by address. It knows bytes, tokens and time."""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from server.limits import MAX_STORED_IMAGES, STORED_IMAGE_S

PREFIX = "/v1/images/files/"
_ADDRESS = re.compile(rf"^(?:https?://[^/?#]*)?(?:/[^?#]*)?{re.escape(PREFIX)}([A-Za-z0-9_-]{{43}})$")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A file, its media type, and the monotonic second after which it is gone."""

    file: bytes
    media_type: str
    expires: float


class ImageStore:
    """Keeps files for `keep_s` seconds under tokens that cannot be guessed: a client that has one may read the file.
    Where the store is full, the oldest go first.

    Args:
        max_bytes: of all files together.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_images: int = MAX_STORED_IMAGES,
        keep_s: float = STORED_IMAGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_images = max_images
        self._keep_s = keep_s
        self._clock = clock
        self._images: OrderedDict[str, StoredImage] = OrderedDict()  # the oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._bytes

    def fits(self, size: int) -> bool:
        """Whether so many bytes can be kept at once."""
        return size <= self._max_bytes

    def put(self, file: bytes, media_type: str) -> str:
        """Keeps a file that `fits`, and returns its token."""
        self._drop_old()
        while self._images and (self._bytes + len(file) > self._max_bytes or len(self._images) >= self._max_images):
            self._drop_first()
        token = secrets.token_urlsafe(32)
        self._images[token] = StoredImage(file, media_type, self._clock() + self._keep_s)
        self._bytes += len(file)
        return token

    def get(self, token: str) -> StoredImage | None:
        """The file of a token, or None where it never was or is gone."""
        self._drop_old()
        return self._images.get(token)

    def seconds_left(self, image: StoredImage) -> float:
        """How long an image is kept yet."""
        return max(image.expires - self._clock(), 0.0)

    def at(self, address: str) -> bytes | None:
        """The file that an address of ours names, whatever host stands in it; None where it names none."""
        found = _ADDRESS.match(address) if len(address) < 1024 else None
        image = None if found is None else self.get(found[1])
        return None if image is None else image.file

    def _drop_old(self) -> None:
        now = self._clock()
        while self._images and next(iter(self._images.values())).expires <= now:
            self._drop_first()

    def _drop_first(self) -> None:
        _, image = self._images.popitem(last=False)
        self._bytes -= len(image.file)
