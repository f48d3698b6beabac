"""LitServe's side of bench/serve.py: the same network, the same way to it, LitServe's batching."""

import sys
from typing import Any

import litserve
import torch
from fastapi import Request

from pets.evaluation import load_run
from pets.memory import keep_freed_memory
from pets.run_dir import RunDir
from pets.serving.look import Eye, Found, Photo


class Named(litserve.LitAPI):
    def __init__(self, run: str, **options: Any) -> None:
        super().__init__(**options)
        self.run = run

    def setup(self, device: str) -> None:
        keep_freed_memory()
        trained = load_run(RunDir.open_finished(self.run))
        self.eye = Eye(trained.model, trained.temperature or 1.0, torch.device(device))
        self.classes = trained.model.classes

    def decode_request(self, request: Request) -> Photo:
        return self.eye.read(request["file"].file.read(), "photo", False, 50_000_000)

    def batch(self, inputs: list[Photo]) -> list[Photo]:
        return inputs

    def predict(self, photos: list[Photo]) -> list[Found]:
        return self.eye.look(photos)

    def unbatch(self, output: list[Found]) -> list[Found]:
        return output

    def encode_response(self, found: Found) -> dict[str, Any]:
        rows = sorted(zip(found.probabilities, self.classes, strict=True), reverse=True)[:5]
        return {"predictions": [{"name": name, "probability": p} for p, name in rows]}


if __name__ == "__main__":
    run, port = sys.argv[1:]
    api = Named(run, max_batch_size=16, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")
