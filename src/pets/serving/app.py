"""The paths of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import fastapi
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pets import __version__
from pets.serving.answers import Answers
from pets.serving.examples import ExamplePhoto
from pets.serving.limits import Gate, Refusal
from pets.serving.meters import Meters
from pets.serving.page import PAGE, page_file
from pets.serving.schema import Answer, Example, Examples, Health, Info, Problem, Query
from pets.serving.upload import read_uploads

PREDICT, HEALTH, METRICS = "/api/predict", "/health", "/metrics"
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
_PROBLEMS = {
    400: "no image that can be read",
    408: "the upload took too long",
    413: "too many bytes, pixels or photos, or too long to decode",
    415: "no form and no image",
    422: "a parameter is wrong, or the form has no file",
    503: "too busy; come again",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {s: {"model": Problem, "description": _PROBLEMS[s]} for s in statuses}


def build_app(
    info: Info, answers: Answers, examples: list[ExamplePhoto], gate: Gate, meters: Meters
) -> FastAPI:
    """The page and the API. FastAPI's own documentation would load scripts from the net."""
    app = FastAPI(
        title="pets serve",
        version=__version__,
        description=f"Names what is on photos: {info.architecture}, {len(info.classes)} classes.",
        docs_url=None,
        redoc_url=None,
    )
    _refuse_in_one_line(app)

    @app.post(
        PREDICT,
        summary="Name what is on photos",
        responses=_problems(*_PROBLEMS),
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(request: Request, query: Annotated[Query, fastapi.Query()]) -> Answer:
        """A form with one or more files (any field name), or one photo as the body."""
        with gate.enter() as held:
            return await answers.answer(await read_uploads(request, held), held, query)

    @app.get("/api/info", summary="The model, and what the server takes")
    async def get_info() -> Info:
        return info

    @app.get("/api/examples", summary="Photos to try")
    async def get_examples() -> Examples:
        return Examples(
            examples=[
                Example(
                    label=example.label,
                    photo=f"api/examples/{number}",
                    thumbnail=f"api/examples/{number}/thumbnail",
                )
                for number, example in enumerate(examples)
            ]
        )

    def example(number: int) -> ExamplePhoto:
        if not 0 <= number < len(examples):
            raise Refusal(404, f"example {number}: there are {len(examples)}")
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
    def get_example(number: int) -> Response:
        try:
            content, kind = example(number).content()
        except OSError as error:
            raise Refusal(404, f"example {number}: its file is gone") from error
        return Response(content, media_type=kind)

    @app.get("/api/examples/{number}/thumbnail", summary="The same, small", **photo_response)
    async def get_thumbnail(number: int) -> Response:
        return Response(example(number).thumbnail, media_type="image/jpeg")

    @app.get(HEALTH, summary="Whether photos are named", responses=_problems(503))
    async def health() -> Health:
        if not answers.alive:
            raise Refusal(503, "the network's thread has ended; start the server again")
        return Health(status="ready")

    @app.get(
        METRICS,
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(meters.text(), media_type="text/plain; version=1.0.0; charset=utf-8")

    def serve(name: str) -> Callable[[], Response]:
        content, kind = page_file(name)
        return lambda: Response(content, media_type=kind)

    for path, name in PAGE.items():
        app.add_api_route(path, serve(name), include_in_schema=False)
    return app


def counted(app: FastAPI) -> frozenset[str]:
    """The paths that are counted by their name; there are a few of them, whatever is asked for."""
    return frozenset(getattr(route, "path", "") for route in app.routes)


def _refuse_in_one_line(app: FastAPI) -> None:
    """Whatever goes wrong, the answer is a Problem."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return JSONResponse({"error": error.line}, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        key = ".".join(str(part) for part in found["loc"][1:])
        given = str(found["input"])[:80]
        return JSONResponse({"error": f"{key}={given}: {found['msg']}"}, 422)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        line = f"{request.method} {request.url.path[:80]}: {error.detail}"
        return JSONResponse({"error": line}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed; its log says why"}, 500)
