"""LitServe's side of bench/serve.py: the same network, the same way to it, LitServe's batching."""

import sys
from typing import Any

import litserve
import torch
from fastapi import Request

from pets.data.images import decode_rgb
from pets.data.transforms import CentreCrop, to_tensor
from pets.run_dir import RunDir
from pets.serving.predictor import Photo, Prediction, Predictor
from pets.system.cpu import keep_freed_memory
from pets.training.checkpoints import load_run


class Named(litserve.LitAPI):
    def __init__(self, run: str, **options: Any) -> None:
        super().__init__(**options)
        self.run = run

    def setup(self, device: str) -> None:
        keep_freed_memory()
        trained = load_run(RunDir.open_finished(self.run))
        self.predictor = Predictor(trained.model, trained.temperature or 1.0, torch.device(device))
        self.classes = trained.model.classes
        self.crop = CentreCrop(trained.model.size, trained.model.preprocess)

    def decode_request(self, request: Request) -> Photo:
        pixels = to_tensor(decode_rgb(request["file"].file.read(), "photo"))
        return Photo(self.crop(pixels), False)

    def batch(self, inputs: list[Photo]) -> list[Photo]:
        return inputs

    def predict(self, photos: list[Photo]) -> list[Prediction]:
        return self.predictor.predict(photos)

    def unbatch(self, output: list[Prediction]) -> list[Prediction]:
        return output

    def encode_response(self, found: Prediction) -> dict[str, Any]:
        rows = sorted(zip(found.probabilities, self.classes, strict=True), reverse=True)[:5]
        return {"predictions": [{"name": name, "probability": p} for p, name in rows]}


if __name__ == "__main__":
    run, port = sys.argv[1:]
    api = Named(run, max_batch_size=16, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")
