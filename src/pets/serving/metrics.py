"""Prometheus metrics of the server; refused requests are those with a status of 400 or more."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("pets_requests", "requests answered", ["path", "status"])
PHOTOS = Counter("pets_photos", "photos, named or unreadable", ["became"])
SECONDS = Histogram("pets_request_seconds", "from headers to answer", ["path"])
BATCHES = Histogram(
    "pets_batch_photos", "photos in one forward pass", buckets=(1, 2, 4, 8, 16, 32, 64)
)
INSIDE = Gauge("pets_requests_inside", "requests being answered")
HELD = Gauge("pets_held_bytes", "bytes of uploads in memory")
