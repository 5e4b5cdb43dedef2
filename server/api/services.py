"""What the routes work with, made once per app: the settings, the worker, the picture threads and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from server.image_pool import ImagePool
from server.images import ImageLimits
from server.metrics import Metrics
from server.remote import RemoteImages
from server.settings import Settings
from server.worker import Worker


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    worker: Worker
    images: ImagePool
    remote: RemoteImages | None  # None where pictures may not be named by address
    metrics: Metrics

    @property
    def image_limits(self) -> ImageLimits:
        return ImageLimits(max_pixels=self.settings.max_pixels, min_side=self.settings.min_side)
