"""Fetch a data set's archives: with progress, resumed, checked, unpacked safely, all or nothing."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from tqdm import tqdm

from pets.errors import DataError

log = logging.getLogger(__name__)
_TIMEOUT = 15  # seconds without a byte
_CHUNK = 1 << 18


def fetch_archives(root: Path, archives: Sequence[Mapping[str, str]]) -> None:
    """Download archives (`url`, `md5`) and unpack them all into the new folder `root`.

    An interrupted download goes on where it stopped when called again; `root` appears only when
    everything is there. Raises DataError without a network (saying where to put the files), for
    a wrong checksum, and for an archive that would write outside its folder.
    """
    downloads = root.with_name(f"{root.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    files = [_download(a["url"], a["md5"], downloads, root) for a in archives]
    unpacked = downloads / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    for file in files:
        log.info("unpacking %s", file.name)
        _unpack(file, unpacked)
    unpacked.replace(root)
    shutil.rmtree(downloads)


def _download(url: str, md5: str, folder: Path, root: Path) -> Path:
    name = Path(urlparse(url).path).name
    file, part = folder / name, folder / f"{name}.part"
    if not file.exists():
        try:
            _fetch(url, part)
        except (URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(error, HTTPError):
                reason = f"the server answers {error.code}"
            raise DataError(
                f"cannot download {url} ({reason}); try again to go on where it stopped, "
                f"or unpack the archive into {root} yourself"
            ) from error
        with part.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != md5:
            part.unlink()
            raise DataError(
                f"{url}: has md5 {found}, expected {md5}; the download was removed, try again"
            )
        part.replace(file)
    return file


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what is still missing of it; start again where a server cannot go on."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # the part is whole already
            return
        raise
    with response:
        if response.status != 206:
            have = 0
        left = int(response.headers.get("Content-Length") or 0)
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


def _extract_plain(archive: tarfile.TarFile, folder: Path) -> None:
    """What the `data` filter allows of an archive of photos, for Python before 3.11.4: plain files
    and folders inside the folder."""
    members = archive.getmembers()
    for member in members:
        inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
        if not inside or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name} is no file or folder inside it")
        member.mode = 0o755 if member.isdir() else 0o644
    archive.extractall(folder, members)


def _unpack(file: Path, folder: Path) -> None:
    """Unpack with the `data` filter: no absolute paths, no links out, no devices."""
    folder.mkdir(exist_ok=True)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    if not (folder / name).resolve().is_relative_to(folder.resolve()):
                        raise DataError(f"{file}: refused, {name} would leave its folder")
                archive.extractall(folder)
        else:
            with tarfile.open(file) as archive:
                if hasattr(tarfile, "data_filter"):
                    archive.extractall(folder, filter="data")
                else:
                    _extract_plain(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: refused while unpacking ({error})") from error
