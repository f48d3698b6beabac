"""Files that fsspec reads: `s3://bucket/cats/1.jpg`, `zip://cats/1.jpg::photos.zip`, ..."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from pets.errors import DataError

WILDCARD = re.compile(r"[*?[]")
MAX_BYTES = 1 << 30  # of a photo: enough for the maximum number of pixels at any bit depth


def is_remote(address: str) -> bool:
    """Whether fsspec reads the address. A local file, folder or glob takes precedence."""
    if "://" not in address and "::" not in address:
        return False
    start = WILDCARD.split(address, maxsplit=1)[0]
    folder = address if start == address else os.path.dirname(start)  # noqa: PTH120
    if os.path.lexists(address) or os.path.lexists(folder):
        return False
    return "://" in address or address.partition("::")[0] in _protocols()


def open_remote(address: str) -> BinaryIO:
    """Read a remote photo into memory; raises whatever its protocol raises."""
    files, path = _resolve(address)
    return io.BytesIO(files.cat_file(path, 0, MAX_BYTES))


def list_remote(source: str) -> tuple[str, dict[str, str]]:
    """List the files at a remote address.

    Returns:
        The kind of the address (`file`, `folder` or `glob`), and the addresses of all files by
        their names in the file system.

    Raises:
        DataError: Nothing was found, or it cannot be read.
    """
    head, chain, rest = _split_chain(source)
    with readable(source):
        files, path = _resolve(source)
        if path in ("", "/") or files.isdir(path):
            kind, names = "folder", files.find(path)
        elif files.isfile(path):
            kind, names = "file", [path]
        elif WILDCARD.search(head):
            matches = files.glob(path, detail=True).items()
            kind, names = "glob", [name for name, info in matches if info["type"] != "directory"]
        else:
            raise DataError(f"source={source}: no such photo, folder or list")
    # fsspec returns names without the scheme; prepend everything that precedes the path in the
    # address, such as file:///
    scheme = f"{head.partition('://')[0]}://"
    before = head[: max(head.find(path.strip("/"), len(scheme)), len(scheme))]
    return kind, {
        name: f"{'' if name.startswith(scheme) else before}{name.strip('/')}{chain}{rest}"
        for name in names
    }


@contextlib.contextmanager
def readable(address: str) -> Iterator[None]:
    """Turn every exception of a protocol inside the block into a DataError."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        line = f"{address}: the package that reads it is not installed ({error})"
        raise DataError(line) from error
    except Exception as error:  # every protocol has its own exceptions
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DataError(f"{address}: cannot be read ({' '.join(reason.split())[:200]})") from error


@lru_cache(maxsize=1)
def _protocols() -> frozenset[str]:
    import fsspec

    return frozenset(fsspec.available_protocols())


def _split_chain(address: str) -> tuple[str, str, str]:
    """`zip://a.jpg::photos.zip` as `zip://a.jpg`, `::`, `photos.zip`."""
    head, chain, rest = address.partition("::")
    return head if "://" in head else f"{head}://", chain, rest


def _resolve(address: str) -> tuple[Any, str]:
    """The file system of a remote address, and the path in it."""
    head, chain, rest = _split_chain(address)
    protocol, _, path = head.partition("://")
    # A zip file is opened once; every host is a separate file system.
    files = _file_system(f"{protocol}://{'' if rest else path.partition('/')[0]}{chain}{rest}")
    return files, files._strip_protocol(head)


@lru_cache(maxsize=64)
def _file_system(address: str) -> Any:
    import fsspec

    return fsspec.core.url_to_fs(address)[0]
