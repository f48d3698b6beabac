"""A hundred runs, and what TensorBoard itself finds of the runs of a sweep."""

from pathlib import Path

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.integration.conftest import Pets
from tests.integration.runs import status
from tests.integration.test_sweep import SHORT


def test_a_hundred_runs(pets: Pets, drawn: Path) -> None:
    """None lost, doubled or mixed up: each directory's name, config and result belong together."""
    pets("train", "-m", f"data.root={drawn}", *SHORT, "logger=none", "seed=range(0,100)")
    runs = pets.runs()
    assert [run.name for run in runs] == [f"{n:02}_seed{n}" for n in range(100)]
    assert len({status(run)["identity"] for run in runs}) == 100
    for seed, run in enumerate(runs):
        assert status(run)["state"] == "finished"
        assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == seed
        assert yaml.safe_load((run / "overrides.yaml").read_text())[-1] == f"seed={seed}"
        log = (run / "train.log").read_text()
        assert log.count("stage head") == 1
        assert f"run={run.relative_to(pets.folder)}" in log
    losses = {status(run)["results"]["valid"]["loss"] for run in runs}
    assert len(losses) == 100


def test_tensorboard_finds_scalars_pictures_and_hparams(pets: Pets, drawn: Path) -> None:
    args = [word for word in SHORT if word != "callbacks=none"]
    rates = "plan.stages.head.lr=1e-3,1e-2"
    pets("train", "-m", f"data.root={drawn}", *args, "report=true", rates)
    assert len(pets.runs()) == 2
    for run in pets.runs():
        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
        assert {"train/loss", "valid/error_rate", "lr/head"} <= set(events.Tags()["scalars"])
        assert len(events.Tags()["images"]) >= 3
        config = yaml.safe_load((run / "config.yaml").read_text())
        given = hparams(events)
        assert given["plan.stages.head.lr"] == config["plan"]["stages"]["head"]["lr"]
        assert given["seed"] == config["seed"]
        assert given["model.name"] == "tf_efficientnet_lite0"
        results = status(run)["results"]
        for split in ("valid", "test"):
            (metric,) = events.Scalars(f"hparams/{split}_error_rate")
            assert abs(metric.value - results[split]["error_rate"]) < 1e-6


def hparams(events: EventAccumulator) -> dict[str, object]:
    """What the HPARAMS tab reads: the values with which a session of the run began."""
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    result = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in result.items()}
