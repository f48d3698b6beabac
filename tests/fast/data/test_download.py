"""Downloads from a real local server: resumed, checked, unpacked safely, all or nothing."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pets.data.download import fetch_archives
from pets.errors import DataError


def archive(name: str = "images/cat_1.jpg", content: bytes = b"x" * 50_000) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves one file with ranges; it closes the connection after `cut` bytes."""

    content = b""
    cut: int | None = None
    raw: bytes | None = None  # said in place of all that
    seen: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.raw is not None:
            self.wfile.write(self.server.raw)
            self.close_connection = True
            return
        wanted = self.headers.get("Range")
        self.server.seen.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        body = self.server.content[start:]
        if not body:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.cut is None else body[: self.server.cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.seen = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()


def source(server: Server, md5: str | None = None) -> list[dict[str, str]]:
    url = f"http://127.0.0.1:{server.server_port}/pets.tar.gz"
    return [{"url": url, "md5": md5 or hashlib.md5(server.content).hexdigest()}]


def test_fetch_unpacks_and_cleans_up(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    fetch_archives(tmp_path / "pets", source(server))
    assert (tmp_path / "pets/images/cat_1.jpg").read_bytes() == b"x" * 50_000
    assert [p.name for p in tmp_path.iterdir()] == ["pets"]


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = archive(), 20_000
    with pytest.raises(DataError, match=r"broke after 20,000 of .* run the command again"):
        fetch_archives(tmp_path / "pets", source(server))
    assert not (tmp_path / "pets").exists()
    server.cut = None
    fetch_archives(tmp_path / "pets", source(server))
    assert server.seen == [None, "bytes=20000-"]
    assert (tmp_path / "pets/images/cat_1.jpg").stat().st_size == 50_000


def test_an_archive_with_a_wrong_checksum_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    with pytest.raises(DataError, match=r"has md5 .*, expected 0000; the download was removed"):
        fetch_archives(tmp_path / "pets", source(server, md5="0000"))
    assert not (tmp_path / "pets").exists()
    assert not list(tmp_path.rglob("*.part"))


OK = b"HTTP/1.1 200 OK\r\n"


def redirected(url: str) -> bytes:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + url.encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff\xfe\r\n\r\n", "ÿþ"),
        (b"", "closed connection without response"),
        (OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n", "got more than 65536 bytes"),
        (OK + b"X: a\r\n" * 500 + b"\r\n", "got more than 100 headers"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc", "IncompleteRead"),
        (OK + b"Content-Length: 1000\r\n\r\nabc", "broke after 3 of 1,000 bytes"),
        (OK + b"Content-Length: 9000000000000000\r\n\r\nabc", "No space left on device.*part"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "the server answers 500"),
        (redirected("file:///etc/passwd"), "the server answers 302"),
        (redirected("data:text/plain,hello"), "the server answers 302"),
        (redirected("ftp://127.0.0.1:9/x"), "unknown url type: ftp"),
        (redirected("/again"), "the server answers 302"),
        (redirected("http://[bad"), "Invalid IPv6 URL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "answer",
)
def test_any_server_error_is_one_line(
    server: Server, tmp_path: Path, raw: bytes, reason: str
) -> None:
    server.raw = raw
    with pytest.raises(
        DataError, match=rf"^cannot download http\S+ \(.*{reason}.*\); run the command"
    ):
        fetch_archives(tmp_path / "pets", source(server))
    assert not (tmp_path / "pets").exists()


@pytest.mark.parametrize("length", [b"-5", b"abc", None])
def test_an_invalid_content_length_is_ignored(
    server: Server, tmp_path: Path, length: bytes | None
) -> None:
    server.content = archive()
    output = b"" if length is None else b"Content-Length: " + length + b"\r\n"
    server.raw = OK + output + b"\r\n" + server.content
    fetch_archives(tmp_path / "pets", source(server))
    assert (tmp_path / "pets/images/cat_1.jpg").stat().st_size == 50_000


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1:9/x", "pets.tar.gz"])
def test_only_http_and_https_are_allowed(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=r"cannot download .*begins with https:// or http://"):
        fetch_archives(tmp_path / "pets", [{"url": url, "md5": "0"}])


def test_every_checksum_given_is_compared(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    (given,) = source(server)
    with pytest.raises(DataError, match=r"has sha256 .*, expected 0000; the download was removed"):
        fetch_archives(tmp_path / "pets", [given | {"sha256": "0000"}])
    with pytest.raises(DataError, match="no checksum in the config; expected md5 or sha256"):
        fetch_archives(tmp_path / "pets", [{"url": given["url"]}])
    right = hashlib.sha256(server.content).hexdigest()
    fetch_archives(tmp_path / "pets", [{"url": given["url"], "sha256": right}])
    assert (tmp_path / "pets/images/cat_1.jpg").exists()


@pytest.mark.parametrize("path", ["", "..", "unpacked", "x.part", "n" * 300])
def test_any_url_maps_to_a_file_name(server: Server, tmp_path: Path, path: str) -> None:
    server.content = archive()
    (given,) = source(server)
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    fetch_archives(tmp_path / "pets", [given | {"url": url}])
    assert [p.name for p in tmp_path.iterdir()] == ["pets"]


def test_archives_with_the_same_name_do_not_collide(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    (given,) = source(server)
    fetch_archives(tmp_path / "pets", [given, given])
    assert server.seen == [None, None]


def tar(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 3) -> bytes:
    """An archive of one member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as result:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, size if kind == tarfile.REGTYPE else 0
        result.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def zipped(name: str, mode: int = 0, content: bytes = b"/etc/passwd") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as result:
        info = zipfile.ZipInfo(name)
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
        result.writestr(info, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tar("../../out.jpg"), "outside the destination"),
        (tar("link", tarfile.SYMTYPE, "../.."), "outside the destination"),
        (tar("link", tarfile.SYMTYPE, "/etc/passwd"), "absolute path"),
        (tar("hard", tarfile.LNKTYPE, "/etc/passwd"), "absolute path|not found"),
        (tar("device", tarfile.CHRTYPE), "is a special file"),
        (tar("n" * 300), "File name too long"),
        (tar("a.jpg")[:-30], "Compressed file ended"),
        (tar("a", size=60_000_000), "expands to more than 20 times its size"),
        (zipped("a", content=bytes(60_000_000)), "expands to more than 20 times its size"),
        (b"hello" * 1000, "could not be opened"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_an_unsafe_archive_is_one_line(
    server: Server, tmp_path: Path, content: bytes, reason: str
) -> None:
    """Only the download itself is left."""
    server.content = content
    with pytest.raises(DataError, match=rf"cannot be unpacked \(.*({reason})") as error:
        fetch_archives(tmp_path / "a/b/pets", source(server))
    assert "\n" not in str(error.value)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["0-pets.tar.gz"]


def test_many_small_files_are_counted_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pets.data.download._BYTES_PER_ENTRY", 60_000_000)
    server.content = tar("a")
    with pytest.raises(DataError, match="expands to more than 20 times its size"):
        fetch_archives(tmp_path / "pets", source(server))


@pytest.mark.parametrize("name", ["../../out.jpg", "/tmp/out.jpg", "out.jpg"])
def test_a_zip_stays_in_its_folder_and_makes_no_links(
    server: Server, tmp_path: Path, name: str
) -> None:
    server.content = zipped(name, mode=0o120777)
    fetch_archives(tmp_path / "a/b/pets", source(server))
    (file,) = (path for path in tmp_path.rglob("*") if not path.is_dir())
    assert file.name == "out.jpg"
    assert file.is_relative_to(tmp_path / "a/b/pets")
    assert not file.is_symlink()


def test_without_a_server_one_line_says_where_to_put_the_files(tmp_path: Path) -> None:
    away = [{"url": "http://127.0.0.1:9/pets.tar.gz", "md5": "0"}]
    with pytest.raises(DataError, match=r"cannot download .* into .*pets yourself"):
        fetch_archives(tmp_path / "pets", away)
