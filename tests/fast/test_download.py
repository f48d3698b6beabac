"""Downloads from a real local server: resumed, checked, unpacked safely, all or nothing."""

import hashlib
import io
import re
import tarfile
import threading
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
    seen: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
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


def test_an_archive_that_leaves_its_folder_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = archive("../../outside.jpg")
    with pytest.raises(DataError, match="refused while unpacking"):
        fetch_archives(tmp_path / "a/pets", source(server))
    assert not list(tmp_path.rglob("outside.jpg"))


def test_without_a_server_one_line_says_where_to_put_the_files(tmp_path: Path) -> None:
    away = [{"url": "http://127.0.0.1:9/pets.tar.gz", "md5": "0"}]
    with pytest.raises(DataError, match=r"cannot download .* into .*pets yourself"):
        fetch_archives(tmp_path / "pets", away)
