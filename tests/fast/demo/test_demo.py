"""The drawn pets: the same seed gives the same files, and they are what the config expects."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pets.data.prepare import prepare_photos
from pets.demo import BREEDS, draw_pet, draw_pets
from tests.conftest import train_config


def test_an_image_depends_on_seed_breed_and_number() -> None:
    first = np.asarray(draw_pet(0, 1, 64, 0))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, draw_pet(0, 1, 64, 0))
    for other in (draw_pet(1, 1, 64, 0), draw_pet(0, 2, 64, 0), draw_pet(0, 1, 64, 1)):
        assert np.abs(first - np.asarray(other, dtype=np.int16)).mean() > 5


def test_the_set_is_complete_and_labelled_by_file_names(drawn: Path) -> None:
    photos = prepare_photos(train_config(f"data.root={drawn}").data)
    assert photos.classes == sorted(breed.name for breed in BREEDS)
    assert set(Counter(p.label for p in photos.rows).values()) == {10}
    assert Image.open(drawn / photos.rows[0].path).format == "JPEG"
    # Cats are Capitalised, dogs lower case, as in the Oxford pets.
    assert {b.name[0].isupper() == (b.species == "cat") for b in BREEDS} == {True}


def test_an_existing_folder_is_not_changed(drawn: Path) -> None:
    with pytest.raises(FileExistsError):
        draw_pets(drawn)
