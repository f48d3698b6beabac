"""`pets export`: export a trained run to plain torch, onnxruntime or timm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from pets.config import ExportConfig
from pets.config.validation import typed

SCHEMA = ExportConfig


def run(cfg: DictConfig) -> None:
    """Write every requested format; each is verified on the run's held-out photos."""
    config = typed(ExportConfig, cfg)
    from pets.run_dir import RunDir

    run_dir = RunDir.open_finished(config.run, config.trust)

    import torch

    from pets.data.splits import TEST
    from pets.export.formats import FORMATS
    from pets.export.int8 import CALIBRATION
    from pets.export.metadata import collect_metadata
    from pets.export.push import check_push, push
    from pets.export.reference import load_reference
    from pets.export.write import check_formats, export
    from pets.io.atomic import check_writable
    from pets.system.cpu import keep_freed_memory
    from pets.training.checkpoints import load_run
    from pets.training.library_logs import silence_lightning
    from pets.training.looks import count_look
    from pets.training.table import contents_of_test
    from pets.unsure.fit import promise_of

    silence_lightning()
    keep_freed_memory()
    for name in config.formats:
        FORMATS[name].need_packages()
    if config.push is not None:
        check_push(config)
    trained = load_run(run_dir, config.ckpt)
    out = Path(config.out) if config.out else run_dir.path / "export"
    plain = trained.model.without_adapters()
    check_formats(config.formats, plain, out)
    check_writable(out)
    promise = promise_of(
        trained, config.ckpt, config, config.data.root, torch.device("cpu"),
        config.data.batch_size or trained.config.data.batch_size, config.data.num_workers,
    )  # fmt: skip
    reference = load_reference(trained, config.data, CALIBRATION if config.int8 else 0)
    if reference.split == TEST or (promise is not None and reference.test):
        count_look(run_dir, contents_of_test(run_dir), "export")
    collected = collect_metadata(reference, config.ckpt, config.licence)
    metadata = replace(collected, trained=replace(trained, model=plain), promise=promise)
    for name in config.formats:
        export(name, out, metadata, reference, config.int8)
    if config.push is not None:
        push(out / "hub", config)
