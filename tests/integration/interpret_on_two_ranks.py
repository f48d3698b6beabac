"""A trained run studied in a process that is one of two ranks, for test_interpret.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pets.data.photos import SPLITS
from pets.distributed.process_group import process_group
from pets.interpretation.analysis import analyse
from pets.run_dir import RunDir
from pets.training.evaluation import load_run, photos_of_run


def main(out: Path, run: str) -> None:
    """Write the predictions table that this rank ends with, and the patches' photos."""
    trained = load_run(RunDir.open_finished(run))
    two = {**trained.config.trainer, "accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    trained = replace(trained, config=trained.config.model_copy(update={"trainer": two}))
    photos = photos_of_run(trained.run, trained.config.data.root, *SPLITS)
    with process_group():
        found = analyse(trained, photos, "test", trained.config.interpret)
    best = [
        [(patch.index, round(patch.activation, 3)) for patch in patches]
        for stage in found.stages
        for patches in stage.patches.values()
    ]
    thumbnails = [len(found.extracted.thumbnails[index]) for index in found.indices]
    found.all_predictions.save(out, patches=best, thumbnails=thumbnails)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
