"""What all routes of an app share."""

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
    """Settings, worker, image processes, metrics and priorities of one app."""

    settings: Settings
    worker: Worker
    images: ImagePool
    remote: RemoteImages | None  # None if the server does not fetch pictures
    metrics: Metrics
    priorities: Priorities
    store: ImageStore | None = None  # None if the server does not store pictures

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the loaded model, as clients may send them.

        Raises:
            UnavailableError: no model has been loaded.
        """
        own = self.worker.info().name
        return tuple(name.strip() for name in self.settings.served_model_names.split(",") if name.strip()) or (own,)
