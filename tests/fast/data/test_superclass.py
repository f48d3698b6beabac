"""`data.superclass`: the group of each class, by a regex on its name or a column of the table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pets.config import DataConfig, EvalConfig
from pets.config.validation import typed, typed_values
from pets.data.collect import collect_photos
from pets.data.external import external_photos
from pets.data.photos import Photo, Photos
from pets.data.superclasses import superclasses_of
from pets.errors import ConfigError, DataError
from tests.conftest import composed, train_config

PATHS = {"a.jpg": "Birman", "b.jpg": "Birman", "c.jpg": "beagle", "d.jpg": "42"}


def data(tmp_path: Path, *overrides: str) -> DataConfig:
    return train_config("data=oxford_pets", f"data.root={tmp_path}", *overrides).data


def photos(root: Path) -> Photos:
    return Photos(root, tuple(Photo(path, label, "train") for path, label in PATHS.items()))


def table(root: Path, *species: str) -> DataConfig:
    rows = zip(PATHS.items(), species, strict=True)
    lines = [f"{path},{label},{group}\n" for (path, label), group in rows]
    (root / "labels.csv").write_text("".join(["path,label,species\n", *lines]))
    return train_config(
        "data=table", f"data.root={root}", "data.table=labels.csv", "data.superclass=species",
        "data.path_column=path", "data.label_column=label",
    ).data  # fmt: skip


def test_oxfords_cats_have_a_capital(tmp_path: Path) -> None:
    assert superclasses_of(data(tmp_path), photos(tmp_path)) == {"Birman": "cat", "beagle": "dog"}


def test_a_column_names_the_group_of_each_photos_class(tmp_path: Path) -> None:
    config = table(tmp_path, "cat", "", "dog", "")
    for path in PATHS:
        (tmp_path / path).touch()
    assert superclasses_of(config, photos(tmp_path)) == {"Birman": "cat", "beagle": "dog"}


def test_a_class_has_one_group(tmp_path: Path) -> None:
    for path in PATHS:
        (tmp_path / path).touch()
    with pytest.raises(DataError) as caught:
        superclasses_of(table(tmp_path, "cat", "dog", "dog", ""), photos(tmp_path))
    assert str(caught.value) == (
        "data.superclass=species: Birman has cat, dog; expected one superclass for each class"
    )
    both = data(tmp_path, "data.superclass={cat: '^[A-Z]', dog: '[a-z]$'}")
    with pytest.raises(DataError, match="Birman has cat, dog"):
        superclasses_of(both, photos(tmp_path))


def test_groups_of_no_class_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = data(tmp_path, "data.superclass={cat: '^xx', dog: '^yy'}")
    assert superclasses_of(config, photos(tmp_path)) == {}
    assert (
        "data.superclass={'cat': '^xx', 'dog': '^yy'}: none of the classes has one" in caplog.text
    )


def test_what_names_no_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"superclass names a column, which only data.table has"):
        data(tmp_path, "data.superclass=species")
    with pytest.raises(ConfigError, match=r"data.superclass=.*expected a column of data.table"):
        data(tmp_path, "data.superclass={cat: '[A-'}")


def pets_of_two_species(root: Path) -> Path:
    for name in ("Birman", "Sphynx", "beagle", "pug"):
        for number in range(5):
            Image.new("RGB", (8, 6), (number, 0, 0)).save(root / f"{name}_{number}.jpg")
    return root


def test_the_group_can_be_the_label(tmp_path: Path) -> None:
    pets_of_two_species(tmp_path)
    config = data(tmp_path, "data.images=.", "data.label_from=superclass")
    photos = collect_photos(config)
    assert Counter(photo.label for photo in photos.rows) == {"cat": 10, "dog": 10}
    assert {p.label for p in photos.rows if p.path[0].isupper()} == {"cat"}
    assert superclasses_of(config, photos) == {}, "cats and dogs are no groups of others"

    (tmp_path / "42_1.jpg").touch()
    with pytest.raises(DataError, match=r"superclass=.* has no group for the class of 1 of 21"):
        collect_photos(config)


def test_other_photos_are_labelled_by_their_group_as_well(tmp_path: Path) -> None:
    config = data(tmp_path, "data.label_from=superclass")
    root = pets_of_two_species(tmp_path)
    asked = typed(EvalConfig, composed("run=r", f"data.root={root}", name="eval")).data
    found = external_photos(asked, config, ["cat", "dog"])
    assert Counter(photo.label for photo in found.rows) == {"cat": 10, "dog": 10}


def test_labels_from_groups_need_patterns(tmp_path: Path) -> None:
    for key, line in (
        (
            "superclass",
            "label_from=superclass needs a regex on the class for each superclass",
        ),
        ("label_regex", "label_from=superclass needs a regex, as in"),
    ):
        with pytest.raises(ConfigError, match=line):
            data(tmp_path, "data.label_from=superclass", f"data.{key}=null")


def test_runs_from_before_have_none(tmp_path: Path) -> None:
    values = data(tmp_path).model_dump(by_alias=True)
    del values["superclass"]
    config = typed_values(DataConfig, values)
    assert superclasses_of(config, photos(tmp_path)) == {}
