"""torch's compiler on real networks: eager's rows, compiled once."""

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from tests.fast.features.test_engine import assert_eagers_rows, made, photos, trained
from tests.integration.conftest import FLOAT, Pets
from tests.integration.runs import metrics, weights


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_compiled_for_every_batch_size_at_once(name: str) -> None:
    torch.compiler.reset()
    counters.clear()
    net = trained(name)
    assert_eagers_rows(made("compile", net, photos(4)), net, name)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_compiled_run_leaves_an_ordinary_checkpoint(tmp_path: Path, drawn: Path) -> None:
    pets = Pets(tmp_path)
    args = ("model=resnet18", "model.weights=none", "data.size=64", "data.batch_size=16", FLOAT)
    short = ("plan.stages.head.epochs=2", "plan.stages.body.epochs=2", "trainer.accelerator=cpu")
    for compiled in ("false", "true"):
        pets("train", f"data.root={drawn}", *args, *short, f"compile={compiled}")
    plain, compiled_run = pets.runs()
    assert list(weights(plain)) == list(weights(compiled_run))
    for ours, theirs in zip(metrics(compiled_run), metrics(plain), strict=True):
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), abs=1e-3)
        assert float(ours["valid_loss"]) == pytest.approx(float(theirs["valid_loss"]), abs=1e-3)
    assert "accuracy" in pets("eval", f"run={compiled_run}").stdout
