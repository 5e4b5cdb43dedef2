"""What the routes work with, made once per app: the settings, the worker, the image processes, the metrics, and who may
use which priority."""

from __future__ import annotations

from dataclasses import dataclass

from server.images.fetch import RemoteImages
from server.images.pool import ImagePool
from server.images.store import ImageStore
from server.metrics import Metrics
from server.middleware.priorities import Priorities
from server.settings import Settings
from server.worker.client import Worker


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    worker: Worker
    images: ImagePool
    remote: RemoteImages | None  # None where pictures may not be named by address
    metrics: Metrics
    priorities: Priorities
    store: ImageStore | None = None  # None where no pictures are kept

    @property
    def model_names(self) -> tuple[str, ...]:
        """What clients call the loaded model.

        Raises:
            UnavailableError: no model has been loaded.
        """
        own = self.worker.info().name
        return tuple(name.strip() for name in self.settings.served_model_names.split(",") if name.strip()) or (own,)
