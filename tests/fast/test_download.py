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
    """Serves one file with ranges; `cut` is after how many bytes it hangs up."""

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


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = archive(), 20_000
    with pytest.raises(DataError, match=r"broke after 20,000 of .* try again to go on"):
        fetch_archives(tmp_path / "pets", source(server))
    assert not (tmp_path / "pets").exists()
    server.cut = None
    fetch_archives(tmp_path / "pets", source(server))
    assert server.seen == [None, "bytes=20000-"]
    assert (tmp_path / "pets/images/cat_1.jpg").stat().st_size == 50_000


def test_a_wrong_check_sum_is_not_unpacked(server: Server, tmp_path: Path) -> None:
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
        (OK + b"Content-Length: 9000000000000000\r\n\r\nabc", "no space left for .*part"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "the server answers 500"),
        (redirected("file:///etc/passwd"), "redirects to file:///etc/passwd, which is not follo"),
        (redirected("data:text/plain,hello"), "redirects to data:text/plain,hello, which is"),
        (redirected("ftp://127.0.0.1:9/x"), "unknown url type: ftp"),
        (redirected("/again"), "the server redirects to /again, which is not followed"),
        (redirected("http://[bad"), "Invalid IPv6 URL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "answer",
)
def test_whatever_a_server_says_is_one_line(
    server: Server, tmp_path: Path, raw: bytes, reason: str
) -> None:
    server.raw = raw
    with pytest.raises(DataError, match=rf"^cannot download http\S+ \(.*{reason}.*\); try again"):
        fetch_archives(tmp_path / "pets", source(server))
    assert not (tmp_path / "pets").exists()


@pytest.mark.parametrize("length", [b"-5", b"abc", None])
def test_a_length_that_is_none_is_not_counted_on(
    server: Server, tmp_path: Path, length: bytes | None
) -> None:
    server.content = archive()
    said = b"" if length is None else b"Content-Length: " + length + b"\r\n"
    server.raw = OK + said + b"\r\n" + server.content
    fetch_archives(tmp_path / "pets", source(server))
    assert (tmp_path / "pets/images/cat_1.jpg").stat().st_size == 50_000


def test_another_part_than_was_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = archive(), 20_000
    with pytest.raises(DataError, match="the connection broke"):
        fetch_archives(tmp_path / "pets", source(server))
    range_ = b"Content-Range: bytes 100-200/50000\r\nContent-Length: 101\r\n\r\n"
    server.raw = b"HTTP/1.1 206 Part\r\n" + range_ + bytes(101)
    with pytest.raises(DataError, match="another range than requested"):
        fetch_archives(tmp_path / "pets", source(server))
    server.raw = server.cut = None
    fetch_archives(tmp_path / "pets", source(server))
    assert server.seen == [None, None]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1:9/x", "pets.tar.gz"])
def test_http_alone(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=r"cannot download .*unknown url type"):
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
def test_any_url_has_a_file(server: Server, tmp_path: Path, path: str) -> None:
    server.content = archive()
    (given,) = source(server)
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    fetch_archives(tmp_path / "pets", [given | {"url": url}])
    assert [p.name for p in tmp_path.iterdir()] == ["pets"]


def test_archives_of_one_name_are_two(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    (given,) = source(server)
    with pytest.raises(DataError, match=r"'images/cat_1\.jpg' is there twice"):
        fetch_archives(tmp_path / "pets", [given, given])
    assert server.seen == [None, None]


def tar(*members: tuple[str, bytes, str, int], mode: str = "w:gz") -> bytes:
    """Members by name, type, target of a link and size."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as found:  # type: ignore[call-overload]
        for name, kind, link, size in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, size
            found.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as found:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            found.writestr(info, content)
    return buffer.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped(("a.jpg", b"x")))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
DAMAGED = zipped(("a.jpg", bytes(range(256)))).replace(bytes(range(20, 60)), bytes(40))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tar(("../../out.jpg", FILE, "", 3)), "'../../out.jpg' would leave its folder"),
        (tar(("/tmp/out.jpg", FILE, "", 3)), "'/tmp/out.jpg' would leave its folder"),
        (tar(("l", LINK, "../..", 0), ("l/out.jpg", FILE, "", 3)), "'l' is a link or a device"),
        (
            tar(("a", LINK, "b", 0), ("b", LINK, "a", 0), ("a/x", FILE, "", 1)),
            "'a' is a link or a device",
        ),
        (tar(("h", HARD, "/etc/passwd", 0)), "'h' is a link or a device"),
        *((tar(("d", kind, "", 0)), "'d' is a link or a device") for kind in DEVICES),
        (tar(("a", FILE, "", 3), ("a", FILE, "", 3)), "'a' is there twice"),
        (tar(("a/b", FILE, "", 3), ("a", FILE, "", 3)), "'a' is there twice"),
        (tar(("a", FILE, "", 3), ("a/b", FILE, "", 3)), "Not a directory"),
        (tar(("n" * 300, FILE, "", 3)), "File name too long"),
        (tar(("a/" * 3000 + "b", FILE, "", 3)), "File name too long|too many folders|would leave"),
        (tar(("a", FILE, "", 300_000))[:-100], "ended before the end-of-stream"),
        (tar(("a", FILE, "", 60_000_000)), "grows to more than 20 times its size"),
        (zipped(("../../out.jpg", b"x")), "'../../out.jpg' would leave its folder"),
        (zipped(("/tmp/out.jpg", b"x")), "'/tmp/out.jpg' would leave its folder"),
        (zipped(("l", b"/etc/passwd"), mode=0o120777), "'l' is a link or a device"),
        (zipped(("a/b", b"x"), ("a", b"y")), "'a' is there twice"),
        (zipped(("a", bytes(60_000_000))), "grows to more than 20 times its size"),
        (zipped(("a.jpg", b"x")).replace(b"\x08\x00", b"\x63\x00"), "method is not supported"),
        (encrypted(), "it is encrypted"),
        (DAMAGED, "Error -3|Bad CRC-32|Error"),
        (b"hello" * 1000, "it is no whole tar or zip archive"),
        (b"", "it is no whole tar or zip archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_what_an_archive_may_not_be_is_one_line(
    server: Server, tmp_path: Path, content: bytes, reason: str
) -> None:
    """And nothing of it is left but what was downloaded."""
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    kept = folder / "pets.download/pets.tar.gz"
    kept.parent.mkdir()
    kept.write_bytes(content)
    with pytest.raises(DataError, match=rf"refused while unpacking \(.*({reason})") as error:
        fetch_archives(folder / "pets", source(server, md5="0"))
    assert "\n" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert not Path("/tmp/out.jpg").exists()


def test_too_many_files(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pets.data.download._MOST_FILES", 3)
    server.content = tar(*((f"{number}.jpg", FILE, "", 1) for number in range(4)))
    with pytest.raises(DataError, match="it has more than 3 files"):
        fetch_archives(tmp_path / "pets", source(server))
    server.content = tar(*((f"{number}.jpg", FILE, "", 1) for number in range(3)))
    fetch_archives(tmp_path / "cats", source(server))
    assert len(list((tmp_path / "cats").iterdir())) == 3


def test_without_a_server_one_line_says_where_to_put_the_files(tmp_path: Path) -> None:
    away = [{"url": "http://127.0.0.1:9/pets.tar.gz", "md5": "0"}]
    with pytest.raises(DataError, match=r"cannot download .* into .*pets yourself"):
        fetch_archives(tmp_path / "pets", away)
