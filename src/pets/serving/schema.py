"""What the API answers: the types that its OpenAPI shows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Query(BaseModel):
    """What may be asked beside the photos."""

    model_config = ConfigDict(extra="forbid")

    top_k: Annotated[int, Field(ge=1, description="how many classes, the most probable first")] = 5
    gradcam: Annotated[bool, Field(description="say where the network looked, too")] = False


class Named(BaseModel):
    """A class and its probability."""

    name: str
    probability: float


class Box(BaseModel):
    """A part of a photo, in shares of its width and height."""

    left: float
    top: float
    width: float
    height: float


class Looked(BaseModel):
    """Grad-CAM for the most probable class: `values` row by row, from 0 to 1, all zero where
    nothing speaks for it; they lie over the part that the network sees."""

    name: str
    width: int
    height: int
    values: list[float]


class PhotoAnswer(BaseModel):
    """What is on one photo; `sure` where the first class has at least the server's threshold."""

    file: str
    width: int = Field(description="in pixels, upright")
    height: int
    seen: Box = Field(description="what the network sees of it")
    sure: bool
    predictions: list[Named]
    gradcam: Looked | None = None


class PhotoProblem(BaseModel):
    """Why a photo among several has no answer, and the status that it would get alone."""

    file: str
    error: str
    status: int


class Answer(BaseModel):
    """A result a photo, in their order. A single photo that cannot be read is a Problem instead."""

    results: list[PhotoAnswer | PhotoProblem]


class Problem(BaseModel):
    """Why a request has no answer, in one line."""

    error: str


class Example(BaseModel):
    """A photo to try, its label, and where it and a small picture of it are."""

    label: str
    photo: str
    thumbnail: str


class Examples(BaseModel):
    """Photos of the run's validation split."""

    examples: list[Example]


class Info(BaseModel):
    """The model, and what the server takes."""

    run: str
    stage: str
    architecture: str
    classes: list[str]
    size: list[int] = Field(description="height and width of the network's input, in pixels")
    preprocess: dict[str, Any] = Field(description="mean and std of 0..1 pixels, and so on")
    temperature: float = Field(description="the logits are divided by it")
    threshold: float
    metrics: dict[str, dict[str, float]] = Field(description="by split")
    limits: dict[str, float]
    formats: list[str]


class Health(BaseModel):
    """`ready`, as long as photos are named."""

    status: str
