"""Whether a server can be reached, known in seconds."""

from __future__ import annotations

import socket
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

_TIMEOUT = 5  # seconds


def check_reachable(url: str) -> None:
    """Raise OSError at once if a URL's host, or its proxy, is unreachable.

    Download clients would retry for minutes.
    """
    target = urlparse(url)
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(target.hostname or ""):
        target = urlparse(proxy if "//" in proxy else f"http://{proxy}")
    port = target.port or {"http": 80, "https": 443}.get(target.scheme, 443)
    with socket.create_connection((target.hostname, port), _TIMEOUT):
        pass
