"""The routes of the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, Any

import fastapi
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Lifespan

from pets import __version__
from pets.config import ServeLimits
from pets.report.template import own
from pets.serving.examples import ExamplePhoto
from pets.serving.metrics import INSIDE
from pets.serving.responses import Example, Info, Predictions, Problem, Query, Refusal, problem
from pets.serving.service import Service
from pets.serving.upload import Memory, read_uploads

log = logging.getLogger(__name__)

_BINARY = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": _BINARY, "minItems": 1}},
                "required": ["file"],
            },
        },
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
    },
}
_PROBLEMS: dict[int | str, str] = {
    400: "no image that can be read",
    408: "the upload took too long",
    413: "too many bytes, pixels or photos, or too long to decode",
    415: "no form and no image",
    422: "a parameter is wrong, or the form has no file",
    503: "too busy; come again",
}


def build_app(
    info: Info,
    service: Service,
    examples: list[ExamplePhoto],
    limits: ServeLimits,
    lifespan: Lifespan[FastAPI],
) -> FastAPI:
    """Build the ASGI application: the page and the API."""
    memory = Memory(limits.held_megabytes * 1e6)
    app = FastAPI(
        title="pets serve",
        version=__version__,
        description=f"Classifies photos: {info.architecture}, {len(info.classes)} classes.",
        docs_url=None,  # FastAPI's documentation loads scripts from the internet
        redoc_url=None,
        lifespan=lifespan,
    )
    add_error_handlers(app)

    @app.post(
        "/api/predict",
        summary="Classify photos",
        responses={s: {"model": Problem, "description": why} for s, why in _PROBLEMS.items()},
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(request: Request, query: Annotated[Query, fastapi.Query()]) -> Predictions:
        """A form with one or more files (any field name), or one photo as the body."""
        try:
            with INSIDE.track_inprogress(), memory.share() as hold:
                return await service.predict(await read_uploads(request, limits, hold), query)
        except asyncio.CancelledError as error:  # by uvicorn, after its graceful shutdown time
            raise Refusal(503, "the server is stopping", close=True) from error

    @app.get("/api/info", summary="The model, and what the server takes")
    async def get_info() -> Info:
        return info

    @app.get("/api/examples", summary="Photos to try, of the run's validation split")
    async def get_examples() -> dict[str, list[Example]]:
        paths = [f"api/examples/{number}" for number in range(len(examples))]
        return {
            "examples": [
                Example(label=example.label, photo=path, thumbnail=f"{path}/thumbnail")
                for path, example in zip(paths, examples, strict=True)
            ]
        }

    def find_example(number: int) -> ExamplePhoto:
        if not 0 <= number < len(examples):
            raise Refusal(404, f"example {number}: there are {len(examples)}")
        if not examples[number].file.is_file():
            raise Refusal(404, f"example {number}: its file is gone")
        return examples[number]

    photo_response: dict[str, Any] = {
        "response_class": Response,
        "responses": {
            200: {"content": {"image/*": {"schema": _BINARY}}, "description": "a photo"},
            404: {"model": Problem, "description": "there is no such example"},
            422: {"model": Problem, "description": "no whole number"},
        },
    }

    @app.get("/api/examples/{number}", summary="A photo to try", **photo_response)
    async def get_example(number: int) -> Response:
        return FileResponse(find_example(number).file)

    @app.get("/api/examples/{number}/thumbnail", summary="The same, small", **photo_response)
    async def get_thumbnail(number: int) -> Response:
        return Response(find_example(number).thumbnail, media_type="image/jpeg")

    @app.get("/health", summary="Whether the server answers")
    async def health() -> dict[str, str]:
        return {"status": "ready"}

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def get_metrics() -> Response:
        return Response(generate_latest(), media_type="text/plain; version=1.0.0; charset=utf-8")

    style = own("pets.report", "page.css") + own("pets.serving", "page.css")
    for path, content, media_type in (
        ("/", own("pets.serving", "page.html"), "text/html"),
        ("/page.css", style, "text/css"),
        ("/page.js", own("pets.serving", "page.js"), "text/javascript"),
    ):
        app.add_api_route(path, static(content, media_type), include_in_schema=False)
    return app


def static(content: str, media_type: str) -> Callable[[], Response]:
    """Return an endpoint with a fixed response."""
    return lambda: Response(content, media_type=media_type)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with a Problem."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return error.as_response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:])
        line = f"{key}={str(first['input'])[:80]}: {first['msg']}"
        return problem(line, 422)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        line = f"{request.method} {request.url.path[:80]}: {error.detail}"
        return problem(line, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # never delivered

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem("the server failed; its log says why", 500)
