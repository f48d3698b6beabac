"""Where photos lie: on this machine, or wherever fsspec reads (s3://, zip://, memory://, ...).

An address is a path, or a URL as fsspec has them: `s3://bucket/cats/1.jpg`, or
`zip://cats/1.jpg::photos.zip` for a file inside another one.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from pets.errors import DataError

_SIGN = re.compile(r"[*?[]")  # of a glob
MOST_BYTES = 1 << 30  # of a photo: enough for the most pixels, at any depth


class Entry(NamedTuple):
    """What lies in a folder; `link`: to another folder, so that one may come back to this one."""

    name: str
    folder: bool
    link: bool = False


def remote(address: str) -> bool:
    """Whether fsspec reads it. A local file or folder of this very name comes first, and so does a
    glob in a local folder."""
    if "://" not in address and "::" not in address:
        return False
    start = _SIGN.split(address, maxsplit=1)[0]
    folder = address if start == address else os.path.dirname(start)  # noqa: PTH120
    if os.path.lexists(address) or os.path.lexists(folder):
        return False
    return "://" in address or address.partition("::")[0] in _protocols()


@lru_cache(maxsize=1)
def _protocols() -> frozenset[str]:
    import fsspec

    return frozenset(fsspec.available_protocols())


def joined(folder: str, name: str) -> str:
    """The address of what lies in a folder."""
    if not remote(folder):
        return name if folder in ("", ".") else os.path.join(folder, name)  # noqa: PTH118
    head, chain, rest = _parts(folder)
    return f"{head}{'' if head.endswith('/') else '/'}{name}{chain}{rest}"


def opened(address: str) -> BinaryIO:
    """The bytes of a photo that is no local file.

    Raises OSError where it cannot be read, DataError where nothing of its kind can be read here.
    """
    files, path = _found(address)
    try:
        return io.BytesIO(files.cat_file(path, 0, MOST_BYTES))
    except (OSError, DataError):
        raise
    except Exception as error:  # every protocol has exceptions of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def is_folder(address: str) -> bool:
    """Whether there is a folder. Raises DataError where it cannot be known."""
    if not remote(address):
        return os.path.isdir(address)  # noqa: PTH112
    files, path = _found(address)
    return bool(_asked(address, files.isdir, path))


def is_file(address: str) -> bool:
    """Whether there is a file. Raises DataError where it cannot be known."""
    if not remote(address):
        return os.path.isfile(address)  # noqa: PTH113
    files, path = _found(address)
    return bool(_asked(address, files.isfile, path))


def entries(folder: str) -> list[Entry]:
    """What lies in a folder, by name. Raises DataError where it cannot be read."""
    if not remote(folder):
        with reading(folder), os.scandir(folder or ".") as found:
            return sorted(
                Entry(e.name, e.is_dir(), e.is_dir() and e.is_symlink())
                for e in found
                # A broken link is a photo that is gone; what is no file at all would never end.
                if e.is_file() or e.is_dir() or e.is_symlink()
            )
    files, path = _found(folder)
    listed = _asked(folder, files.ls, path, detail=True)
    names = {
        info["name"].rstrip("/").rpartition("/")[2]: info["type"] == "directory"
        for info in listed
        if info["name"].strip("/") != path.strip("/")  # a bucket's mark of the folder itself
    }
    return sorted(Entry(name, folder) for name, folder in names.items())


@contextlib.contextmanager
def reading(address: str) -> Iterator[None]:
    """Raises DataError where a local folder or list cannot be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{address}: cannot be read ({error.strerror or error})") from error


def _parts(address: str) -> tuple[str, str, str]:
    """`zip://a.jpg`, `::`, `photos.zip`."""
    head, chain, rest = address.partition("::")
    return head if "://" in head else f"{head}://", chain, rest


def _found(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path there."""
    head, chain, rest = _parts(address)
    protocol, _, path = head.partition("://")
    # A zip file is opened once; another host is another file system.
    host = "" if rest else path.partition("/")[0]
    files = _file_system(protocol, host, chain + rest)
    return files, files._strip_protocol(head)


@lru_cache(maxsize=64)
def _file_system(protocol: str, host: str, chain: str) -> Any:
    import fsspec

    address = f"{protocol}://{host}{chain}"
    try:
        return fsspec.core.url_to_fs(address)[0]
    except ImportError as error:
        raise DataError(
            f"{protocol}://...: the package that reads it is not installed ({error})"
        ) from error
    except Exception as error:  # every protocol has exceptions of its own
        raise DataError(f"{address}: cannot be read ({_reason(error)})") from error


def _asked(address: str, ask: Any, *values: Any, **options: Any) -> Any:
    try:
        return ask(*values, **options)
    except Exception as error:  # every protocol has exceptions of its own
        raise DataError(f"{address}: cannot be read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
