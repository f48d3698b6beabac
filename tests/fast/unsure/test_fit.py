"""Which training photos a calibration is fitted on."""

from __future__ import annotations

from collections import Counter

from pets.data.photos import Photo
from pets.unsure.fit import _sample


def test_many_training_photos_are_thinned_out_by_class() -> None:
    rows = [Photo(f"{n}.jpg", "rare" if n % 50 == 0 else "common", "train") for n in range(1000)]
    assert Counter(row.label for row in _sample(rows, 200)) == {"rare": 20, "common": 100}
    assert Counter(row.label for row in _sample(rows, 5000)) == {"rare": 20, "common": 20}
    assert sorted(_sample(rows, 2), key=rows.index) == rows
    assert _sample(rows, 200) == _sample(rows, 200)
    taken = [int(row.path.removesuffix(".jpg")) for row in _sample(rows, 200)]
    assert max(taken) - min(taken) > 900  # from the whole table, not from its start
