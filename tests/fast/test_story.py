"""`pets train` can be read in one sitting: one function tells it."""

import inspect

from pets.train import train

CHAPTERS = (
    "check_signatures(", "load_backbone(", "load_photos(", "prepare_stage(", "fit(", "measure(",
    "report(",
)  # fmt: skip


def test_one_function_of_at_most_eighty_lines_tells_a_training() -> None:
    source = inspect.getsource(train)
    assert len(source.splitlines()) <= 80
    places = [source.index(f" {chapter}") for chapter in CHAPTERS]
    assert places == sorted(places)
