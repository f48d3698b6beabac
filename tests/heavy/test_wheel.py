"""The wheel works installed elsewhere: the configs are inside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.integration.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]


def run(*args: str, cwd: Path, **env: str) -> str:
    return subprocess.run(
        args, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=True
    ).stdout


def test_a_wheel_trains_away_from_the_checkout(tmp_path: Path, drawn: Path) -> None:
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), ".",
        cwd=ROOT,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("pets_lightning-")
    content = zipfile.ZipFile(wheel)
    names = content.namelist()
    about = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    version = wheel.name.split("-")[1]
    assert f"Version: {version}\n".encode() in content.read(f"{about}/METADATA")
    assert b"pets = pets.cli.main:main\n" in content.read(f"{about}/entry_points.txt")
    assert "pets/conf/train.yaml" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site))
    run(*pip, str(wheel), cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = {"PYTHONPATH": str(site)}
    result = run(sys.executable, "-c", "import pets; print(pets.__file__)", cwd=elsewhere, **path)
    assert result.startswith(str(site))
    result = run(sys.executable, "-m", "pets", "--version", cwd=elsewhere, **path)
    assert result == f"pets {version}\n"
    hint = "from pets.system.installation import install; print(install('serve'))"
    output = run(sys.executable, "-c", hint, cwd=elsewhere, **path)
    assert output.endswith('install "pets-lightning[serve]"\n')
    short = ("plan=frozen4", "plan.stages.head.epochs=2", f"data.root={drawn}")
    report = ("report=true", "interpret.neighbours=0", "interpret.channels=0")
    output = run(
        sys.executable, "-m", "pets", "train", *SMALL[:-2], *short, *report, cwd=elsewhere, **path
    )
    assert "test   accuracy" in output
    (run_dir,) = (elsewhere / "outputs").iterdir()
    assert "<style>" in (run_dir / "report.html").read_text()
