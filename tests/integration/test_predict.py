"""`pets predict` killed, stopped, resumed and shared: each photo once, with the same numbers."""

import contextlib
import json
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pets.interpretation import Interpretation
from tests.integration import forked
from tests.integration.conftest import Pets
from tests.integration.ranks import start_two_ranks


def wait_for(*files: Path) -> None:
    until = time.monotonic() + 120
    while not all(file.exists() for file in files):
        assert time.monotonic() < until, files
        time.sleep(0.02)


@pytest.fixture
def to_end() -> Iterator[list[int | None]]:
    """Processes that a failed test must not leave at a pipe."""
    pids: list[int | None] = []
    yield pids
    for pid in pids:
        assert pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Stuck:
    """A list of photos with pipes among them, at which a reader waits for ever: as remote files,
    for a local pipe is refused."""

    def __init__(self, folder: Path, photos: Path, *places: int) -> None:
        self.list = folder / "list.txt"
        self.files = [str(file) for file in sorted((photos / "images").glob("*.jpg"))[:60]]
        self.pipes = {}
        for place in places:
            pipe = folder / f"{place}.jpg"
            os.mkfifo(pipe)
            self.pipes[pipe] = self.files[place]
            self.files[place] = f"file://{pipe}"
        self.list.write_text("".join(f"{file}\n" for file in self.files))

    def free(self, place: int) -> None:
        """The photo in the place of a pipe."""
        pipe = self.list.with_name(f"{place}.jpg")
        pipe.unlink()
        shutil.copy(self.pipes[pipe], pipe)


@pytest.mark.core
def test_stopped_killed_and_resumed(
    trained: Path, pets: Pets, drawn: Path, to_end: list[int | None]
) -> None:
    stuck = Stuck(pets.folder, drawn, 25, 45)
    args = ["predict", f"run={trained}", "source=list.txt", "shard=10", "batch_size=4"]
    parts = pets.folder / ".p.csv.parts"

    running = forked.Running([*args, "out=p.csv"], pets.folder)
    to_end.append(running.pid)
    wait_for(parts / "part-000001.parquet")
    os.kill(running.pid, signal.SIGTERM)
    stopped = running.end()
    assert stopped.returncode == 143
    assert stopped.stdout.splitlines()[-1] == (
        "stopped by SIGTERM; 2 finished shards (up to 10 photos each) are kept in .p.csv.parts; "
        "rerun the same command to resume"
    )
    assert stopped.stderr == ""
    first = (parts / "part-000000.parquet").stat().st_mtime_ns
    stuck.free(25)

    running = forked.Running([*args, "out=p.csv"], pets.folder)
    to_end.append(running.pid)
    wait_for(parts / "part-000003.parquet")
    assert "another process is writing to .p.csv.parts" in pets.one_line(*args, "out=p.csv")
    os.kill(running.pid, signal.SIGKILL)
    assert running.end().returncode == -signal.SIGKILL
    assert (parts / "part-000000.parquet").stat().st_mtime_ns == first
    assert not (pets.folder / "p.csv").exists()
    stuck.free(45)

    output = pets(*args, "out=p.csv").stdout
    assert "60 of 60 photos classified, written to p.csv" in output
    assert "20 photos in " in output
    assert "; 40 were reused" in output
    assert not parts.exists()
    pets(*args, "out=undisturbed.csv")
    assert (pets.folder / "p.csv").read_bytes() == (pets.folder / "undisturbed.csv").read_bytes()
    assert pd.read_csv(pets.folder / "p.csv").file.tolist() == [str(f) for f in stuck.files]


def test_two_ranks_share_the_work(trained: Path, pets: Pets, drawn: Path) -> None:
    args = ["predict", f"run={trained}", f"source={drawn / 'images'}/*_[1-6].jpg", "shard=7"]
    both = start_two_ranks(pets.folder, ["pets", *args, "out=both/", "device=cpu"])
    assert both.end() == [0, 0], [both.said(0), both.said(1)]
    assert both.said(1) == ""
    assert "60 photos in" in both.said(0)
    assert "60 of 60 photos classified, written to both" in both.said(0)
    pets(*args, "out=one.parquet")
    one, shared = (
        pd.read_parquet(pets.folder / "one.parquet"),
        pd.read_parquet(pets.folder / "both"),
    )
    assert len(list((pets.folder / "both").glob("*.parquet"))) == 9
    assert shared[["file", "prediction"]].equals(one[["file", "prediction"]])
    numbers = one.columns[2:-1]
    assert np.abs(shared[numbers].to_numpy() - one[numbers].to_numpy()).max() < 1e-6


def test_a_killed_rank_ends_the_other_and_nothing_is_lost(
    trained: Path, pets: Pets, drawn: Path, to_end: list[int | None]
) -> None:
    stuck = Stuck(pets.folder, drawn, 35)  # of rank 1
    args = ["predict", f"run={trained}", "source=list.txt", "out=p.json", "shard=10"]
    both = start_two_ranks(pets.folder, ["pets", *args])
    to_end += [process.pid for process in both.processes]
    parts = [pets.folder / f".p.json.parts/part-00000{n}.parquet" for n in (0, 1, 2, 4)]
    wait_for(*parts)
    both.send(1, signal.SIGKILL)
    assert both.end() == [1, -signal.SIGKILL]
    assert (
        "another rank has ended: killed, or its machine is gone; finished shards are kept, "
        "rerun the same command to resume" in both.said(0)
    )
    assert "Traceback" not in both.said(0)
    stuck.free(35)
    assert "; 40 were reused" in pets(*args).stdout
    result = json.loads((pets.folder / "p.json").read_text())
    assert [row["file"] for row in result] == [str(file) for file in stuck.files]
    assert all(row["error"] is None for row in result)


def test_views_agree_with_interpret(trained: Path, pets: Pets) -> None:
    run = pets.folder / "run"
    shutil.copytree(trained, run)
    pets(
        "interpret",
        f"run={run}",
        "split=valid",
        "tta=4",
        "neighbours=0",
        "channels=0",
        "trainer.precision=32-true",
    )
    studied = Interpretation.load(run / "interpret/valid_tta4/predictions.parquet", split="valid")
    root = pets.folder / "list.txt"
    photos = Path(json.loads((run / "environment.json").read_text())["folder"])
    config_root = Path((run / "config.yaml").read_text().split("root: ")[1].split()[0])
    paths = [photos / config_root / path for path in studied.table.path]
    root.write_text("".join(f"{path}\n" for path in paths))
    args = [f"run={run}", "source=list.txt", "tta=4", "temperature=1"]
    pets("predict", *args, "out=p.parquet")
    result = pd.read_parquet(pets.folder / "p.parquet")
    assert result.file.tolist() == [str(path) for path in paths]
    assert result.prediction.tolist() == studied.table.prediction.tolist()
    numbers = result[studied.classes].to_numpy()
    assert np.abs(numbers - studied.probabilities).max() < 1e-5

    output = pets("predict", *args[:3], "out=t.parquet").stdout
    tempered = pd.read_parquet(pets.folder / "t.parquet")[studied.classes].to_numpy()
    fitted = temperature_of(run)
    assert fitted != 1
    expected = numbers ** (1 / fitted)
    assert tempered == pytest.approx(expected / expected.sum(1, keepdims=True), abs=1e-9)
    assert (tempered.argmax(1) == numbers.argmax(1)).all()
    assert "temperature=1" not in output


def temperature_of(run: Path) -> float:
    from pets.training.checkpoints import read_checkpoint

    return float(read_checkpoint(run / "checkpoints/last.ckpt")["pets"]["temperature"])


def test_photos_inside_a_zip_file_are_those_outside(trained: Path, pets: Pets, drawn: Path) -> None:
    files = sorted((drawn / "images").glob("*.jpg"))[:12]
    with zipfile.ZipFile(pets.folder / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"a/{file.name}")
        archive.writestr("a/zzz.jpg", b"no photo")
    (pets.folder / "list.txt").write_text("".join(f"{file}\n" for file in files))
    args = ["predict", f"run={trained}", "source=zip://a::photos.zip", "out=in.parquet", "top_k=3"]
    pets(*args, code=3)  # a row has an error
    pets("predict", f"run={trained}", "source=list.txt", "out=out.parquet", "top_k=3")
    inside, outside = (pd.read_parquet(pets.folder / f"{name}.parquet") for name in ("in", "out"))
    columns = ["prediction", "probability", "prediction_3", "probability_3"]
    assert list(inside) == [
        "file", "prediction", "probability", "prediction_2", "probability_2", "prediction_3",
        "probability_3", "error",
    ]  # fmt: skip
    assert inside.loc[:11, "file"].tolist() == [f"zip://a/{f.name}::photos.zip" for f in files]
    assert inside.error[12] == (
        "zip://a/zzz.jpg::photos.zip: cannot be read as an image (not a known format)"
    )
    numbers = inside.loc[:11, columns[1::2]].to_numpy(), outside[columns[1::2]].to_numpy()
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-6)
    assert inside.loc[:11, columns[0]].tolist() == outside[columns[0]].tolist()


@pytest.mark.core
def test_a_list_on_standard_input(trained: Path, pets: Pets, drawn: Path) -> None:
    photo = sorted((drawn / "images").glob("*.jpg"))[0]
    given = pets.folder / "given"
    given.write_text(f"{photo}\nnone.jpg\n")
    args = ["predict", f"run={trained}", "source=-", "out=p.csv", "top_k=2", "top=5"]
    result = forked.Running(args, pets.folder, given).end()
    assert result.returncode == 3, result.stderr  # a row has an error
    assert "1 of 2 photos classified, written to p.csv" in result.stdout
    frame = pd.read_csv(pets.folder / "p.csv")
    assert frame.file.tolist() == [str(photo), "none.jpg"]
    assert frame.error[1] == "none.jpg: no such photo"
    runner_up = f"{frame.prediction_2[0]} {100 * frame.probability_2[0]:.1f} %"
    assert result.stdout.splitlines()[1].endswith(runner_up)


@pytest.mark.core
def test_what_predict_refuses(trained: Path, pets: Pets, drawn: Path) -> None:
    photo = sorted((drawn / "images").glob("*.jpg"))[0]
    for args, line in (
        (["top_k=11"], "top_k=11: the model has 10 classes"),
        (["tta=9"], "tta=9: expected a number of at most 8"),
        (["temperature=0"], "temperature=0: expected a number above 0, or run"),
        (["shard=0"], "shard=0: expected a number of at least 1"),
        (["device=nonsense"], "device=nonsense: cannot be used here"),
        (
            ["source=s3://bucket/photos"],
            "s3://bucket/photos: the package that reads it is not installed",
        ),
    ):
        given = ["predict", f"run={trained}", f"source={photo}", *args]
        assert pets.one_line(*given[: 2 if "source" in args[0] else 3], *args).startswith(line)
