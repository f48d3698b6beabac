"""What a server counts, in Prometheus's text format."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHOTOS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server; refused requests are those with a status from 400."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "pets_requests", "requests answered", ["path", "status"], registry=own
        )
        self.photos = Counter(
            "pets_photos", "photos, named or unreadable", ["became"], registry=own
        )
        self.seconds = Histogram(
            "pets_request_seconds", "from headers to answer", ["path"],
            buckets=_SECONDS, registry=own,
        )  # fmt: skip
        self.batches = Histogram(
            "pets_batch_photos", "photos that passed the network together",
            buckets=_PHOTOS, registry=own,
        )  # fmt: skip
        self.inside = Gauge("pets_requests_inside", "requests being answered", registry=own)
        self.held = Gauge("pets_held_bytes", "bytes of uploads in memory", registry=own)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self.registry)
