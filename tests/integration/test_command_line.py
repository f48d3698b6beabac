"""The command line as Hydra users know it, and every mistake on it as one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pets.cli.main import COMMANDS
from pets.system.installation import conf_dir
from tests.integration.conftest import SMALL, Pets


@pytest.mark.core
def test_help_lists_the_commands_and_every_command_has_its_own(pets: Pets) -> None:
    output = pets("--help").stdout
    assert all(f"  {name}" in output for name in COMMANDS)
    for name in COMMANDS:
        page = pets(name, "--help").stdout
        assert page.startswith(f"pets {name}:")
        text = (conf_dir() / f"{name}.yaml").read_text()
        keys = yaml.safe_load(text).keys() - {"defaults", "hydra"}
        assert all(f"\n{key}:" in page for key in keys), name
    page = pets("train", "--help").stdout
    assert "\n== model=efficientnet_lite0, or clip_vit_b32, convnext_tiny, " in page
    assert (
        "\n== model/head=linear, or batch_norm, concat_pool; its keys are model.head.<key> =="
        in page
    )
    stage = "stage=default; its keys are plan.stages.head.<key>, plan.stages.body.<key>"
    assert f"\n== {stage} ==\n" in page
    assert "\npct_start: 0.3                  # one_cycle: fraction of the steps" in page
    assert "\n== experiment=...: head_only, lesson1_resnet34, lesson1_resnet50, " in page
    assert "local" not in "".join(line for line in page.splitlines() if line.startswith("== "))
    page = pets("train", "--help", "callbacks=[early_stopping,ema]").stdout
    assert "\n== callbacks=early_stopping, or default, " in page
    assert "\n== callbacks=ema, or default, early_stopping" in page
    page = pets("verify", "--help").stdout
    assert "\nfew: 10                         # training photos per class; fewer do not" in page
    title = "data=folder, or demo, dogs_vs_cats, hf, oxford_pets, table; its keys are data.<key>"
    assert f"\n== {title} ==\n" in page
    assert "\nlabel_regex: null               # matched on the file name" in page
    assert "${oc.env:PETS_CACHE,'~/.cache/pets'}" in page


def test_cfg_job_shows_the_composed_config_without_running(pets: Pets) -> None:
    output = pets("train", "--cfg", "job", "model=resnet50", "plan.stages.head.lr=1e-2").stdout
    assert "name: resnet50" in output
    assert "lr: 0.01" in output
    assert not (pets.folder / "outputs").exists()


def test_config_dir_adds_options(pets: Pets) -> None:
    (pets.folder / "my/model").mkdir(parents=True)
    (pets.folder / "my/model/mine.yaml").write_text(
        "defaults: [base]\nlibrary: timm\nname: mobilenetv3_small_100\n"
    )
    output = pets("train", "--config-dir", "my", "--cfg", "job", "model=mine").stdout
    assert "name: mobilenetv3_small_100" in output


def complete(pets: Pets, line: str) -> list[str]:
    env = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    return pets("-sc", "query=bash", env=env).stdout.split()


def test_tab_completion(pets: Pets) -> None:
    assert complete(pets, "pets ") == list(COMMANDS)
    assert "model=resnet34" in complete(pets, "pets train model=resnet3")
    assert complete(pets, "pets train plan.stages.head.ep") == ["plan.stages.head.epochs="]
    assert complete(pets, "pets eval spl") == ["split="]
    script = pets("-sc", "install=bash").stdout
    assert "hydra_bash_completion" in script


@pytest.mark.core
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["train", "model=nope"], "model=nope: no such option; choose one of clip_vit_b32, "),
        (
            ["train", "interpret=null"],
            "interpret=null: expected an option of interpret, one of default",
        ),
        (
            ["train", "callbacks=[ema,null]"],
            "callbacks=[ema,null]: expected an option of callbacks, ",
        ),
        (
            ["train", "-m", "model=1,2"],
            "model=1,2: expected an option of model, one of clip_vit_b32, ",
        ),
        (["train", "model=resnet43"], "model=resnet43: no such option; did you mean resnet34? "),
        (["train", "experiment=quickstar"], "experiment=quickstar: no such option; did you mean "),
        (["train", "data.sise=3"], "data.sise: no such key; did you mean data.size? "),
        (["train", "colour=red"], "colour: no such key; "),
        (["train", "seed"], "seed: cannot be read as key=value; "),
        (["train", "data.size=big"], "data.size=big: expected pixels: one number from 8 to 4096, "),
        (["train", "plan.stages.head.lr=-1"], "plan.stages.head.lr=-1: expected a number above 0"),
        (["train", "plan.stages={}"], "plan.stages={}: changes nothing, "),
        (["train", "plan=frozen4", "~plan.stages.head"], "plan: stages is empty; "),
        (["train", "data=folder"], "data.root is needed; give it as data.root=..."),
        (["train", "data=folder", "data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["train", "optimizer.beta=3"], "optimizer.beta: no such key; "),
        (["train", "+optimizer.beta=3"], "optimizer.beta: AdamW takes no such argument; did you "),
        (["train", "+trainer.epochs=3"], "trainer.epochs=3: not supported, remove it; in pets: pl"),
        (["train", "trainer.precision=17"], "trainer: Lightning's Trainer refuses its arguments "),
        (["train", "metrics=top3,auroc"], "metrics=top3,auroc: expected one value; or a list: met"),
        (["train", "trainer.devices=2"], "trainer.devices=2: needs 2 processes, one per device; "),
        (["train", "data.root="], "data.root=: expected a folder"),
        (
            ["train", "+trainer.max_epochs=3"],
            "trainer.max_epochs=3: not supported, remove it; ",
        ),
        (
            ["train", "trainer.limit_val_batches=0"],
            "trainer.limit_val_batches=0: expected a number ",
        ),
        (
            ["train", "+trainer.fast_dev_run=true"],
            "trainer.fast_dev_run=True: not supported, remove ",
        ),
        (
            ["train", "trainer.accumulate_grad_batches=foo"],
            "trainer.accumulate_grad_batches=foo: e",
        ),
        (
            ["train", "trainer.accumulate_grad_batches=0"],
            "trainer.accumulate_grad_batches=0: exp",
        ),
        (
            ["train", "logger=wandb", "logger.wandb.offline=no"],
            "logger.wandb.offline=no: expected tr",
        ),
        (["train", "logger=csv", "logger.csv.name=7"], "logger.csv.name=7: expected text"),
        (
            ["train", "callbacks=[ema,nope]"],
            "callbacks=nope: no such option; did you mean ",
        ),
        (["train", "logger.wandb.offline=true"], "logger.wandb.offline: no such key; "),
        (["train", "model.head.dropout=2", "model/head=concat_pool"], "model.head: "),
        (["train", "optimizer.weight_decay=-1"], "optimizer: torch.optim.AdamW refuses its "),
        (["train", "model=[resnet18,resnet34]"], "model=[resnet18,resnet34]: expected one option"),
        (["train", "loss=[focal,bce]"], "loss=[focal,bce]: expected one option; to compare them: "),
        (["train", "loss=own"], "loss._target_ is needed; give it as loss._target_=..."),
        (["train", "loss.name=focus"], "loss.name=focus: expected cross_entropy, weighted, focal"),
        (["train", "loss.label_smoothing=1"], "loss.label_smoothing=1: expected a number from 0"),
        (["find-lr", "+loss.gamma=1"], "loss.gamma: cross_entropy takes no such argument; it "),
        (["train", "model/head=batch_norm", "data.batch_size=1"], "data.batch_size=1: BatchNorm"),
        (["train", "model.weights=gone.pth"], "model.weights=gone.pth: no such file; "),
        (["train", "plan.stages.head.freeze_to=9"], "freeze_to=9: this model has 9 layer groups"),
        (["train", "model=resnet34"], "the weights of resnet34 cannot be downloaded ("),
        (["eval"], "run is needed; give it as run=..."),
        (["eval", "run=nowhere"], "run=nowhere: is not a run directory (no such folder); "),
        (["find-lr", "lr_finder.steps=3"], "lr_finder.steps=3: expected a number of at least 30"),
        (["find-lr", "freeze_to=9"], "freeze_to=9: this model has 9 layer groups"),
        (["find-lr", "freeze_to=some"], "freeze_to=some: expected a whole number, or auto"),
        (["find-lr", "lr=1e-3"], "lr=0.001: expected auto, or [auto/100, auto]: the ratio of the "),
        (
            ["look", "data.label_regex='^x(.)'"],
            "data.label_regex=^x(.) does not match 100 of 100 photos: ",
        ),
    ],
)
def test_a_mistake_is_one_line(pets: Pets, drawn: Path, args: list[str], line: str) -> None:
    offline = "model=resnet34" in args
    given = args[0] == "eval" or any(w.startswith(("data=folder", "data.root")) for w in args)
    root = [] if given else [f"data.root={drawn}"]
    # Weights from the net are looked for in a folder of their own, behind a proxy that is not.
    away = {"TORCH_HOME": str(pets.folder), "https_proxy": "http://127.0.0.1:9"} if offline else {}
    result = pets(*args, *root, code=1, env=away)
    lines = result.stderr.strip().splitlines()
    assert [text[: len(line)] for text in lines] == [line]
    # A run that never began leaves nothing.
    outputs = pets.folder / "outputs"
    assert not outputs.exists() or not list(outputs.iterdir())


def test_models_lists_the_configs_and_finds_more(pets: Pets) -> None:
    rows = [line.split() for line in pets("models").stdout.splitlines()]
    assert ["efficientnet_lite0", "4.7", "M", "224", "px", "here", "Apache-2.0"] in rows
    lines = pets("models", "vit_small*dinov2*").stdout.splitlines()
    assert lines[1].split()[:4] == ["vit_small_patch14_dinov2.lvd142m", "22.1", "M", "518"]
    assert "timm has no architecture of such a name" in pets.one_line("models", "xx*")


def test_an_unknown_command_names_the_nearest(pets: Pets) -> None:
    result = pets("trian", code=2)
    assert result.stderr.strip() == "pets trian: no such command; did you mean pets train?"


@pytest.mark.core
def test_config_errors_answer_before_torch_is_imported(pets: Pets) -> None:
    """Not a time, which shared machines cannot promise, but its cause."""
    code = (
        'import sys; sys.argv = ["pets", "train", "model=nope"]; from pets.cli.main import main\n'
    )
    code += 'try: main()\nexcept SystemExit: print("torch" in sys.modules)'
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def libraries_after(*args: str, folder: Path) -> set[str]:
    """The packages that a command has imported by its end, in an interpreter of its own."""
    code = "import sys; from pets.cli.main import main\ntry: main()\n"
    code += "finally: print(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_a_mistake_leaves_the_folder_that_it_was_made_in(pets: Pets) -> None:
    (pets.folder / "predict.log").touch()  # of whoever called it
    assert "no such folder" in pets.one_line("predict", "run=gone", "source=photo.jpg")
    assert [path.name for path in pets.folder.iterdir()] == ["predict.log"]


def test_a_command_imports_only_what_it_uses(pets: Pets, drawn: Path, trained: Path) -> None:
    """What others import on their way is theirs: pyarrow pandas, torchmetrics matplotlib."""
    photo = next(drawn.rglob("*.jpg"))
    of_a_report = {"sklearn", "captum", "cleanlab", "peft", "datasets"}
    of_training = {"pytorch_lightning", "torchmetrics", "transformers", "scipy", "matplotlib"}
    words = (f"run={trained}", f"source={photo}", "out=names.csv")
    predicting = libraries_after("predict", *words, folder=pets.folder)
    assert {"torch", "timm", "pyarrow"} <= predicting
    assert not predicting & (of_training | of_a_report)
    head_only = [*SMALL[:-1], "~plan.stages.body", "precompute=true"]
    training = libraries_after("train", f"data.root={drawn}", *head_only, folder=pets.folder)
    assert {"torch", "pytorch_lightning"} <= training
    assert not training & (of_a_report | {"pandas", "pyarrow"})


def test_a_sweep_makes_a_run_for_every_job(pets: Pets, drawn: Path) -> None:
    short = ["plan=frozen4", "plan.stages.head.epochs=2", "model/head=linear"]
    pets("train", "-m", f"data.root={drawn}", *SMALL[:-2], *short, "seed=0,1")
    assert {r.name for r in pets.runs()} == {"0_seed0", "1_seed1"}


def test_look_says_and_draws_what_there_is(pets: Pets, drawn: Path) -> None:
    output = pets("look", f"data.root={drawn}").stdout
    assert "100 photos of 10 classes" in output
    assert "an array of shape (96, 96, 3) (height, width, red-green-blue)" in output
    assert "width   96 to 96 pixels, median 96" in output
    pictures = sorted(p.name for p in (pets.folder / "outputs").rglob("*.png"))
    assert pictures == ["augmented.png", "classes.png", "photos.png", "sizes.png"]


def test_runs_of_the_same_second_have_directories_of_their_own(pets: Pets, drawn: Path) -> None:
    args = [sys.executable, "-m", "pets", "look", f"data.root={drawn}"]
    started = [subprocess.Popen(args, cwd=pets.folder, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    folders = list((pets.folder / "outputs").iterdir())
    assert len(folders) == 2
    assert all(len(list(folder.glob("*.png"))) == 4 for folder in folders)
