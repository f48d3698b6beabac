"""The lr finder in a process that is one of two ranks, for test_mock_training.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pets.data.prepare import prepare_photos
from pets.distributed.process_group import process_group
from pets.lr_finder.range_test import record
from pets.models.classifier import new_backbone
from pets.training.module import new_model
from pets.training.stage import Inputs, Stage
from tests.conftest import train_config


def main(out: Path, overrides: list[str]) -> None:
    """Write the curve and the photos that this rank drew."""
    config = train_config(*overrides)
    backbone, preprocess, _ = new_backbone(config.model, config.seed)
    photos = prepare_photos(config.data)
    model = new_model(config, backbone, preprocess, photos.classes)
    two = {**config.trainer, "accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    plan = config.plan.stages["head"]
    stage = Stage.of_plan("head", plan, Inputs(config.size_of(plan)), config.seed)
    with process_group():
        curve = record(stage, model, photos, config.model_copy(update={"trainer": two}))
    result = {**curve.as_json(), "choice": curve.choose()}
    out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
