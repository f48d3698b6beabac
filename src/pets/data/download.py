"""Download a data set's archives: resumable, verified by checksum, unpacked safely."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
import tarfile
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request

from tqdm import tqdm

from pets.errors import DataError

log = logging.getLogger(__name__)
_TIMEOUT = 15  # seconds without a byte
_CHUNK = 1 << 18
# How much larger an archive may become: photos hardly grow, tables and masks do.
_TIMES, _ROOM = 20, 50_000_000
_MOST_FILES = 1_000_000
_SUMS = ("md5", "sha256")


def fetch_archives(root: Path, archives: Sequence[Mapping[str, str]]) -> None:
    """Download archives and unpack them all into the new folder `root`.

    An interrupted download continues where it stopped when called again. `root` appears only when
    it is complete.

    Args:
        root: must not exist.
        archives: each with `url`, and `md5` or `sha256` or both.

    Raises:
        DataError: There is no network (the message says where to put the files), a checksum is
            wrong, or an archive contains anything but plain files inside its folder, or too much.
    """
    downloads = root.with_name(f"{root.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    names = _names([a["url"] for a in archives])
    files = [_download(a, downloads / n, root) for a, n in zip(archives, names, strict=True)]
    unpacked = downloads / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    for file in files:
        log.info("unpacking %s", file.name)
        _unpack(file, unpacked)
    unpacked.replace(root)
    shutil.rmtree(downloads)


def _names(urls: Sequence[str]) -> list[str]:
    """Return a unique file name for each URL, its own if possible."""
    names: list[str] = []
    for number, url in enumerate(urls):
        name = Path(urlparse(url).path).name[-100:]
        odd = name in ("", "..", "unpacked", *names) or name.endswith(".part")
        names.append(f"{number}-archive" if odd else name)
    return names


def _download(archive: Mapping[str, str], file: Path, root: Path) -> Path:
    url, sums = archive["url"], {kind: archive[kind] for kind in _SUMS if kind in archive}
    if not sums:
        raise DataError(f"{url}: has no checksum in the config; expected md5 or sha256")
    part = file.with_name(f"{file.name}.part")
    if file.exists():
        return file
    try:
        _fetch(url, part)
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(
            f"cannot download {url} ({_reason(error, part)}); try again to go on where it stopped, "
            f"or unpack the archive into {root} yourself"
        ) from error
    for kind, expected in sums.items():
        with part.open("rb") as stream:
            actual = hashlib.file_digest(stream, kind).hexdigest()
        if actual != expected.lower():
            part.unlink()
            raise DataError(
                f"{url}: has {kind} {actual}, expected {expected}; the download was removed, "
                "try again"
            )
    part.replace(file)
    return file


def _reason(error: Exception, part: Path) -> str:
    if isinstance(error, HTTPError) and "Location" in error.headers:
        return f"the server redirects to {error.headers['Location'][:200]}, which is not followed"
    if isinstance(error, HTTPError):
        return f"the server answers {error.code}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left for {part}"
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split())[:200] or type(error).__name__


def _open(request: Request) -> HTTPResponse:
    """Like urlopen, but over http and https only, even after redirects."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    response: HTTPResponse = opener.open(request, timeout=_TIMEOUT)
    return response


def _fetch(url: str, part: Path) -> None:
    """Download the rest of `part`; start again if the server cannot resume."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(Request(url, headers={"Range": f"bytes={have}-"} if have else {}))
    except HTTPError as error:
        if error.code == 416:  # the part is complete already
            return
        raise
    with response:
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", f"bytes {have}-").startswith(
            f"bytes {have}-"
        ):
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another range than requested")
        left = response.length or 0  # as the server says, if it does
        if left > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        bar = tqdm(
            desc=part.stem, initial=have, total=have + left or None,
            unit="B", unit_scale=True, disable=None,
        )  # fmt: skip
        got = 0
        with bar, part.open("ab" if have else "wb") as stream:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                got += len(chunk)
                bar.update(len(chunk))
    if got < left:
        raise ConnectionError(f"the connection broke after {have + got:,} of {have + left:,} bytes")


def _unpack(file: Path, folder: Path) -> None:
    """Unpack plain files and folders; nothing remains after an error."""
    folder.mkdir(exist_ok=True)
    try:
        if zipfile.is_zipfile(file):
            _unpack_zip(file, folder)
        else:
            _unpack_tar(file, folder)
    except Exception as error:  # malicious archives make the readers raise anything
        shutil.rmtree(folder, ignore_errors=True)
        reason = _reason(error, folder)
        if isinstance(error, tarfile.ReadError):
            reason = "it is no whole tar or zip archive"
        elif isinstance(error, RecursionError):
            reason = "a name in it has too many folders"
        raise DataError(f"{file}: refused while unpacking ({reason})") from error


class _Bounds:
    """Limits of an archive: plain files and folders, none twice, not too many or too large."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.folder, self.files = folder, _MOST_FILES
        self.bytes = file.stat().st_size * _TIMES + _ROOM

    def check(self, name: str, size: int, is_file: bool, is_folder: bool) -> None:
        """Check a member before it is unpacked. Raises ValueError."""
        self.files -= 1
        self.bytes -= size
        if self.files < 0:
            raise ValueError(f"it has more than {_MOST_FILES:,} files")
        if self.bytes < 0:
            raise ValueError(f"it grows to more than {_TIMES} times its size")
        if not (is_file or is_folder):
            raise ValueError(f"{name[:80]!r} is a link or a device; expected files and folders")
        target = self.folder / name
        if not target.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{name[:80]!r} would leave its folder")
        # Including names that differ only in case on disks that ignore it.
        if os.path.lexists(target) and not (is_folder and target.is_dir()):
            raise ValueError(f"{name[:80]!r} is there twice")


def _unpack_tar(file: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise ValueError("Python 3.11.4 or newer is needed")
    bounds = _Bounds(file, folder)

    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        bounds.check(member.name, member.size, member.isfile(), member.isdir())
        return tarfile.data_filter(member, path)

    with tarfile.open(file) as archive:
        archive.extractall(folder, filter=checked)


def _unpack_zip(file: Path, folder: Path) -> None:
    bounds = _Bounds(file, folder)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.flag_bits & 1:
                raise ValueError("it is encrypted")
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_file = kind in (0, stat.S_IFREG) and not member.is_dir()
            bounds.check(member.filename, member.file_size, is_file, member.is_dir())
            archive.extract(member, folder)
