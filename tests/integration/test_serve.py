"""`pets serve` as a real process: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from pets.data.images import open_rgb
from pets.data.transforms import eval_transform, to_tensor
from pets.interpretation.gradcam import GradCam
from pets.run_dir import RunDir
from pets.system.installation import install
from pets.training.checkpoints import Trained, load_run
from tests.hostile import many_markers, many_scans, plain_pnm
from tests.integration.conftest import Pets
from tests.integration.serving import Served, served

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(trained, tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="module")
def model(trained: Path) -> Trained:
    return load_run(RunDir.open(trained))


@pytest.fixture(scope="module")
def photos(drawn: Path) -> list[Path]:
    return sorted((drawn / "images").glob("*.jpg"))[::5]


@pytest.fixture(scope="module")
def expected(model: Trained, photos: list[Path]) -> dict[Path, np.ndarray]:
    """The probabilities of each photo, alone in its batch."""
    transform = eval_transform(model.model.size, model.model.preprocess)
    temperature = model.temperature or 1.0
    found = {}
    with torch.no_grad():
        for file in photos:
            logits = model.model(transform(to_tensor(open_rgb(file)))[None]).double()
            found[file] = (logits / temperature).softmax(1)[0].numpy()
    return found


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def send(
    client: httpx.Client, content: bytes, name: str = "x.jpg", **params: Any
) -> httpx.Response:
    return client.post("/api/predict", files={"file": (name, content)}, params=params)


def line_of(answer: httpx.Response) -> str:
    """The one plain line of a refusal."""
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert list(found) == ["error"]
    assert "\n" not in found["error"]
    return found["error"]


def as_array(result: dict[str, Any], classes: list[str]) -> np.ndarray:
    by_name = {row["name"]: row["probability"] for row in result["predictions"]}
    return np.array([by_name[name] for name in classes])


@pytest.mark.core
def test_values_are_those_of_the_run_whatever_else_is_in_the_batch(
    server: Served, model: Trained, photos: list[Path], expected: dict[Path, np.ndarray]
) -> None:
    classes = model.model.classes
    assert model.temperature is not None
    assert model.temperature != 1
    files = [("file", (file.name, file.read_bytes())) for file in photos[:16]]
    results = server.client.post("/api/predict", files=files, params={"top_k": 99}).json()[
        "results"
    ]
    assert [result["file"] for result in results] == [file.name for file in photos[:16]]
    for file, result in zip(photos, results, strict=False):
        assert as_array(result, classes) == pytest.approx(expected[file], abs=1e-5)
        given = [row["probability"] for row in result["predictions"]]
        assert given == sorted(given, reverse=True)
        assert result["sure"] == (given[0] >= 0.5)

    alone = server.client.post(
        "/api/predict", content=photos[0].read_bytes(), headers={"Content-Type": "image/jpeg"}
    ).json()["results"][0]
    assert len(alone["predictions"]) == 5
    assert alone["predictions"][0]["name"] == classes[expected[photos[0]].argmax()]
    assert alone["gradcam"] is None
    assert (alone["width"], alone["height"]) == Image.open(photos[0]).size


@pytest.mark.core
def test_grad_cam_is_the_one_of_the_report(
    server: Served, model: Trained, photos: list[Path]
) -> None:
    """On a photo that is not square: the frame is what is left of it."""
    photo = Image.open(photos[3]).resize((96, 144))
    result = send(server.client, encoded(photo, "PNG"), gradcam=True).json()["results"][0]
    net = model.model
    transform = eval_transform(net.size, net.preprocess)
    with torch.no_grad():
        features = net.features(transform(to_tensor(photo))[None])
        best = net.head(net.backbone.pool(features, net.size)).argmax(1)
    cam = GradCam(net)(features, best, net.size)[0]
    found = result["gradcam"]
    assert found["name"] == result["predictions"][0]["name"] == net.classes[int(best)]
    assert (found["height"], found["width"]) == tuple(cam.shape)
    assert found["values"] == pytest.approx(cam.flatten().tolist(), abs=2e-3)
    crop = net.preprocess.crop_pct
    assert result["seen"]["width"] == pytest.approx(crop, abs=0.01)
    assert result["seen"]["height"] == pytest.approx(crop * 96 / 144, abs=0.01)
    assert result["seen"]["left"] == pytest.approx((1 - crop) / 2, abs=0.01)


def attacks() -> dict[str, tuple[bytes, str, int, str]]:
    """Content, content type or "form", the status, and words of the line."""
    noise = Image.effect_noise((64, 64), 50).convert("RGB")
    cut = encoded(noise, "JPEG")[:600]
    unknown = "not a known format); expected JPEG, PNG,"
    bomb = encoded(Image.new("1", (20_000, 6_000)), "PNG")
    return {
        "empty": (b"", "form", 400, "x.jpg: is empty"),
        "empty body": (b"", "image/jpeg", 400, "photo: is empty"),
        "HTML": (HTML, "form", 400, unknown),
        "SVG": (SVG, "form", 400, unknown),
        "SVG said": (SVG, "image/svg+xml", 415, "expected multipart/form-data"),
        "EPS": (encoded(noise, "EPS"), "form", 400, unknown),
        "ICO": (encoded(noise, "ICO"), "image/x-icon", 400, unknown),
        "cut": (cut, "form", 400, "cannot be read as an image"),
        "bomb": (
            bomb,
            "form",
            413,
            "x.jpg: 20000 x 6000 pixels; expected at most 50 megapixels (limits.megapixels)",
        ),
        "bomb for Pillow": (
            b"GIF89a" + (60_000).to_bytes(2, "little") * 2 + encoded(noise, "GIF")[10:],
            "form",
            413,
            "x.jpg: 60000 x 60000 pixels; expected at most 50 megapixels (limits.megapixels)",
        ),
        "scans": (many_scans(101), "form", 400, "x.jpg: cannot be read as an image (101 scans"),
        "PNM": (plain_pnm(5_000_000), "form", 400, unknown),
        "BMP": (encoded(noise, "BMP"), "form", 400, unknown),
        "TIFF": (encoded(noise, "TIFF"), "form", 400, unknown),
        "markers": (
            many_markers(3_000_000),
            "form",
            413,
            "x.jpg: takes too long to decode (limits.decode_seconds)",
        ),
        "needle": (encoded(Image.new("L", (9_000, 1)), "PNG"), "form", 413, "at most 100 to 1"),
        "heavy": (bytes(21_000_000), "form", 413, "larger than 20 MB"),
        "heavy body": (bytes(21_000_000), "image/png", 413, "larger than 20 MB"),
        "text": (b"hello", "text/plain", 415, "Content-Type text/plain"),
        "no type": (b"hello", "", 415, "Content-Type (none)"),
        "no form": (b"hello", "multipart/form-data; boundary=b", 400, "no readable form"),
        "no boundary": (b"hello", "multipart/form-data", 400, "no readable form"),
        "empty form": (b"--b--\r\n", "multipart/form-data; boundary=b", 422, "no file"),
    }


@pytest.mark.core
@pytest.mark.parametrize("name", attacks())
def test_what_is_no_photo_gets_a_line_and_the_next_photo_its_answer(
    server: Served, photos: list[Path], name: str
) -> None:
    content, kind, status, args = attacks()[name]
    if kind == "form":
        answer = send(server.client, content)
    else:
        headers = {"Content-Type": kind} if kind else {}
        answer = server.client.post("/api/predict", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert args in line_of(answer)
    assert send(server.client, photos[0].read_bytes()).status_code == 200


def test_bytes_are_counted_as_they_come(server: Served) -> None:
    """Without a length said beforehand."""

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(1_000_000)

    answer = server.client.post(
        "/api/predict", content=chunks(), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert "larger than 20 MB" in line_of(answer)


def test_odd_photos_are_photos(
    server: Served, model: Trained, photos: list[Path], expected: dict[Path, np.ndarray]
) -> None:
    polyglot = photos[0].read_bytes() + HTML
    result = send(server.client, polyglot, "page.html", top_k=99).json()["results"][0]
    assert as_array(result, model.model.classes) == pytest.approx(expected[photos[0]], abs=1e-5)
    pixel = send(server.client, encoded(Image.new("RGB", (1, 1), "red"), "PNG"))
    assert pixel.json()["results"][0]["width"] == 1
    assert sum(row["probability"] for row in pixel.json()["results"][0]["predictions"]) <= 1


@pytest.mark.core
def test_a_bad_file_among_good_ones_has_its_own_line(server: Served, photos: list[Path]) -> None:
    files = [
        ("file", ("a.jpg", photos[0].read_bytes())),
        ("file", ("C:\\photos\\b\n.jpg", HTML)),
        ("other", ("c.jpg", photos[1].read_bytes())),
    ]
    answer = server.client.post("/api/predict", files=files)
    assert answer.status_code == 200
    first, second, third = answer.json()["results"]
    assert (first["file"], third["file"]) == ("a.jpg", "c.jpg")
    assert second["status"] == 400
    assert second["error"].startswith("b")
    assert second["error"].isprintable()
    many = [("file", (f"{i}.jpg", b"x")) for i in range(17)]
    answer = server.client.post("/api/predict", files=many)
    assert (answer.status_code, line_of(answer)) == (
        413,
        "more than 16 photos in one request (limits.photos)",
    )


@pytest.mark.core
@pytest.mark.parametrize(
    ("method", "path", "status", "args"),
    [
        ("POST", "/api/predict?top_k=0", 422, "top_k=0: Input should be greater than"),
        ("POST", "/api/predict?top_k=many", 422, "top_k=many: "),
        ("POST", "/api/predict?topk=3", 422, "topk=3: Extra inputs"),
        ("GET", "/api/predict", 405, "GET /api/predict: Method Not Allowed"),
        ("GET", "/nowhere", 404, "GET /nowhere: Not Found"),
        ("GET", "/docs", 404, "GET /docs: Not Found"),
        ("GET", "/api/examples/99", 404, "example 99: there are 12"),
        ("GET", "/../../etc/passwd", 404, "Not Found"),
    ],
)
def test_wrong_requests(server: Served, method: str, path: str, status: int, args: str) -> None:
    answer = server.client.request(method, path)
    assert answer.status_code == status
    assert args in line_of(answer)


def test_no_other_name_and_no_other_site(server: Served, photos: list[Path]) -> None:
    port = server.address[1]
    for host, status in (
        ("evil.example", 421), (f"evil.example:{port}", 421), ("127.0.0.1.evil.example", 421),
        ("", 421), (f"localhost:{port}", 200), ("LOCALHOST", 200), ("[::1]:9", 200),
    ):  # fmt: skip
        answer = server.client.get("/api/info", headers={"Host": host})
        assert answer.status_code == status, host
    assert "and to IP addresses; give other names with hosts=" in line_of(
        server.client.get("/", headers={"Host": "evil.example"})
    )
    files = {"file": photos[0].read_bytes()}
    for origin, status in (
        ("http://evil.example", 403), ("null", 403), ("", 403), ("http://127.0.0.1:1", 403),
        ("http://127.0.0.1", 403), (f"http://localhost:{port}", 403),
        (f"http://127.0.0.1:{port}", 200), (f"https://127.0.0.1:{port}", 200),
    ):  # fmt: skip
        headers = {"Origin": origin}
        answer = server.client.post("/api/predict", files=files, headers=headers)
        assert answer.status_code == status, origin
        if status == 403:
            assert line_of(answer).startswith(f"Origin {origin!r}: a page of another site")


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/page.css", "/api/info", "/health", "/nowhere", "/openapi.json"]
)
def test_headers_are_strict(server: Served, path: str) -> None:
    headers = server.client.get(path, headers={"Origin": "https://evil.example"}).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_two_hundred_at_once(
    server: Served, model: Trained, photos: list[Path], expected: dict[Path, np.ndarray]
) -> None:
    """Each gets the answer to its own photo."""

    async def all_of_them() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
            return await asyncio.gather(
                *(
                    client.post(
                        "/api/predict?top_k=99",
                        files={"file": photos[i % len(photos)].read_bytes()},
                    )
                    for i in range(200)
                )
            )

    before = counts(server)
    answers = asyncio.run(all_of_them())
    assert [answer.status_code for answer in answers] == [200] * 200
    for i, answer in enumerate(answers):
        found = as_array(answer.json()["results"][0], model.model.classes)
        assert found == pytest.approx(expected[photos[i % len(photos)]], abs=1e-5)
    after = counts(server)
    named = 'pets_photos_total{became="named"}'
    assert after[named] - before[named] == 200
    passes = "pets_batch_photos_count"
    assert after[passes] - before[passes] < 150  # they passed the network together
    assert after["pets_requests_inside"] == after["pets_held_bytes"] == 0


def counts(server: Served) -> dict[str, float]:
    lines = server.client.get("/metrics").text.splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


@pytest.mark.core
def test_what_it_says_of_itself(server: Served, trained: Path, model: Trained) -> None:
    assert server.client.get("/health").json() == {"status": "ready"}
    info = server.client.get("/api/info").json()
    status = json.loads((trained / "status.json").read_text())
    assert info["classes"] == model.model.classes
    assert info["size"] == [96, 96]
    assert info["temperature"] == model.temperature
    assert info["preprocess"] == json.loads(json.dumps(model.model.preprocess.as_dict()))
    assert info["metrics"]["test"]["accuracy"] == status["results"]["test"]["accuracy"]
    before = counts(server)
    server.client.get("/nowhere")
    server.client.get("/nowhere/else")
    after = counts(server)
    refused = 'pets_requests_total{path="other",status="404"}'
    assert after[refused] - before.get(refused, 0) == 2


def test_examples_are_validation_photos(server: Served, trained: Path, drawn: Path) -> None:
    import pandas as pd

    rows = pd.read_csv(trained / "photos.csv")
    valid = rows[rows.split == "valid"]
    labels = {
        (drawn / path).read_bytes(): label
        for path, label in zip(valid.path, valid.label, strict=True)
    }
    examples = server.client.get("/api/examples").json()["examples"]
    # One of every class before a second of any.
    first = [example["label"] for example in examples[: valid.label.nunique()]]
    assert sorted(first) == sorted(set(valid.label))
    assert len(examples) == 12
    for example in examples:
        photo = server.client.get(example["photo"])
        assert photo.headers["content-type"] == "image/jpeg"
        assert labels[photo.content] == example["label"]
        small = Image.open(io.BytesIO(server.client.get(example["thumbnail"]).content))
        assert max(small.size) <= 160


def test_the_openapi_holds(server: Served, tmp_path: Path) -> None:
    """Requests made up from the schema, right ones and wrong ones. That bytes are an image, no
    schema can say."""
    found = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}openapi.json",
            "--max-examples", "15", "--seed", "1", "--phases", "examples,coverage,fuzzing",
            "--request-timeout", "60", "--no-color",
            "--exclude-checks", "positive_data_acceptance",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]


def test_mistakes_are_one_line(server: Served, trained: Path, pets: Pets) -> None:
    port = server.address[1]
    run = f"run={trained}"
    for args, line in (
        ([run, f"port={port}"],
         f"port={port}: cannot be had at 127.0.0.1 (Address already in use); give another one, or "
         "port=0 for any that is free"),
        ([run, "host=no.such.host.invalid"], "host=no.such.host.invalid: no such address"),
        ([run, "port=0", "device=quantum"], "device=quantum: cannot be used here"),
        ([run, "port=70000"], "port=70000: expected a number of at most 65535"),
        ([run, "threshold=2"], "threshold=2: expected a number of at most 1"),
        (["run=."], "run=.: is not a run directory"),
    ):  # fmt: skip
        assert line in pets.one_line("serve", *args)


@pytest.mark.core
def test_what_is_not_installed_is_said(trained: Path) -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; from pets.cli.main import main; "
        f"sys.argv = ['pets', 'serve', 'run={trained}']; main()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (
        1,
        f"pets serve: needs fastapi; {install('serve')}\n",
    )
