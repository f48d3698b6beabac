"""torch's compiler on real networks: eager's rows, compiled once."""

import pytest
import torch
from torch._dynamo.utils import counters

from tests.fast.test_engine import assert_eagers_rows, made, photos, trained


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_compiled_for_every_batch_size_at_once(name: str) -> None:
    torch.compiler.reset()
    counters.clear()
    net = trained(name)
    assert_eagers_rows(made("compile", net, photos(4)), net, name)
    assert counters["stats"]["unique_graphs"] == 1
