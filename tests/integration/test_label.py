"""`pets label` in a real browser: by keyboard, killed in between, in two tabs, on a phone."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pets.io.serialize import to_override
from tests.integration.browser import CONTRASTS, opened
from tests.integration.conftest import FLOAT, Pets
from tests.integration.serving import Served, served

FAST = (FLOAT, "data.num_workers=0")
GONE = "Failed to load resource: net::ERR_"  # also what was on its way when the server was killed
CONFLICT = "error: Failed to load resource: the server responded with a status of 409 (Conflict)"


@dataclass(frozen=True)
class Inbox:
    """New photos in one folder, and what they show."""

    root: Path
    truth: dict[str, str]


@pytest.fixture(scope="module")
def inbox(trained: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Inbox:
    """90 new photos, a copy of a test photo, and one that looks like a validation photo."""
    from pets.demo import draw_pets

    folder = tmp_path_factory.mktemp("inbox")
    draw_pets(folder / "drawn", per_breed=9, size=96, seed=1)
    files = sorted((folder / "drawn/images").glob("*.jpg"))
    root, truth = folder / "new photos", {}
    root.mkdir()
    for number, index in enumerate(np.random.default_rng(0).permutation(len(files))):
        name = f"IMG_{number:04}.jpg"
        shutil.copy(files[index], root / name)
        truth[name] = files[index].stem.rpartition("_")[0]
    rows = pd.read_csv(trained / "photos.csv").set_index("split")
    shutil.copy(drawn / rows.loc["test"].path.iloc[0], root / "same.jpg")
    Image.open(drawn / rows.loc["valid"].path.iloc[0]).save(root / "alike.jpg", quality=70)
    return Inbox(root, truth)


@dataclass
class Labels:
    """The files of one use."""

    folder: Path
    inbox: Inbox

    @property
    def out(self) -> Path:
        return self.folder / "labels.csv"

    @property
    def args(self) -> tuple[str, ...]:
        return (f"data.root='{self.inbox.root}'", f"out={self.out}", *FAST)

    @property
    def table(self) -> dict[str, str]:
        with self.out.open(newline="") as stream:
            return {row["path"]: row["label"] for row in csv.DictReader(stream)}

    @property
    def entries(self) -> list[dict[str, Any]]:
        lines = map(json.loads, self.out.with_suffix(".jsonl").read_text().splitlines()[1:])
        return [line for line in lines if "action" in line]


@pytest.fixture
def labels(tmp_path: Path, inbox: Inbox) -> Labels:
    return Labels(tmp_path, inbox)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def site(server: Served) -> str:
    return server.url.partition("?")[0]


def enter(server: Served) -> httpx.Client:
    """A client that has the token, once there is a head that orders the photos."""
    assert server.client.get("/", params=server.url.partition("?")[2]).status_code == 303
    for _ in range(600):
        if server.client.get("/api/state").json()["heads"]:
            return server.client
        time.sleep(0.1)
    raise AssertionError("no head was fitted")


def queued(client: httpx.Client, queue: str) -> list[dict[str, Any]]:
    """All photos of a queue."""
    found: list[dict[str, Any]] = []
    params = {"queue": queue, "tab": "t"}
    while more := client.get(
        "/api/next", params={**params, "without": ",".join(photo["id"] for photo in found)}
    ).json()["photos"]:
        found += more
    return found


def shown(page: Any) -> str:
    from playwright.sync_api import expect

    expect(page.locator("#classes button").first).to_be_visible(timeout=30_000)
    return str(page.locator("#path").inner_text())


def say(page: Any, truth: dict[str, str]) -> str:
    """Label the photo that is shown, by keys alone; its path."""
    from playwright.sync_api import expect

    path = shown(page)
    name = truth[path].replace("_", " ")
    names = page.locator("#classes button span:first-of-type").all_inner_texts()
    if name in names:
        page.keyboard.press(str(names.index(name) + 1))
    else:
        page.keyboard.press("/")
        page.keyboard.type(name)
        page.keyboard.press("Enter")
    expect(page.locator("#path")).not_to_have_text(path)
    return path


def decided(page: Any, count: int) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#decided")).to_have_text(str(count), timeout=30_000)


@pytest.mark.core
def test_sixty_labels_by_keyboard_in_two_tabs_and_a_kill_in_between(
    trained: Path, labels: Labels
) -> None:
    truth, said = labels.inbox.truth, list[str]()
    args = (*labels.args, f"port={free_port()}")
    with ExitStack() as stack:
        server = stack.enter_context(served(trained, labels.folder, *args, command="label"))
        page = stack.enter_context(opened(server.url, ignored=GONE))
        other = page.context.new_page()
        other.goto(site(server))
        shown(other)
        for _ in range(15):
            said += [say(page, truth), say(other, truth)]
        decided(page, 30)
        assert len(set(said)) == 30  # no photo in both tabs
        assert labels.table == {path: truth[path] for path in said}

        server.stop(signal.SIGKILL)
        said.append(say(page, truth))
        page.get_by_text("The server does not answer. 1 of your decisions wait").wait_for()
        assert len(labels.entries) == 30
        stack.enter_context(served(trained, labels.folder, *args, command="label"))
        decided(page, 31)
        assert page.locator("#notice").is_hidden()
        while len(said) < 60:
            said.append(say(page if len(said) % 3 else other, truth))
        decided(page, 60)
        decided(other, 60)
        assert len(set(said)) == 60
        assert labels.table == {path: truth[path] for path in said}
        assert [entry["number"] for entry in labels.entries] == list(range(1, 61))
        assert len({entry["tab"] for entry in labels.entries}) == 2

        # The error was measured on the way, and is drawn.
        measured = labels.out.with_suffix(".jsonl").read_text().count('"wrong"')
        assert measured >= 8
        assert page.locator("#curve polyline").count() == 1
        low, high = page.locator("#error small").inner_text().split(",")[0].split(" to ")
        error = page.locator("#error").inner_text().split("\u00a0")[0]
        assert float(low.split("\u00a0")[0]) <= float(error) <= float(high.split("\u00a0")[0])

        # Undo goes back in this tab, also over the kill.
        page.keyboard.press("u")
        decided(page, 59)
        mine = [entry for entry in labels.entries if entry["action"] == "undo"]
        assert mine[0]["path"] == shown(page)
        page.reload()
        shown(page)
        page.keyboard.press("Backspace")
        decided(page, 58)
    assert sorted(p.name for p in labels.inbox.root.iterdir()) == sorted(
        [*truth, "same.jpg", "alike.jpg"]
    )


class Stranger(BaseHTTPRequestHandler):
    """A server of something else, which has no such page."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"error": "no such page"}')

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def stranger(port: int) -> Iterator[None]:
    """Another server at the address, until the block ends."""
    with HTTPServer(("127.0.0.1", port), Stranger) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield
        finally:
            server.shutdown()


def test_decisions_wait_for_a_server_that_lets_the_browser_in(
    trained: Path, labels: Labels
) -> None:
    """Another server at the address and a new token: nothing is lost, even if the tab is closed."""
    truth, port = labels.inbox.truth, free_port()
    args = (*labels.args, f"port={port}")
    with ExitStack() as stack:
        server = stack.enter_context(served(trained, labels.folder, *args, command="label"))
        page = stack.enter_context(opened(server.url, ignored="Failed to load resource"))
        said = [say(page, truth)]
        decided(page, 1)
        server.stop(signal.SIGKILL)
        with stranger(port):
            said.append(say(page, truth))
            page.get_by_text("Another server answers at this address. 1 of your").wait_for()
        said.append(say(page, truth))
        digest = blake2b(str(labels.out.resolve()).encode(), digest_size=16).hexdigest()
        (Path(os.environ["PETS_CACHE"]) / f"label/{digest}.token").unlink()
        again = stack.enter_context(served(trained, labels.folder, *args, command="label"))
        page.get_by_text("lets a browser in. 2 of your decisions wait in this browser").wait_for()
        assert len(labels.entries) == 1
        other = page.context.new_page()
        page.close()
        other.goto(again.url)
        other.get_by_text("Sent: 2 of your decisions that waited in this browser.").wait_for()
        decided(other, 3)
        assert labels.table == {path: truth[path] for path in said}
        assert len({entry["tab"] for entry in labels.entries}) == 1
        assert other.evaluate("localStorage.length") == 0


def test_the_command_that_the_page_shows_trains_on_the_labels(
    trained: Path, pets: Pets, inbox: Inbox
) -> None:
    root = pets.folder / "it's [new], a=b $x"
    root.mkdir()
    truth: dict[str, str] = {}
    for name, breed in inbox.truth.items():
        if list(truth.values()).count(breed) < 2:
            truth[name] = breed
            shutil.copy(inbox.root / name, root)
    where = (to_override("data.root", root), to_override("out", "my labels=1, it's.csv"))
    quick = ("plan=frozen4", "plan.stages.head.epochs=3", "data.batch_size=4", *FAST)
    with served(trained, pets.folder, *where, *FAST, command="label") as server:
        client = enter(server)
        photos = queued(client, "unlabelled")
        assert {photo["path"] for photo in photos} == truth.keys()
        (command,) = client.get("/api/about").json()["commands"].values()
        words = shlex.split(command)[1:]
        for photo in photos:
            if photo is photos[-1]:
                line = pets.one_line(*words, *quick)
                assert f"label {truth[photo['path']]}: one photo (" in line
                assert line.endswith("add photos of it or remove it")
            body = {"photo": photo["id"], "version": 0, "action": "label", "tab": "t"}
            answer = {"label": truth[photo["path"]], "key": photo["id"]}
            assert client.post("/api/decide", json=body | answer).status_code == 200
    output = pets(*words, *quick).stdout
    assert "backbone and head (10 classes)" in output
    run = pets.runs()[-1]
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    rows = pd.read_csv(run / "photos.csv")
    assert dict(zip(rows.path, rows.label, strict=True)) == truth
    assert rows.split.value_counts().to_dict() == {"train": 10, "valid": 10}


def test_another_tab_is_told(trained: Path, labels: Labels) -> None:
    with (
        served(trained, labels.folder, *labels.args, command="label") as server,
        opened(server.url, expected=[CONFLICT]) as page,
    ):
        client, path = enter(server), shown(page)
        photo = page.locator("#photo img").get_attribute("src").split("/")[2]
        first, second = sorted(set(labels.inbox.truth.values()))[:2]
        body = {"photo": photo, "version": 0, "action": "label", "label": first, "tab": "other"}
        answer = client.post("/api/decide", json={**body, "key": "a"}).json()
        assert answer["photo"]["path"] == path
        page.get_by_text(f"Another tab has just said {first.replace('_', ' ')}").wait_for()
        assert page.locator("#path").inner_text() == path  # it stays, to be seen
        page.keyboard.press("/")
        page.keyboard.type(second)
        page.keyboard.press("Enter")
        decided(page, 1)
        client.get("/api/state")
        assert labels.table == {path: second}
        # And the other way round.
        client.post("/api/decide", json={**body, "key": "b"})
        page.get_by_text(f"{path}: another tab has changed what you said to").wait_for()
        assert labels.table == {path: first}
        page.keyboard.press("u")
        page.get_by_text("another tab has decided about it since; not undone").wait_for()


@pytest.fixture(scope="module")
def server(
    trained: Path, inbox: Inbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    args = (f"data.root='{inbox.root}'", "out=labels.csv", *FAST)
    with served(trained, folder, *args, command="label") as result:
        yield result


def test_held_out_photos_are_locked(server: Served, trained: Path, inbox: Inbox) -> None:
    client = enter(server)
    about = client.get("/api/about").json()
    assert about["locked"] == 2
    seen: dict[str, str] = {}
    for name in about["queues"]:
        seen |= {photo["path"]: photo["id"] for photo in queued(client, name)}
    assert seen.keys() == inbox.truth.keys()
    # The run's own photos, which lie elsewhere, teach the head; nobody can change them here.
    rows = pd.read_csv(trained / "photos.csv")
    assert not {*seen.values()} & {*rows.content}
    body = {"version": 0, "action": "exclude", "tab": "t", "key": "k"}
    for photo in (*rows.content, "none"):
        answer = client.post("/api/decide", json={**body, "photo": photo})
        assert answer.status_code == 404, answer.text
    test = rows.content[rows.split == "test"].iloc[0]
    assert client.get(f"/api/photos/{test}/large").status_code == 404
    assert not Path(server.running.words[0]).exists()


def test_photos_are_shown_upright_and_only_as_they_were(
    trained: Path, tmp_path: Path, inbox: Inbox
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    names = list(inbox.truth)[:3]
    for name in names:
        shutil.copy(inbox.root / name, root)
    turned, exif = Image.open(root / names[0]).resize((96, 48)), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(root / names[0], exif=exif)
    (root / "broken.jpg").write_bytes((root / names[1]).read_bytes()[:300])
    args = (f"data.root={root}", "out=labels.csv", "near=null", *FAST)
    with served(trained, tmp_path, *args, command="label") as server:
        client = enter(server)
        photos = client.get("/api/next?queue=unlabelled&tab=t").json()["photos"]
        assert [photo["path"] for photo in photos] == sorted(names)
        picture = client.get(f"/api/photos/{photos[sorted(names).index(names[0])]['id']}/large")
        (tmp_path / "got.jpg").write_bytes(picture.content)
        assert Image.open(tmp_path / "got.jpg").size == (48, 96)
        shutil.copy(inbox.root / names[2], root / names[1])
        photo = photos[sorted(names).index(names[1])]["id"]
        answer = client.get(f"/api/photos/{photo}/large")
        assert (answer.status_code, answer.json()["error"]) == (
            409, f"{names[1]}: has changed; start pets label again",
        )  # fmt: skip
        assert "left out 1 photos that cannot be read: broken.jpg" in server.running.out.read_text()


def test_only_who_has_the_token_gets_in(server: Served) -> None:
    with httpx.Client(base_url=site(server)) as stranger:
        for path in ("/", "/?token=wrong", "/api/state", "/api/photos/0/small", "/page.js"):
            answer = stranger.get(path)
            assert (answer.status_code, list(answer.json())) == (403, ["error"])
    client = enter(server)
    assert client.get("/").status_code == 200
    assert client.get("/api/state", headers={"Host": "evil.example"}).status_code == 421
    evil = {"Origin": "https://evil.example"}
    body = {"tab": "t", "key": "k"}
    assert client.post("/api/undo", json=body, headers=evil).status_code == 403
    assert client.post("/api/undo", json=body).status_code == 409
    cookie = next(iter(client.cookies.jar))
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/next?queue=nothing&tab=t", None, 422),
        ("/api/next?queue=unsure&tab=../t", None, 422),
        ("/api/photos/x/large", None, 404),
        ("/api/photos/0/huge", None, 422),
        ("/api/decide", {"tab": "t", "key": "k"}, 422),
        ("/api/nothing", None, 404),
    ],
)
def test_a_wrong_request_is_one_line(
    path: str, body: dict[str, str] | None, status: int, server: Served
) -> None:
    client = enter(server)
    answer = client.post(path, json=body) if body else client.get(path)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_text_can_be_read(server: Served, width: int, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2, AA), and nothing beyond the page's sides."""
    from playwright.sync_api import expect

    with opened(server.url, width, scheme, width == 390) as page:
        shown(page)
        expect(page.locator("#error")).to_contain_text(" to ", timeout=30_000)
        page.locator("summary").click()
        result = page.evaluate(CONTRASTS)
        assert len(result) > 40
        assert min(result)[0] >= 4.5, min(result)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # Photo and classes are seen together, and large enough for a thumb.
        boxes = [
            page.locator(what).bounding_box() for what in ("#photo img", "#classes button >> nth=0")
        ]
        assert boxes[1]["y"] + boxes[1]["height"] < 900
        heights = page.locator("main button:visible").evaluate_all(
            "(all) => all.map((e) => e.getBoundingClientRect().height)"
        )
        assert min(heights) >= 40


def test_what_keys_and_a_screen_reader_find(server: Served) -> None:
    from playwright.sync_api import expect

    with opened(server.url) as page:
        path = shown(page)
        assert f"Photo {path}" == page.locator("#photo img").get_attribute("alt")
        names = page.locator("button:visible, input:visible").evaluate_all(
            "(all) => all.map((e) => e.getAttribute('aria-label') || e.textContent.trim()"
            " || e.labels?.[0]?.textContent.trim())"
        )
        assert all(names)
        # Tab reaches a class; Enter there is that class, not the best guess.
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('#classes') !== null"):
                break
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        second = page.locator("#classes button span:first-of-type").nth(1).inner_text()
        page.keyboard.press("Enter")
        decided(page, 1)
        client = enter(server)
        state = client.get("/api/state").json()
        assert state["news"][-1]["label"].replace("_", " ") == second
        page.keyboard.press("Control+z")
        decided(page, 0)
        # Keys can be switched off.
        page.locator("summary").click()
        page.locator("#keys").uncheck()
        page.keyboard.press("s")
        assert page.locator("#path").inner_text() == path
        page.locator("#keys").check()
        page.keyboard.press("s")
        expect(page.locator("#path")).not_to_have_text(path)
        page.keyboard.press("u")
        expect(page.locator("#path")).to_have_text(path)
        page.keyboard.press("q")
        pressed = page.locator("#queues [aria-pressed=true]")
        assert pressed.get_attribute("value") == "suspects"


def changed(trained: Path, folder: Path, change: Any) -> Path:
    """A copy of the run with another table of photos."""
    run = folder / "run"
    shutil.copytree(trained, run)
    rows = change(pd.read_csv(run / "photos.csv"))
    rows.to_csv(run / "photos.csv", index=False)
    counts = {split: int((rows.split == split).sum()) for split in ("train", "valid", "test")}
    about = json.loads((run / "data.json").read_text()) | counts
    (run / "data.json").write_text(json.dumps(about))
    return run


def test_the_suspects_of_the_runs_own_photos(trained: Path, pets: Pets) -> None:
    """A wrong label is planted: it is among the suspects."""
    from playwright.sync_api import expect

    def plant(rows: pd.DataFrame) -> pd.DataFrame:
        first = rows[rows.split == "train"].index[0]
        plant.path, plant.was = rows.path[first], rows.label[first]
        rows.loc[first, "label"] = sorted(set(rows.label) - {plant.was})[-1]
        return rows

    run = changed(trained, pets.folder, plant)
    with (
        served(run, pets.folder, *FAST, command="label") as server,
        opened(server.url) as page,
    ):
        client = enter(server)
        expect(page.locator("[value=suspects] b")).to_have_text(re.compile("[1-9]"), timeout=30_000)
        found = queued(client, "suspects")
        assert plant.path in [photo["path"] for photo in found]
        assert not {photo["split"] for photo in found} - {"train", "valid"}
    (table,) = (run / "label").glob("*.csv")
    assert table.read_text() == "path,split,given,label,proposed\n"


def test_two_classes_with_one_training_photo_each(pets: Pets, inbox: Inbox) -> None:
    names = sorted(set(inbox.truth.values()))[:2]
    for name in names:
        files = [file for file, breed in inbox.truth.items() if breed == name]
        for split, file in zip(("train", "valid", "new"), files, strict=False):
            folder = pets.folder / "photos" / split / ("." if split == "new" else name)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(inbox.root / file, folder)
    pets.folder.joinpath("photos/new").rename(pets.folder / "new")
    pets("train", "data=folder", "data.root=photos", "data.size=64", "plan=frozen4",
         "plan.stages.head.epochs=4", "precompute=true", *FAST)  # fmt: skip
    (run,) = pets.runs()
    with served(run, pets.folder, "data.root=new", *FAST, command="label") as server:
        client = enter(server)
        photos = client.get("/api/next?queue=helpful&tab=t").json()["photos"]
        while not photos:
            photos = client.get("/api/next?queue=helpful&tab=t").json()["photos"]
        assert len(photos) == 2
        assert [name for name, _ in photos[0]["guesses"]] != []
        state = client.get("/api/state").json()
        assert state["head"]["photos"] == 2
        assert state["left"]["suspects"] == 0


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["data.root=empty"], "empty: no images; expected files ending in"),
        (["out=labels.txt"], "out=labels.txt: expected a file that ends in .csv, or null"),
        (["every=0"], "every=0: expected a number of at least 1"),
        (["near=99"], "near=99: expected bits from 0 to 48, or null"),
        (["data.label_from=folder"], "data.label_from=folder: has no effect on the run's own"),
        (["data.root=others", "data.label_from=folder"],
         "data.root=others: no photo has a label that the run knows"),
        (["cache_dir=file"], "cache_dir"),
        (["out=mine.csv"], "out=mine.csv: exists, and was not written by pets label"),
        (["out=old.csv"], "old.jsonl: its labels are of other classes than the run's"),
        (["split=valid"], "split"),
        (["port=99999"], "port=99999: expected a number of at most 65535"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    args: list[str], line: str, trained: Path, pets: Pets, inbox: Inbox
) -> None:
    (pets.folder / "empty").mkdir()
    (pets.folder / "others/bird").mkdir(parents=True)
    shutil.copy(inbox.root / next(iter(inbox.truth)), pets.folder / "others/bird")
    (pets.folder / "file").write_text("")
    (pets.folder / "mine.csv").write_text("path\n")
    (pets.folder / "old.jsonl").write_text('{"pets label": 1, "classes": ["bird", "fish"]}\n')
    output = pets("label", f"run={trained}", "port=0", *FAST, *args, code=1).stderr
    lines = output.strip().splitlines()
    assert len(lines) == 1, lines
    assert line in lines[0]


def test_a_run_without_validation_photos_is_one_line(trained: Path, pets: Pets) -> None:
    run = changed(trained, pets.folder, lambda rows: rows[rows.split != "valid"])
    line = pets.one_line("label", f"run={run}", "port=0", *FAST)
    assert line.endswith(
        "held no validation photos out, so that no error can be measured; expected a run trained "
        "with some (data.valid_pct=0.2)"
    )


def test_a_second_server_on_the_same_table_is_one_line(
    trained: Path, inbox: Inbox, pets: Pets
) -> None:
    args = (f"data.root='{inbox.root}'", "out=labels.csv", *FAST)
    with served(trained, pets.folder, *args, command="label"):
        line = pets.one_line("label", f"run={trained}", "port=0", *args)
    assert line.startswith("out=labels.csv: another pets label writes it; use its page")
