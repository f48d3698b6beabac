"""Download a data set's archives: resumable, verified by checksum, unpacked in their folder."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import tarfile
import urllib.request as http
import zipfile
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse

from tqdm import tqdm

from pets.errors import DataError

log = logging.getLogger(__name__)
_TIMEOUT = 15  # seconds without a byte
_CHUNK = 1 << 18
_SUMS = ("md5", "sha256")
# Zip-bomb guard: maximum expansion ratio, slack in bytes, and bytes charged per entry. Photos
# hardly expand, tables and masks do.
_MAX_RATIO, _SLACK_BYTES, _BYTES_PER_ENTRY = 20, 50_000_000, 1_000
# Like urllib's default, without ftp:, file: and data:, to which a server could redirect.
_OPENER = http.OpenerDirector()
for handler in (
    http.ProxyHandler, http.HTTPHandler, http.HTTPSHandler, http.HTTPRedirectHandler,
    http.HTTPErrorProcessor, http.HTTPDefaultErrorHandler, http.UnknownHandler,
):  # fmt: skip
    _OPENER.add_handler(handler())


def fetch_archives(root: Path, archives: Sequence[Mapping[str, str]]) -> None:
    """Download archives and unpack them all into the new folder `root`.

    A second call resumes an interrupted download. `root` appears only when
    it is complete.

    Args:
        root: must not exist.
        archives: each with `url`, and `md5` or `sha256` or both.

    Raises:
        DataError: There is no network (the message says where to put the files), a checksum is
            wrong, or an archive is damaged or would extract files outside its folder.
    """
    downloads = root.with_name(f"{root.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    files = []
    for number, archive in enumerate(archives):
        name = Path(urlparse(archive["url"]).path).name[-100:]
        files.append(_download(archive, downloads / f"{number}-{name}", root))
    unpacked = downloads / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    for file in files:
        log.info("unpacking %s", file.name)
        _unpack(file, unpacked)
    unpacked.replace(root)
    shutil.rmtree(downloads)


def _download(archive: Mapping[str, str], file: Path, root: Path) -> Path:
    url, sums = archive["url"], {kind: archive[kind] for kind in _SUMS if kind in archive}
    if not sums:
        raise DataError(f"{url}: has no checksum in the config; expected md5 or sha256")
    if file.exists():
        return file
    part = file.with_name(f"{file.name}.part")
    try:
        _fetch(url, part)
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(
            f"cannot download {url} ({_reason(error)}); run the command again to "
            f"resume the download, or unpack the archive into {root} yourself"
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


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answers {error.code}"
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split())[:200] or type(error).__name__


def _fetch(url: str, part: Path) -> None:
    """Download the rest of `part`; start again if the server cannot resume."""
    if urlparse(url).scheme not in ("http", "https"):
        raise ValueError("expected an address that begins with https:// or http://")
    have = part.stat().st_size if part.exists() else 0
    try:
        request = http.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        response = _OPENER.open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and have:  # the part is complete already
            return
        raise
    with response:
        if response.status != 206:
            have = 0
        left = response.length or 0  # according to the server, if it sends a length
        if left > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
        total = have + left or None
        bar = tqdm(
            desc=part.stem, initial=have, total=total, unit="B", unit_scale=True, disable=None
        )
        got = 0
        with bar, part.open("ab" if have else "wb") as stream:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                got += len(chunk)
                bar.update(len(chunk))
    if got < left:
        raise ConnectionError(f"the connection broke after {have + got:,} of {have + left:,} bytes")


def _unpack(file: Path, folder: Path) -> None:
    """Unpack a verified archive; nothing remains after an error."""
    left = file.stat().st_size * _MAX_RATIO + _SLACK_BYTES

    def count(size: int) -> None:
        nonlocal left
        left -= size + _BYTES_PER_ENTRY
        if left < 0:
            raise ValueError(f"it expands to more than {_MAX_RATIO} times its size")

    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        count(member.size)
        return tarfile.data_filter(member, path)  # refuses devices and paths outside the folder

    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    count(member.file_size)
                    archive.extract(member, folder)  # removes `..` and a leading `/` from names
        else:
            with tarfile.open(file) as tar:
                tar.extractall(folder, filter=checked)
    except Exception as error:  # damaged archives make the readers raise anything
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"{file}: cannot be unpacked ({_reason(error)})") from error
