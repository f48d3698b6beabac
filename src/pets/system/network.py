"""Whether a host can be reached, found out in seconds."""

from __future__ import annotations

import socket
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

_PATIENCE = 5  # seconds


def need_host(url: str) -> None:
    """Open and close a connection to a URL's host, or to the proxy that leads there.

    Download clients wait and try again for up to minutes; this says at once that there is no way.
    Raises OSError.
    """
    target = urlparse(url)
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(target.hostname or ""):
        target = urlparse(proxy if "//" in proxy else f"http://{proxy}")
    port = target.port or {"http": 80, "https": 443}.get(target.scheme, 443)
    with socket.create_connection((target.hostname, port), _PATIENCE):
        pass
