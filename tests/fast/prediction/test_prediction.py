"""Prediction to files: every photo once, also after an interruption, and atomic writes."""

import csv
import json
import logging
import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pets.data.transforms import Preprocess
from pets.errors import ConfigError, DataError
from pets.io.csv_cells import read_cell
from pets.prediction.job import Options, PredictionSummary, predict
from pets.prediction.output import Output
from pets.prediction.sources import Source, find_source
from pets.prediction.stream import Network
from pets.prediction.table import FORMATS, build_table

CLASSES = ["red", "green", "error"]
OPTIONS = Options(
    batch_size=2, threads=2, shard=3, tta=1, temperature=1.0, top_k=None, checkpoint="c"
)  # fmt: skip


class Colours(nn.Module):
    """Logits are the mean red, green and blue: which colour a photo is."""

    classes, size, preprocess = CLASSES, (8, 8), Preprocess((0, 0, 0), (1, 1, 1), "bilinear", 1.0)
    seen = 0

    def forward(self, photos: Tensor) -> Tensor:
        self.seen += len(photos)
        return photos.mean((2, 3))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight: 0.png is the reddest, 7.png the bluest; the left quarter of each is black."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(8):
        image = Image.new("RGB", (16, 8))
        image.paste((255 - 30 * number, 40, 30 * number), (4, 0, 16, 8))
        image.save(tmp_path / f"photos/{number}.png")
    return tmp_path / "photos"


def named(
    out: str, options: Options = OPTIONS, source: str = "photos", model: Any = None
) -> tuple[PredictionSummary, int]:
    """Return the summary, and the number of views passed through the network."""
    model = model or Colours()
    network = Network(model, torch.device("cpu"))
    done = predict(network, find_source(source), Output.parse(out), options, 5)
    assert done is not None  # of one process
    return done, model.seen


def names_in(folder: str) -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


def rows(out: str) -> list[dict[str, str]]:
    with Path(out).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_format_holds_the_same_rows(photos: Path) -> None:
    (photos / "3.png").write_bytes(b"no photo")
    done, seen = named("out/p.csv")
    assert (done.photos, done.unreadable, done.reused, seen) == (8, 1, 0, 7)
    assert [row["file"] for row in done.rows] == [f"photos/{n}.png" for n in range(5)]
    table = rows("out/p.csv")
    names = ["file", "prediction", "probability", "red", "green", "class:error", "error"]
    assert list(table[0]) == names
    assert [row["file"] for row in table] == [f"photos/{n}.png" for n in range(8)]
    assert [row["prediction"] for row in table] == ["red"] * 3 + [""] + ["red"] + ["error"] * 3
    assert table[3]["error"] == "photos/3.png: cannot be read as an image (not a known format)"
    assert done.errors == [table[3]["error"]]
    assert table[3]["red"] == ""
    # The middle of the photo, which the network sees, is (255, 40, 0).
    expected = torch.tensor([1, 40 / 255, 0]).double().softmax(0)
    first = [float(table[0][c]) for c in ("red", "green", "class:error")]
    assert first == pytest.approx(expected.tolist(), abs=1e-3)
    assert table[0]["probability"] == table[0]["red"]

    named("out/p.json")
    named("out/p.PARQUET")
    named("out/shards/")
    objects = json.loads(Path("out/p.json").read_text())
    assert [[str(v if v is not None else "") for v in row.values()] for row in objects] == [
        list(row.values()) for row in table
    ]
    one, many = pd.read_parquet("out/p.PARQUET"), pd.read_parquet("out/shards")
    assert one.equals(pd.DataFrame(objects, columns=names))
    assert many.equals(one)
    assert names_in("out") == ["p.PARQUET", "p.csv", "p.json", "shards"]
    assert names_in("out/shards") == [f"part-{n:06d}.parquet" for n in range(3)]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_threads_that_read_start_no_others(photos: Path) -> None:
    class Counting(Colours):
        size = (256, 256)  # enough pixels for torch to share the work
        most = 0

        def forward(self, photos: torch.Tensor) -> torch.Tensor:
            self.most = max(self.most, len(list(Path("/proc/self/task").iterdir())))
            return super().forward(photos)

    model, before = Counting(), torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        torch.ones(1 << 20).exp()  # starts those that compute
        running = len(list(Path("/proc/self/task").iterdir()))
        named("p.csv", replace(OPTIONS, threads=4), model=model)
        assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
    # Four that read, three of their pool, and one of the progress bar; each with seven: 36.
    assert 4 <= model.most - running <= 12


def test_top_k_replaces_the_columns_of_all_classes(photos: Path) -> None:
    named("all.csv")
    named("two.csv", replace(OPTIONS, top_k=2))
    names = ["file", "prediction", "probability", "prediction_2", "probability_2", "error"]
    for row, whole in zip(rows("two.csv"), rows("all.csv"), strict=True):
        assert list(row) == names
        ranked = sorted(
            ((float(whole[c]), c.removeprefix("class:")) for c in ("red", "green", "class:error")),
            reverse=True,
        )
        assert [(float(row["probability"]), row["prediction"]), ranked[1]] == [
            ranked[0], (float(row["probability_2"]), row["prediction_2"]),
        ]  # fmt: skip


def test_the_mean_of_views_and_the_temperature(photos: Path) -> None:
    """The whole photo is darker than its centre, so that its logits differ."""
    _, seen = named("four.csv", replace(OPTIONS, tta=4))
    assert seen == 32
    named("one.csv")
    named("cold.csv", replace(OPTIONS, tta=4, temperature=0.25))
    columns = ["red", "green", "class:error"]
    four, one, cold = (
        pd.DataFrame(rows(f"{name}.csv"))[columns].astype(float).to_numpy()
        for name in ("four", "one", "cold")
    )
    # centre and its mirror image have the same mean, whole and its mirror image, too.
    with Image.open("photos/0.png") as photo:
        whole = np.asarray(photo).mean((0, 1)) / 255
    other = torch.tensor(whole).softmax(0).numpy()
    assert abs(one[0] - other).max() > 0.03
    assert four[0] == pytest.approx((one[0] + other) / 2, abs=2e-3)
    assert cold == pytest.approx((four**4) / (four**4).sum(1, keepdims=True), abs=1e-12)


def test_finished_shards_are_reused_and_the_rest_is_predicted(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named("whole/")
    named("p/")
    Path("p/part-000001.parquet").unlink()
    kept = Path("p/part-000000.parquet").stat().st_mtime_ns
    done, seen = named("p/")
    assert (done.reused, seen, done.photos) == (5, 3, 8)
    assert Path("p/part-000000.parquet").stat().st_mtime_ns == kept
    Path("p/part-000002.parquet").write_bytes(b"cut short")
    with caplog.at_level(logging.WARNING):
        assert named("p/")[1] == 2
    assert "p: replacing 1 parts that are damaged, or of other photos or settings" in caplog.text
    for part in Path("p").iterdir():
        assert part.read_bytes() == (Path("whole") / part.name).read_bytes()


def test_changed_settings_and_files_are_predicted_again(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named("p/")
    with caplog.at_level(logging.WARNING):
        assert named("p/", replace(OPTIONS, temperature=2.0))[1] == 8
        assert "replacing 3 parts that are damaged, or of other photos or settings" in caplog.text
        (photos / "4.png").rename(photos / "8.png")
        done, seen = named("p/", replace(OPTIONS, temperature=2.0))
        assert (done.reused, seen) == (3, 5)
        assert "replacing 2 parts that are damaged, or of other photos or settings" in caplog.text
        for number in (5, 6, 7, 8):
            (photos / f"{number}.png").unlink()
        assert named("p/", replace(OPTIONS, temperature=2.0))[0].photos == 4
        assert "removing 1 parts of photos that are gone" in caplog.text
    assert pd.read_parquet("p").file.tolist() == [f"photos/{n}.png" for n in range(4)]


def test_missing_files_and_unusual_names(photos: Path) -> None:
    strange = os.fsdecode(b"photos/\xff.png")
    (photos / "0.png").rename(strange)
    os.mkfifo("pipe.jpg")
    Path("list.txt").write_text("photos/1.png\nphotos/gone.png\npipe.jpg\n")
    named("p.csv", source="list.txt")
    assert [row["error"] for row in rows("p.csv")] == [
        "", "photos/gone.png: no such photo",
        "pipe.jpg: is not a regular file but a pipe, socket or device",
    ]  # fmt: skip
    done, _ = named("q.parquet")
    assert (done.photos, done.unreadable) == (8, 0)
    assert pd.read_parquet("q.parquet").file.tolist()[-1] == r"photos/\xff.png"


def test_an_earlier_file_survives_when_nothing_can_be_read(photos: Path) -> None:
    named("p.csv")
    before = Path("p.csv").read_bytes()
    for file in photos.iterdir():
        file.write_bytes(b"")
    done, _ = named("p.csv")
    assert done.unreadable == done.photos == 8
    assert Path("p.csv").read_bytes() == before
    assert names_in(".") == ["p.csv", "photos"]


def test_foreign_parquet_files_are_refused(photos: Path) -> None:
    Path("mine").mkdir()
    pd.DataFrame({"a": [1]}).to_parquet("mine/other.parquet")
    line = r"^out=mine: contains Parquet files that pets predict did not write \(other.parquet\)"
    with pytest.raises(ConfigError, match=line):
        named("mine/")
    assert names_in("mine") == ["other.parquet"]


@pytest.mark.parametrize(("room", "kept"), [(4_500, False), (13_000, True)])
def test_a_full_disk(photos: Path, room: int, kept: bool) -> None:
    """A shard has no room, or the file that is made of them."""
    Path("p.csv").write_text("before")
    Path("list.txt").write_text("photos/1.png\n" + "".join(f"{n**5}\n" for n in range(300)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(ConfigError, match=r"out=p\.csv: cannot be written \(File too") as no:
            named("p.csv", replace(OPTIONS, shard=200, batch_size=100), source="list.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path("p.csv").read_text() == "before"
    assert bool(list(Path(".p.csv.parts").glob("part-*"))) == kept
    assert ("rerun the same command to resume" in str(no.value)) == kept
    assert not list(Path().rglob("*.part"))


def test_invalid_outputs_and_formats_are_refused(photos: Path) -> None:
    for out, line in (
        (
            "/dev/null",
            r"out=/dev/null: is not a regular file but a pipe, socket or device; expected",
        ),
        ("p.xlsx", r"out=p\.xlsx: unknown format; expected \.csv, .* or a folder: p\.xlsx/"),
        ("photos/0.png/p.csv", r"out=photos/0\.png/p\.csv: cannot be written \(Not a directory\)"),
        ("taken", r"out=taken: cannot be written \(File exists\)"),
    ):
        Path("taken").write_text("")
        with pytest.raises(ConfigError, match=line):
            named(out)
    Path("d.csv").mkdir()
    with pytest.raises(ConfigError, match=r"out=d\.csv: is a folder; .* out=d\.csv/"):
        named("d.csv")
    named("d.csv/")
    assert len(pd.read_parquet("d.csv")) == 8


def test_a_source_that_changed_meanwhile_is_reported(photos: Path) -> None:
    class Growing(Colours):
        def forward(self, photos: Tensor) -> Tensor:
            Path("p/part-000000.parquet").unlink(missing_ok=True)
            return super().forward(photos)

    with pytest.raises(DataError, match=r"part-000000\.parquet: its photos changed .* again"):
        named("p/", model=Growing())


def test_equal_probabilities_take_the_first_class() -> None:
    table = build_table(
        ["x"], np.array([[0.25, 0.5, 0.5, 0.25]]), [""], list("abcd"), 3
    ).to_pylist()
    assert [table[0][c] for c in ("prediction", "prediction_2", "prediction_3")] == ["b", "c", "a"]


def test_photos_of_the_same_names_are_not_taken_for_those_of_a_stopped_prediction(
    photos: Path,
) -> None:
    named("out/")
    assert named("out/")[1] == 0
    before = pd.read_parquet("out")
    # The next card of the camera: the same names, sizes and addresses.
    for number in range(3):
        Image.open(f"photos/{7 - number}.png").convert("RGB").save(f"photos/{number}.png")
    done, seen = named("out/")
    assert (done.reused, seen) == (5, 3)
    after = pd.read_parquet("out")
    assert after["red"][:3].tolist() == before["red"][:4:-1].tolist()
    assert after[3:].equals(before[3:])


def test_a_csv_has_no_formula_and_reads_back(photos: Path) -> None:
    (photos / "0.png").rename("=1+1.png")
    (photos / "1.png").rename("'-x.png")
    Path("list.txt").write_text("=1+1.png\n'-x.png\n@gone.png\n")
    named("out.csv", source="list.txt")
    files = ["=1+1.png", "'-x.png", "@gone.png"]
    assert [row["file"] for row in rows("out.csv")] == ["'=1+1.png", "''-x.png", "'@gone.png"]
    frame = pd.read_csv("out.csv").map(read_cell)
    assert frame["file"].tolist() == files
    assert frame["error"][2] == "@gone.png: no such photo"
    named("out.json", source="list.txt")
    assert [row["file"] for row in json.loads(Path("out.json").read_text())] == files


def test_without_out_every_source_and_setting_has_its_own_file(photos: Path) -> None:
    def default(source: str, **changes: Any) -> Path:
        settings = replace(OPTIONS, **changes).settings
        return Output.default(Path("predictions"), find_source(source), settings).path

    first = default("photos")
    assert first == default("photos/")
    assert first.match("predictions/photos_????????.csv")
    assert first != default("photos", tta=4)
    assert first.name[-12:] != default("photos/[0-6].png").name[-12:]
    # The next card of the camera: the same names.
    Image.new("RGB", (16, 8)).save(photos / "0.png")
    assert first != default("photos")
    assert len(Output.default(Path(), Source("x" * 250, ["a"]), {}).path.name) < 100


def test_a_format_is_one_function(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(file: Path, schema: Any, tables: Any) -> None:
        file.write_text(" ".join(n for table in tables for n in table["prediction"].to_pylist()))

    monkeypatch.setitem(FORMATS, ".names", names)
    named("p.names")
    assert Path("p.names").read_text().split() == ["red"] * 5 + ["error"] * 3
