"""The routes of the page."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Lifespan

from pets.data.content_hash import content_hashes
from pets.data.images import UnreadableImage, open_rgb
from pets.errors import reason_of
from pets.labelling.background import Background
from pets.labelling.learn import HELPFUL, NEAR, SUSPECTS, TYPICAL, UNLABELLED, UNSURE
from pets.labelling.session import Conflict, Session, Written
from pets.report.template import own
from pets.serving.app import add_error_handlers, static
from pets.serving.responses import Refusal

log = logging.getLogger(__name__)
_SIDES = {"large": 1600, "small": 240}  # pixels
_NEWS = 200  # entries
_GUESSES = 9  # keys 1 to 9
_POINTS = 200  # of the curve
Name = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
QUEUES = {
    HELPFUL: "What helps most",
    SUSPECTS: "Suspected labels",
    UNSURE: "Least sure",
    TYPICAL: "Most typical",
    NEAR: "Near duplicates",
    UNLABELLED: "Unlabelled",
}


class Undo(BaseModel):
    """Take back the last decision of a tab."""

    model_config = ConfigDict(extra="forbid")

    tab: Name
    key: Name


class Decision(Undo):
    """A decision of a tab about a photo, which had this version when it was shown."""

    photo: str
    version: int
    action: Literal["label", "exclude", "skip"]
    label: str = ""


def build_app(
    session: Session, background: Background, about: Mapping[str, Any], lifespan: Lifespan[FastAPI]
) -> FastAPI:
    """Build the ASGI application. `about` is what the page shows of the run and the files."""
    app = FastAPI(title="pets label", openapi_url=None, lifespan=lifespan)
    add_error_handlers(app)
    pool, items = session.pool, session.pool.items

    def of_photo(row: int) -> dict[str, Any]:
        item, odds = items[row], session.probabilities(row)
        best = [] if odds is None else odds.argsort(kind="stable")[::-1][:_GUESSES].tolist()
        label, decision = int(session.labels[row]), session.decision(row)
        return {
            "id": item.content,
            "path": item.copies[0].path,
            "copies": [copy.path for copy in item.copies],
            "split": item.split,
            "label": pool.classes[label] if label >= 0 else None,
            "share": float(odds[label]) if odds is not None and label >= 0 else None,
            "suspect": bool((session.suspects == row).any()),
            "decided": decision and decision.action,
            "version": int(session.versions[row]),
            "guesses": [] if odds is None else [[pool.classes[k], float(odds[k])] for k in best],
            "alike": [of_other(other) for other in session.alike(row)[:_GUESSES]],
        }

    def of_other(row: int) -> dict[str, Any]:
        label = int(session.labels[row])
        name = pool.classes[label] if label >= 0 else None
        return {"id": items[row].content, "label": "left out" if session.excluded[row] else name}

    async def written(result: Written) -> dict[str, Any]:
        """Write the table, and tell the tab what it had not seen."""
        background.decided(result.entry)
        try:
            await background.save()
            session.problem = ""
        except OSError as error:
            reason = error.strerror or reason_of(error)
            problem = (
                f"{session.table} cannot be written ({reason}); nothing is lost, the labels are "
                f"in {session.journal.file}"
            )
            if problem != session.problem:
                log.warning("%s", problem)
            session.problem = problem
        unseen = result.unseen
        return {
            "entry": result.entry.number,
            "photo": of_photo(find_shown(result.entry.photo)),
            "unseen": unseen and {"action": unseen.action, "label": unseen.label},
        }

    async def write(decide: Callable[[], Written]) -> dict[str, Any]:
        try:
            result = decide()
        except Conflict as error:
            raise Refusal(409, str(error)) from error
        except OSError as error:
            reason = error.strerror or reason_of(error)
            line = f"{session.journal.file} cannot be written ({reason}); this was not recorded"
            raise Refusal(507, line) from error
        return await written(result)

    def find(content: str) -> int:
        """Return the row of a photo. Tabs know it by its content: one that is open while the
        server starts again would otherwise mean another photo, if some have come or gone."""
        row = session.rows.get(content)
        if row is None:
            raise Refusal(404, f"photo {content[:80]}: is not here; reload the page")
        return row

    def find_shown(content: str) -> int:
        row = find(content)
        if not items[row].copies:
            raise Refusal(404, f"photo {content}: is not one to label")
        return row

    @app.get("/api/about")
    async def get_about() -> dict[str, Any]:
        return {**about, "classes": pool.classes, "queues": QUEUES}

    @app.get("/api/state")
    async def get_state(since: int = 0) -> dict[str, Any]:
        fit, entries = session.fit, session.journal.entries
        news = [entry for entry in entries[-_NEWS:] if entry.number > since]
        points = session.journal.measured
        shown = [*points[: -1 : len(points) // _POINTS + 1], *points[-1:]]
        return {
            "number": entries[-1].number if entries else 0,
            "decided": int(session.decided.sum()),
            "excluded": int(session.excluded.sum()),
            "left": {name: len(session.order(name)) for name in QUEUES},
            "head": None
            if fit is None or not fit.photos
            else {"error": fit.error, "interval": fit.interval, "photos": fit.photos},
            "heads": background.heads,
            "fitting": background.fitting,
            "history": [asdict(point) | {"interval": point.interval} for point in shown],
            "problem": session.problem or background.problem,
            "news": [
                {"photo": e.photo, "tab": e.tab, "action": e.action, "label": e.label}
                for e in news
                if e.photo in session.rows
            ],
        }

    @app.get("/api/next")
    async def get_next(queue: str, tab: Name, without: str = "") -> dict[str, Any]:
        if queue not in QUEUES:
            raise Refusal(422, f"queue={queue[:80]}: expected one of {', '.join(QUEUES)}")
        had = {session.rows[photo] for photo in without.split(",") if photo in session.rows}
        return {"photos": [of_photo(row) for row in session.next(queue, tab, 3, had)]}

    @app.get("/api/photos/{content}")
    async def get_photo(content: str) -> dict[str, Any]:
        return of_photo(find_shown(content))

    @app.post("/api/decide")
    async def decide(asked: Decision) -> dict[str, Any]:
        row = find_shown(asked.photo)
        return await write(
            lambda: session.decide(
                row, asked.action, asked.label, asked.tab, asked.key, asked.version
            )
        )

    @app.post("/api/undo")
    async def undo(asked: Undo) -> dict[str, Any]:
        return await write(lambda: session.undo(asked.tab, asked.key))

    @app.get("/api/photos/{content}/{size}")
    async def get_picture(content: str, size: Literal["large", "small"]) -> Response:
        file = items[find(content)].file
        picture = await asyncio.to_thread(_picture, file, content, _SIDES[size])
        return Response(picture, media_type="image/jpeg")

    style = "".join(own(f"pets.{room}", "page.css") for room in ("report", "serving", "labelling"))
    for path, content, media_type in (
        ("/", own("pets.labelling", "page.html"), "text/html"),
        ("/page.css", style, "text/css"),
        ("/page.js", own("pets.labelling", "page.js", "sending.js"), "text/javascript"),
    ):
        app.add_api_route(path, static(content, media_type))
    return app


def _picture(file: Path, content: str, side: int) -> bytes:
    """A photo as JPEG, upright, with a longer side of at most so many pixels."""
    try:
        # The label is for these bytes.
        if content_hashes([file])[0].hex() != content:
            raise Refusal(409, f"{file.name}: has changed; start pets label again")
        image = open_rgb(file)
    except (OSError, UnreadableImage) as error:
        raise Refusal(404, f"{file.name}: cannot be read any more") from error
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()
