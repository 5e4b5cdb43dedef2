"""Pictures between bytes and arrays, as the image processes run it: pure functions, no HTTP. What can be read, and by
which rules, is `flashu_core.decode_picture`'s; what is written carries no metadata.
"""

from __future__ import annotations

import io

from PIL import Image

from flashu_core import PictureLimits, Pixels, decode_picture
from server.images.data_urls import read_base64
from server.ipc.protocol import DecodeImage, EncodeImage


def decode_image(job: DecodeImage) -> Pixels:
    """uint8 (height, width, 3) of a sent picture.

    Raises:
        InvalidRequestError: no base64, no such format, damaged, too large or too small, or made of too much.
    """
    data = read_base64(job.file) if job.is_text else job.file
    limits = PictureLimits(max_pixels=job.max_pixels, min_side=job.min_side, max_memory=job.max_memory)
    return decode_picture(data, limits, (job.width, job.height))


def encode_image(job: EncodeImage) -> bytes:
    """A file of a picture, without metadata."""
    file = io.BytesIO()
    image = Image.fromarray(job.pixels)
    if job.output_format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, job.output_format.upper(), quality=job.quality)
    return file.getvalue()
