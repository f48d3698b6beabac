"""Requests and responses of the API, as in its OpenAPI document, and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse


class Query(BaseModel):
    """The parameters of a request for predictions."""

    model_config = ConfigDict(extra="forbid")

    top_k: Annotated[int, Field(ge=1, description="how many classes, the most probable first")] = 5
    gradcam: Annotated[bool, Field(description="add where the network looked")] = False


class ClassProbability(BaseModel):
    """A class and its probability."""

    name: str
    probability: float


class Box(BaseModel):
    """A part of a photo, in shares of its width and height."""

    left: float
    top: float
    width: float
    height: float


class Cam(BaseModel):
    """Grad-CAM for the most probable class.

    `values` are row by row, from 0 to 1, over the part of the photo that the network sees; all zero
    if nothing in the photo supports the class.
    """

    name: str
    width: int
    height: int
    values: list[float]


class Judged(BaseModel):
    """What a server with `unsure=auto` says of a photo beside its probabilities."""

    set: list[str] = Field(description="the classes that it may show, most probable first")
    superclass: str | None = Field(description="the group of all of these, if they have one group")
    none_of_these: float = Field(description="from 1 on it shows probably none of the classes")
    unsure: bool = Field(description="the set has several classes, or it shows none of them")


class PhotoPrediction(BaseModel):
    """The classes of a photo.

    `sure` is true if the first one reaches the server's threshold, and with `unsure=auto` if it is
    the only one that the photo may show.
    """

    file: str
    width: int = Field(description="in pixels, upright")
    height: int
    seen: Box = Field(description="what the network sees of it")
    sure: bool
    predictions: list[ClassProbability]
    judged: Judged | None = None
    gradcam: Cam | None = None


class PhotoError(BaseModel):
    """Why one photo of several has no prediction, and its HTTP status if sent on its own."""

    file: str
    error: str
    status: int


class Predictions(BaseModel):
    """A result for each photo, in order; a single photo that cannot be read is a Problem."""

    results: list[PhotoPrediction | PhotoError]


class Problem(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class Example(BaseModel):
    """A photo to try: its label, and the paths of the photo and of its thumbnail."""

    label: str
    photo: str
    thumbnail: str


class Info(BaseModel):
    """The model and the server's limits."""

    run: str
    stage: str
    architecture: str
    classes: list[str]
    size: list[int] = Field(description="height and width of the network's input, in pixels")
    preprocess: dict[str, Any] = Field(description="mean and std of 0..1 pixels, and so on")
    temperature: float = Field(description="the logits are divided by it")
    threshold: float
    unsure: dict[str, Any] | None = Field(description="with unsure=auto: what is promised, reached")
    metrics: dict[str, dict[str, float]] = Field(description="by split")
    limits: dict[str, float]
    formats: list[str]


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status of the response.
        line: The error in one line.
        close: Whether to close the connection after the response: the request was not read.
    """

    def __init__(self, status: int, line: str, close: bool = False) -> None:
        super().__init__(line)
        self.status, self.line, self.close = status, line, close

    def as_response(self) -> JSONResponse:
        """The JSON response."""
        retry = {"Retry-After": "1"} if self.status == 503 else {}
        headers = retry | ({"Connection": "close"} if self.close else {})
        return problem(self.line, self.status, headers)


def problem(line: str, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a Problem.

    Of a request's text, JSON may escape half of a surrogate pair, which no response can hold: it
    becomes a question mark.
    """
    return JSONResponse({"error": line.encode(errors="replace").decode()}, status, headers)
