"""Reads the server's /metrics: samples, increases of counters, quantiles of histograms."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from load_tests.bench.client import Client, Message

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
STEP = "flashu_evaluation_seconds"
BATCH_SIZE = "flashu_batch_size"
RESTARTS = "flashu_worker_restarts_total"


async def scrape(client: Client) -> Samples:
    """Every sample by name and labels; none if /metrics is not available (it may require a key)."""
    reply = await client.exchange(Message(method="GET", path="/metrics"))
    if reply.status != 200 or reply.error is not None:
        return {}
    try:
        return parse(reply.body.decode())
    except ValueError:  # a proxy's page in its place
        return {}


def parse(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(before: Samples, after: Samples, name: str) -> dict[str, float]:
    """Increases of a counter by its label values, joined by commas (`all` without labels); zero increases are
    omitted."""
    found = {}
    for (sample, labels), value in after.items():
        more = value - before.get((sample, labels), 0.0)
        if sample == name and more > 0:
            found[",".join(label for _, label in labels) or "all"] = more
    return found


def histogram_quantile(before: Samples, after: Samples, name: str, share: float) -> float | None:
    """A quantile of the observations in between, over all labels, interpolated linearly in buckets; None without any.

    Observations beyond the last bound count as that bound.
    """
    counts: dict[float, float] = defaultdict(float)
    for (sample, labels), value in after.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            counts[bound] += value - before.get((sample, labels), 0.0)
    wanted = share * counts.get(math.inf, 0.0)
    if wanted <= 0:
        return None
    low = below = 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted:
            return low if bound == math.inf else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low
