"""What a training says at its end."""

import logging
from pathlib import Path

import pytest

from pets.metrics import always_measured
from pets.run_dir import RunDir
from pets.training.console import log_results


@pytest.mark.parametrize(("module", "to"), [(None, "safetensors"), ("own_network", "onnx")])
def test_what_to_type_next_is_said(
    module: str | None, to: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = {"valid": {"accuracy": 0.9, "error_rate": 0.1, "mean_class_accuracy": 0.8}}
    results["valid"]["photos"] = 1200
    run = tmp_path / "a_run"
    config = {"model": {"module": module}}
    own = " trust=true" if module else ""
    with caplog.at_level(logging.INFO):
        log_results(RunDir.prepare(run, config, []), always_measured(), results, 61)
    lines = caplog.messages
    assert lines[1].startswith("valid  accuracy 90.00 %")
    assert lines[lines.index("\nnext:") + 1 :] == [
        f"  pets predict run={run}{own} source=<photo or folder>",
        f"  pets interpret run={run}{own}",
        f"  pets serve run={run}{own}",
        f"  pets export run={run}{own} to={to}",
        f"  tensorboard --logdir {tmp_path}",
    ]
