"""A trained run exported, and used by programs that have no pets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from pets.config import RunDataConfig
from pets.data.images import open_rgb
from pets.data.transforms import CentreCrop, normalize, to_tensor
from pets.errors import ConfigError, ExportError
from pets.export import int8, safetensors
from pets.export.check import check
from pets.export.metadata import collect_metadata
from pets.export.reference import Reference, load_reference
from pets.export.write import export
from pets.run_dir import RunDir
from pets.training.checkpoints import Trained, load_run
from pets.training.looks import Looks
from tests.integration.conftest import Pets

# More code after a card's: the logits of photo files.
LOGITS = """
import numpy
found = classifier.logits([Image.open(file) for file in sys.argv[1:]])
numpy.save("logits.npy", found)
"""
# Share of the photos with the same class: pillow and timm resize by rules of their own.
ALIKE = {"safetensors": 1.0, "onnx": 0.8, "hub": 0.8}

HERE = RunDataConfig(root=None, batch_size=None, num_workers=0)


@pytest.fixture(scope="module")
def folders(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of EfficientNet-Lite0 with its linear head, in two formats, beside what was said."""
    folder = tmp_path_factory.mktemp("exported")
    pets = Pets(folder)
    args = ("to=[safetensors,onnx]", "int8=true", "out=.", "data.num_workers=0")
    (folder / "said").write_text(pets("export", f"run={trained}", *args).stdout)
    return folder


@pytest.fixture(scope="module")
def foldable(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of torchvision's ResNet-18 with the head that timm can load, exported for the hub."""
    pets = Pets(tmp_path_factory.mktemp("foldable"))
    pets(
        "train", f"data.root={drawn}", "model=resnet18", "model.weights=none",
        "model/head=batch_norm", "data.size=64", "data.batch_size=16", "data.num_workers=0",
        "plan=frozen4", "plan.stages.head.epochs=2", "precompute=true", "callbacks=none",
    )  # fmt: skip
    (run,) = pets.runs()
    pets("export", f"run={run}", "to=hub", "data.num_workers=0")
    return run


def photos(run: Path, drawn: Path, split: str = "test") -> list[Path]:
    rows = pd.read_csv(run / "photos.csv")
    return [drawn / path for path in rows[rows.split == split].path]


def pictures(trained: Trained, files: list[Path]) -> torch.Tensor:
    """uint8, as the network sees them."""
    crop = CentreCrop(trained.model.size, trained.model.preprocess)
    return torch.stack([crop(to_tensor(open_rgb(file))) for file in files])


def logits(trained: Trained, seen: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return trained.model(normalize(trained.model.preprocess)(seen))


def alone(folder: Path, code: str, *args: str) -> str:
    """What Python code says in a process of its own, in a folder, where there is no pets."""
    blocked = f"import sys; sys.modules['pets'] = None; sys.path.insert(0, '.')\n{code}"
    command = [sys.executable, "-I", "-B", "-c", blocked, *args]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def code_of(folder: Path) -> list[str]:
    """The Python that a card shows."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.core
def test_the_card_names_photos_as_the_run_does(
    trained: Path, foldable: Path, folders: Path, drawn: Path, tmp_path: Path
) -> None:
    for run, folder in (
        (trained, folders / "safetensors"),
        (trained, folders / "onnx"),
        (foldable, foldable / "export/hub"),
    ):
        here = tmp_path / run.name / folder.name
        shutil.copytree(folder, here)
        used = load_run(RunDir(run))
        files = photos(run, drawn)
        theirs = logits(used, pictures(used, files))
        # One on which no other way to shrink it changes the class.
        best, second = theirs.topk(2).values.unbind(1)
        surest = int((best - second).argmax())
        shutil.copyfile(files[surest], here / "photo.jpg")
        ours = theirs[surest]
        label = used.model.classes[int(ours.argmax())]
        blocks = code_of(here)
        assert len(blocks) == (2 if folder.name == "hub" else 1)
        # All code in one process: most of its time goes into importing torch.
        output = alone(here, "\n".join([*blocks, LOGITS]), *map(str, files)).split()
        result = np.load(here / "logits.npy")
        assert (result.argmax(1) == theirs.numpy().argmax(1)).mean() >= ALIKE[folder.name]
        if folder.name == "safetensors":
            assert np.abs(result - theirs.numpy()).max() < 1e-4
        assert output[0] == label
        assert output[2:] == ([label] if folder.name == "hub" else [])
        # pillow and timm shrink photos by rules of their own, so that probabilities move a little.
        share = float((ours / (used.temperature or 1)).softmax(0).max())
        assert float(output[1]) == pytest.approx(share, abs=0.1)


@pytest.mark.core
def test_the_script_names_photos_on_the_command_line(
    trained: Path, folders: Path, drawn: Path, tmp_path: Path
) -> None:
    files = [str(file) for file in photos(trained, drawn)[:2]]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(files[0]).read_bytes()[:500])
    args = tmp_path / "words.jpg"
    args.write_text("no photo")

    def script(*named: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-B", str(folders / "onnx/predict.py"), *named]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    result = script(files[0], "gone.jpg", str(broken), str(args), files[1])
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == files
    assert result.returncode == 1
    bad = result.stderr.splitlines()
    assert bad[0] == "gone.jpg: cannot be read as a photo (No such file or directory)"
    assert [line.split(": cannot be read as a photo (")[0] for line in bad[1:]] == [
        str(broken), str(args)
    ]  # fmt: skip
    assert bad[2].endswith("(cannot identify image file)")
    nothing = script()
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr == "usage: python predict.py photo.jpg ...\n"
    used = load_run(RunDir(trained))
    best = logits(used, pictures(used, [Path(file) for file in files])).argmax(1)
    for line, place in zip(lines, best, strict=True):
        assert line.split("  ")[1].startswith(f"{used.model.classes[place]} ")


@pytest.mark.core
@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_takes_batches_of_any_size(
    trained: Path, folders: Path, drawn: Path, batch: int
) -> None:
    used = load_run(RunDir(trained))
    seen = pictures(used, photos(trained, drawn)[:batch])
    session = onnxruntime.InferenceSession(folders / "onnx/model.onnx")
    result: Any = session.run(None, {"pictures": seen.numpy()})
    ours = logits(used, seen)
    assert result[0].shape == (batch, 10)
    assert np.abs(result[0] - ours.numpy()).max() < 1e-4
    assert used.temperature is not None
    tempered = (ours / used.temperature).softmax(1)
    assert np.abs(result[1] - tempered.numpy()).max() < 1e-4
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["classes"]) == used.model.classes
    assert json.loads(known["preprocessing"])["size"] == [96, 96]


def test_what_is_said_is_what_was_measured(trained: Path, folders: Path) -> None:
    config = json.loads((folders / "safetensors/config.json").read_text())
    status = json.loads((trained / "status.json").read_text())["results"]
    data = json.loads((trained / "data.json").read_text())
    for split in ("valid", "test"):
        result = config["metrics"][split]
        assert result["photos"] == status[split]["photos"] == data[split]
        assert result["accuracy"] == pytest.approx(status[split]["accuracy"])
        low, high = result["interval"]
        assert low < result["accuracy"] < high or result["accuracy"] == high == 1
    assert config["pretrained"]["licence"].startswith("Apache-2.0")
    assert config["data"]["fingerprint"] == data["fingerprint"]
    for name in ("safetensors", "onnx"):
        card = (folders / name / "README.md").read_text()
        args = f"| test | {data['test']} | {100 * status['test']['accuracy']:.1f} % |"
        assert args in card
        assert f"The test photos were {Looks(**config['metrics']['test']['looks'])}: the" in card
        assert data["fingerprint"] in card
        result = json.loads((folders / name / "check.json").read_text())
        assert result["pictures"]["photos"] == result["pictures"]["same_class"] == data["valid"]
        assert result["pictures"]["logits"] <= 1e-4


@pytest.mark.core
@pytest.mark.parametrize("kept", [True, False])
def test_int8_is_there_or_the_numbers_are(
    kept: bool,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """How accurate and fast it is depends on the machine; what is enough is set here."""
    monkeypatch.setattr(int8, "MAX_ACCURACY_LOSS", 2 if kept else -2)
    monkeypatch.setattr(int8, "MIN_SPEEDUP", 0)
    reference = load_reference(load_run(RunDir(trained)), HERE, calibration=16)
    with caplog.at_level("INFO"):
        export("onnx", tmp_path, collect_metadata(reference, "last"), reference, int8=True)
    result = json.loads((tmp_path / "onnx/check.json").read_text())["int8"]
    assert result["kept"] is kept
    assert (tmp_path / "onnx/model_int8.onnx").exists() == kept
    numbers = f"{100 * result['accuracy']:.1f} % right instead of"
    assert (f"model_int8.onnx: {numbers}" in caplog.text) == kept
    alone = f"int8 does not pay off here, only the float model is kept: {numbers}"
    assert (alone in caplog.text) != kept


def test_a_head_that_timm_lacks_is_refused(trained: Path, pets: Pets) -> None:
    line = pets.one_line("export", f"run={trained}", "to=[safetensors,hub]", "out=x")
    assert line.startswith("to=hub: the head pets.models.heads.LinearHead is more than an average")
    assert "model/head=batch_norm" in line
    assert not (pets.folder / "x").exists()


def test_without_its_photos_an_export_is_refused(trained: Path, pets: Pets, drawn: Path) -> None:
    moved = pets.folder / "photos"
    shutil.copytree(drawn, moved)
    args = ("export", f"run={trained}", "to=safetensors", "out=x", f"data.root={moved}")
    photos(trained, moved, "train")[0].unlink()
    gone = photos(trained, moved, "valid")[0]
    gone.unlink()
    line = pets(*args, code=1).stderr.strip()
    assert f"{moved}: of the run's 20 valid photos 1 missing (images/{gone.name}); put" in line
    assert "data.root=" in line
    shutil.rmtree(moved)
    assert "data.root=" in pets.one_line(*args)
    assert not (pets.folder / "x").exists()


def test_what_is_in_the_way_stays(trained: Path, pets: Pets) -> None:
    (pets.folder / "mine/safetensors").mkdir(parents=True)
    (pets.folder / "mine/safetensors/diary.txt").write_text("dear diary")
    args = ("export", f"run={trained}", "to=safetensors", "data.num_workers=0")
    line = pets.one_line(*args, "out=mine")
    assert line == (
        "mine/safetensors: exists already; move it away, or export to another folder with out=..."
    )
    (pets.folder / "file").write_text("a file")
    line = pets.one_line(*args, "out=file", "data.root=nowhere")  # before the photos are read
    assert line == "file: cannot be written (Not a directory); check its permissions"
    assert (pets.folder / "mine/safetensors/diary.txt").read_text() == "dear diary"


def test_what_is_put_there_meanwhile_stays(reference: Reference, tmp_path: Path) -> None:
    (tmp_path / "safetensors").mkdir()
    (tmp_path / "safetensors/notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        export("safetensors", tmp_path, collect_metadata(reference, "last"), reference, int8=False)
    assert (tmp_path / "safetensors/notes.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def reference(trained: Path) -> Reference:
    return load_reference(load_run(RunDir(trained)), HERE)


def test_the_test_photos_come_first_and_a_report_names_their_pairs(
    reference: Reference, tmp_path: Path
) -> None:
    metadata = collect_metadata(reference, "last")
    assert list(metadata.metrics) == ["test", "valid"]
    measured = metadata.trained.run.status["results"]["test"]
    assert metadata.metrics["test"]["accuracy"] == measured["accuracy"]
    assert metadata.confused == reference.predictions.most_confused()
    assert metadata.confused_on == "valid"
    # Of the best epoch there are test figures only once they were measured.
    assert list(collect_metadata(reference, "best").metrics) == ["valid"]

    run = tmp_path / "run"
    shutil.copytree(reference.trained.run.path, run)
    copied = replace(reference, trained=replace(reference.trained, run=RunDir(run)))
    for name, right in (("test", 0.5), ("test_best", 0.75)):
        summary = {"photos": 20, "accuracy": right, "most_confused": [["cat", name, 3]]}
        (run / "interpret" / name).mkdir(parents=True)
        (run / "interpret" / name / "summary.json").write_text(json.dumps(summary))
    last, best = (collect_metadata(copied, ckpt) for ckpt in ("last", "best"))
    assert (last.confused, last.confused_on) == ([("cat", "test", 3)], "test")
    assert last.metrics["test"]["accuracy"] == measured["accuracy"], "not of the report"
    assert (best.confused, best.confused_on) == ([("cat", "test_best", 3)], "test")
    assert best.metrics["test"]["accuracy"] == 0.75


def test_other_weights_are_found_out(folders: Path, reference: Reference, tmp_path: Path) -> None:
    folder = tmp_path / "safetensors"
    shutil.copytree(folders / "safetensors", folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["head.1.weight"][3, 7] += 0.5
    save_file(tensors, file)
    with pytest.raises(ExportError, match=r"refused, its logits differ from the run's by up to"):
        check(folder, "safetensors", reference)


def test_other_preprocessing_is_found_out(
    folders: Path, reference: Reference, tmp_path: Path
) -> None:
    folder = tmp_path / "safetensors"
    shutil.copytree(folders / "safetensors", folder)
    config = json.loads((folder / "config.json").read_text())
    config["preprocessing"]["covers"] = [192, 192]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="from photo files its probabilities differ"):
        check(folder, "safetensors", reference)


def test_an_export_that_fails_leaves_nothing(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_an_error(tensors: dict[str, torch.Tensor], file: Path) -> None:
        save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, file)

    monkeypatch.setattr(safetensors, "save_file", with_an_error)
    with pytest.raises(ExportError, match="to=safetensors: refused"):
        export(
            "safetensors",
            tmp_path / "new",
            collect_metadata(reference, "last"),
            reference,
            int8=False,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.core
def test_predict_takes_the_hubs_layout_as_it_takes_the_run(
    foldable: Path, pets: Pets, drawn: Path
) -> None:
    exported = foldable / "export/hub"
    source = f"source={drawn / 'images'}"
    pets("predict", f"run={foldable}", source, "out=run.csv")
    pets("predict", f"run={exported}", source, "out=hub.csv")
    run, hub = (pd.read_csv(pets.folder / f"{name}.csv") for name in ("run", "hub"))
    assert (run.prediction == hub.prediction).all()
    classes = list(run)[3:-1]
    assert np.abs(run[classes] - hub[classes]).max().max() < 1e-4
    pets("predict", f"run={exported}", source)
    assert list((pets.folder / "predictions").glob("images_*.csv")), "nothing is added to the model"
    line = pets.one_line("predict", f"run={exported}", source, "ckpt=best")
    assert line.startswith("ckpt=best: has no effect on ")
    output = pets(
        "export", f"run={foldable}", "to=hub", "out=again", "push=user/pets", "dry_run=true",
        "licence=cc-by-sa-4.0",
    ).stdout  # fmt: skip
    assert "would upload to https://huggingface.co/user/pets (private if it is new)" in output
    card = (pets.folder / "again/hub/README.md").read_text()
    assert "\nlicense: cc-by-sa-4.0\n" in card
    assert "Licence of this model: cc-by-sa-4.0, chosen by whoever exported it." in card
