"""Addresses of photos: local paths, or URLs that fsspec reads (s3://, zip://, memory://, ...).

`s3://bucket/cats/1.jpg` is a file in a bucket, `zip://cats/1.jpg::photos.zip` one in a zip file.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from pets.errors import DataError

_WILDCARD = re.compile(r"[*?[]")
MAX_BYTES = 1 << 30  # of a photo: enough for the most pixels, at any depth


class Entry(NamedTuple):
    """One entry of a folder.

    Attributes:
        name: without the folder.
        folder: whether it is a folder, or a link to one.
        link: whether it is a link to a folder, which may lead back to this one.
        special: whether it is a pipe, a socket or a device: reading it might never end.
    """

    name: str
    folder: bool = False
    link: bool = False
    special: bool = False


def is_remote(address: str) -> bool:
    """Whether fsspec reads the address. A local file, folder or glob of that name comes first."""
    if "://" not in address and "::" not in address:
        return False
    start = _WILDCARD.split(address, maxsplit=1)[0]
    folder = address if start == address else os.path.dirname(start)  # noqa: PTH120
    if os.path.lexists(address) or os.path.lexists(folder):
        return False
    return "://" in address or address.partition("::")[0] in _protocols()


def join_address(folder: str, name: str) -> str:
    """The address of an entry of a folder."""
    if not is_remote(folder):
        return name if folder in ("", ".") else os.path.join(folder, name)  # noqa: PTH118
    head, chain, rest = _split_chain(folder)
    return f"{head}{'' if head.endswith('/') else '/'}{name}{chain}{rest}"


def open_remote(address: str) -> BinaryIO:
    """The content of a remote photo.

    Raises:
        OSError: It cannot be read.
        DataError: This protocol cannot be read here.
    """
    files, path = _resolve(address)
    try:
        return io.BytesIO(files.cat_file(path, 0, MAX_BYTES))
    except (OSError, DataError):
        raise
    except Exception as error:  # every protocol has exceptions of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def is_folder(address: str) -> bool:
    """Whether the address is a folder. Raises DataError where a remote one cannot be read."""
    return bool(_query(address, "isdir")) if is_remote(address) else os.path.isdir(address)  # noqa: PTH112


def is_file(address: str) -> bool:
    """Whether the address is a file. Raises DataError where a remote one cannot be read."""
    return bool(_query(address, "isfile")) if is_remote(address) else os.path.isfile(address)  # noqa: PTH113


def is_special(path: str) -> bool:
    """Whether a local path is a pipe, a socket or a device: reading it might never end."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a name need not be text
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def list_folder(folder: str) -> list[Entry]:
    """The entries of a folder, sorted by name. Raises DataError where it cannot be read."""
    if not is_remote(folder):
        with readable(folder), os.scandir(folder or ".") as entries:
            return sorted(_local_entry(entry) for entry in entries)
    own = _resolve(folder)[1].strip("/")
    return sorted(
        Entry(info["name"].rstrip("/").rpartition("/")[2], info["type"] == "directory")
        for info in _query(folder, "ls", detail=True)
        if info["name"].strip("/") != own  # a bucket's marker of the folder itself
    )


@contextlib.contextmanager
def readable(address: str) -> Iterator[None]:
    """Raise DataError where a local folder or list cannot be read inside the block."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{address}: cannot be read ({error.strerror or error})") from error


def _local_entry(entry: os.DirEntry[str]) -> Entry:
    try:
        folder, file = entry.is_dir(), entry.is_file()
    except OSError:  # a link that leads back to itself
        folder = file = False
    # A link that leads nowhere is a photo that is missing; its row says so.
    special = not (folder or file) and is_special(entry.path)
    return Entry(entry.name, folder, folder and entry.is_symlink(), special)


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
    # A zip file is opened once; every host is a file system of its own.
    files = _file_system(f"{protocol}://{'' if rest else path.partition('/')[0]}{chain}{rest}")
    return files, files._strip_protocol(head)


@lru_cache(maxsize=64)
def _file_system(address: str) -> Any:
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)[0]
    except ImportError as error:
        protocol = address.partition("://")[0]
        raise DataError(
            f"{protocol}://...: the package that reads it is not installed ({error})"
        ) from error
    except Exception as error:  # every protocol has exceptions of its own
        raise _unreadable(address, error) from error


def _query(address: str, method: str, **options: Any) -> Any:
    files, path = _resolve(address)
    try:
        return getattr(files, method)(path, **options)
    except Exception as error:  # every protocol has exceptions of its own
        raise _unreadable(address, error) from error


def _unreadable(address: str, error: Exception) -> DataError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return DataError(f"{address}: cannot be read ({reason})")
