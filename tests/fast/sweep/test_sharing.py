"""Which runs of a sweep share a process."""

import pytest

from pets.sweep.processes import kind_of
from tests.conftest import train_config

HEADS = ("data=folder", "data.root=photos", "plan=frozen4", "precompute.enabled=true")


def test_heads_on_activations_share_a_process() -> None:
    kind = kind_of(train_config(*HEADS))
    assert kind is not None
    for other in ("seed=7", "plan.stages.head.lr=1e-2", "loss=focal", "logger=csv", "logger=none"):
        assert kind_of(train_config(*HEADS, other)) == kind
    # What a Trainer sets for the whole process does not pass to the next run.
    assert kind_of(train_config(*HEADS, "trainer.deterministic=true")) not in (kind, None)


@pytest.mark.parametrize(
    "words",
    [
        ("precompute.enabled=false",),
        ("plan=lesson1",),
        ("report=true",),
        ("logger=wandb",),
        ("trainer.devices=2", "trainer.accelerator=cpu"),
        ("+callbacks.own._target_=mine.Callback",),
        ("+data.prepare._target_=mine.prepare",),
    ],
)
def test_other_runs_have_a_process_of_their_own(words: tuple[str, ...]) -> None:
    assert kind_of(train_config(*HEADS, *words)) is None
