"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from pets.serving.limits import Gate

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHOTOS = (1, 2, 4, 8, 16, 32, 64)


class Meters:
    """`requests` by path and status (those refused are the statuses from 400), `photos` by what
    became of them, `seconds` a request by path, `batches` in photos; how many requests are inside
    and the bytes they hold."""

    def __init__(self, gate: Gate) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each
        own = self._registry = CollectorRegistry()
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
        inside = Gauge("pets_requests_inside", "requests being answered", registry=own)
        inside.set_function(lambda: gate.inside)
        held = Gauge("pets_held_bytes", "bytes of uploads in memory", registry=own)
        held.set_function(lambda: gate.bytes)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
