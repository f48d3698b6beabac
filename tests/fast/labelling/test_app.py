"""The routes of the page, without a server: photos over a restart, and requests that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from pets.labelling import background
from pets.labelling.app import build_app
from pets.labelling.background import Background
from pets.labelling.gate import token_of
from pets.labelling.journal import Measured
from pets.labelling.learn import Fit
from pets.labelling.pool import Pool
from tests.fast.labelling.test_session import PHOTOS, Tabs, item, pool


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield


class Site:
    """The app of a session, asked without a socket."""

    def __init__(self, folder: Path, photos: Pool) -> None:
        self.tabs = Tabs(folder, photos)
        self.background = Background(self.tabs.session, self.tabs.learner, every=5)
        self.app = build_app(self.tabs.session, self.background, {}, lifespan)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://pets")

    def ask(self, path: str, **body: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            async with self.client() as client:
                return await (client.post(path, **body) if body else client.get(path))

        return asyncio.run(call())

    def decide(self, photo: str, key: str = "k", tab: str = "t", label: str = "dog") -> Any:
        body = {"photo": photo, "version": 0, "action": "label", "label": label}
        return self.ask("/api/decide", json={**body, "tab": tab, "key": key})


def with_one_before(photos: Pool) -> Pool:
    """The pool with another photo in front, so that all have other rows."""
    items = [item("a/first.png", "cat", "train"), *photos.items]
    features = np.concatenate([photos.features[:1], photos.features])
    return replace(photos, items=items, features=features, groups=[])


def test_a_tab_that_is_open_over_a_restart_means_the_same_photo(tmp_path: Path) -> None:
    shown = Site(tmp_path, pool()).ask("/api/next?queue=unlabelled&tab=t").json()["photos"]
    assert [photo["path"] for photo in shown] == ["=new/1.png", "=new/2.png", "=new/3.png"]
    again = Site(tmp_path, with_one_before(pool()))
    answer = again.decide(shown[1]["id"])
    assert answer.json()["photo"]["path"] == "=new/2.png"
    (entry,) = again.tabs.session.journal.entries
    assert (entry.path, entry.label) == ("=new/2.png", "dog")
    had = ",".join(photo["id"] for photo in shown[::2])
    assert again.ask(f"/api/next?queue=unlabelled&tab=u&without={had}").json() == {"photos": []}


def test_decisions_about_photos_that_are_not_here_are_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, pool())
    elsewhere, here = (site.tabs.photos.items[row].content for row in (0, 9))
    assert site.decide(elsewhere).status_code == 404
    assert site.decide("none").status_code == 404
    assert site.tabs.session.journal.entries == []
    site.decide(here, "sent")
    # The table goes on with another folder, in which the photo does not lie.
    items = [one for one in pool().items if one.content != here]
    features = pool().features[[row for row in range(len(PHOTOS)) if row != 9]]
    gone = Site(tmp_path, replace(pool(), items=items, features=features, groups=[]))
    assert gone.decide(here, "sent").status_code == 404
    undo = gone.ask("/api/undo", json={"tab": "t", "key": "back"})
    assert (undo.status_code, undo.json()["error"]) == (409, "there is nothing to undo in this tab")
    # Nor is it shown where it is only learned from.
    learned = [replace(one, copies=()) if one.content == here else one for one in pool().items]
    site = Site(tmp_path, replace(pool(), items=learned))
    assert site.ask("/api/undo", json={"tab": "t", "key": "back"}).status_code == 409
    assert len(site.tabs.session.journal.entries) == 1


def test_no_request_fails_the_server(tmp_path: Path) -> None:
    site = Site(tmp_path, pool())
    many = site.ask(f"/api/next?queue=unlabelled&tab=t&without={'9' * 5000}")
    assert len(many.json()["photos"]) == 3
    assert site.ask(f"/api/photos/{'9' * 5000}").status_code == 404
    photo, half = site.tabs.photos.items[9].content, "\ud800"  # of a pair
    whole = {"tab": "t", "key": "k", "photo": photo, "version": 0, "action": "label"}
    wrong = [whole | {name: half} for name in ("label", "tab", "photo", "action", half)]
    for body in ("[" * 5000, "1" * 5000, *map(json.dumps, wrong)):
        answer = site.ask("/api/decide", content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, (body[:200], answer.text)
        assert "\n" not in answer.json()["error"]


def test_the_curve_has_an_interval_at_each_point(tmp_path: Path) -> None:
    site = Site(tmp_path, pool())
    (point,) = site.ask("/api/state").json()["history"]
    assert (point["labels"], point["wrong"], point["photos"]) == (0, 0, 2)
    assert point["interval"] == pytest.approx([0, 0.6576], abs=1e-4)  # Wilson's, of 0 of 2
    # Without validation photos there is nothing to measure.
    for row in (7, 8):
        site.tabs.say(row, "exclude")
    session = site.tabs.session
    session.publish(site.tabs.learner.fit(session.known, session.suspects))
    state = site.ask("/api/state").json()
    assert (state["head"], len(state["history"])) == (None, 1)


def test_a_token_is_kept_and_that_of_another_user_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, cache = tmp_path / "labels.csv", str(tmp_path)
    token = token_of(table, cache)
    assert (len(token), token_of(table, cache)) == (32, token)
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert token_of(table, cache) != token


def test_the_table_is_written_beside_the_server_and_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk others are answered meanwhile, and what comes meanwhile is written at once."""
    site = Site(tmp_path, pool())
    session, begun, go = site.tabs.session, threading.Event(), threading.Event()
    save, written = session.save, list[int]()

    def slowly(lines: Mapping[str, str]) -> None:
        written.append(len(lines))
        begun.set()
        assert go.wait(30)
        save(lines)

    monkeypatch.setattr(session, "save", slowly)

    async def use() -> None:
        async with asyncio.timeout(30), site.client() as client:

            def decide(row: int) -> asyncio.Task[httpx.Response]:
                body = {"photo": site.tabs.photos.items[row].content, "version": 0, "tab": "t"}
                more = {"action": "label", "label": "dog", "key": f"k{row}"}
                return asyncio.create_task(client.post("/api/decide", json=body | more))

            tasks = [decide(9)]
            await asyncio.to_thread(begun.wait, 30)
            tasks += [decide(10), decide(11)]
            while (await client.get("/api/state")).json()["decided"] < 3:
                await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            assert not session.table.exists()
            go.set()
            assert [task.status_code for task in await asyncio.gather(*tasks)] == [200] * 3

    asyncio.run(use())
    assert written == [1, 3]
    assert len(session.table.read_text().splitlines()) == 4


def test_a_table_that_cannot_be_written_is_said_and_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(tmp_path, pool())
    site.tabs.session.table.mkdir()
    photos = [site.tabs.photos.items[row].content for row in (9, 10, 11)]
    for photo in photos[:2]:
        assert site.decide(photo, key=photo).status_code == 200
    assert "nothing is lost, the labels are in" in site.ask("/api/state").json()["problem"]
    assert len(caplog.records) == 1
    site.tabs.session.table.rmdir()
    site.decide(photos[2], key="last")
    assert site.ask("/api/state").json()["problem"] == ""
    assert len(site.tabs.session.table.read_text().splitlines()) == 4


def test_a_first_head_that_cannot_be_fitted_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(tmp_path, pool())
    site.tabs.session.fit = None
    fit, tries = site.tabs.learner.fit, list[dict[str, Any]]()

    async def use() -> None:
        async with asyncio.timeout(30), site.client() as client:
            fitting = asyncio.create_task(site.background.run())
            while len(tries) < 5 or not site.background.heads:
                await asyncio.sleep(0.01)
                if site.background.problem:
                    tries.append((await client.get("/api/state")).json())
            fitting.cancel()

    def failing(*args: Any) -> Fit:
        if len(tries) < 5:
            raise ValueError("no\nmemory")
        return fit(*args)

    monkeypatch.setattr(background, "_AGAIN", 0.01)
    monkeypatch.setattr(site.tabs.learner, "fit", failing)
    with caplog.at_level(logging.WARNING):  # httpx logs its requests
        asyncio.run(use())
    (record,) = caplog.records
    assert record.getMessage() == "the head could not be fitted: no memory"
    assert not record.exc_info
    assert {(state["problem"], state["heads"]) for state in tries[:5]} == {(record.getMessage(), 0)}
    assert site.background.problem == ""


def test_a_long_curve_is_sent_as_some_of_its_points(tmp_path: Path) -> None:
    site = Site(tmp_path, pool())
    points = [Measured(number, 1, 2) for number in range(1999)]
    site.tabs.session.journal.measured[:] = points
    labels = [point["labels"] for point in site.ask("/api/state").json()["history"]]
    assert (labels[0], labels[-1]) == (0, 1998)
    assert 100 < len(labels) < 202
    assert labels == sorted(set(labels))
