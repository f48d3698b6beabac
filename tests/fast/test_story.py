"""`pets train` is one short function."""

import inspect

from pets.train import train

STEPS = (
    "check_signatures(", "load_backbone(", "load_photos(", "prepare_stage(", "fit(", "measure(",
    "report(",
)  # fmt: skip


def test_training_is_one_function_of_at_most_eighty_lines_in_order() -> None:
    source = inspect.getsource(train)
    assert len(source.splitlines()) <= 80
    positions = [source.index(f" {step}") for step in STEPS]
    assert positions == sorted(positions)
