"""What the tests share: composed configs, small drawn data, real photos where they can be had."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pets.config import TrainConfig
from pets.config.resolvers import register_resolvers
from pets.config.validation import typed
from pets.system.installation import conf_dir


def pytest_configure() -> None:
    """A cache of the tests' own. And in the background of a shell Ctrl-C is ignored, by the
    commands under test too."""
    # Processes of pytest-xdist get it from the first one.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["PETS_CACHE"] = tempfile.mkdtemp(prefix="pets-tests-cache-")
        os.environ["PETS_CONF"] = os.environ["PETS_CACHE"]  # not what this machine has of its own
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder of a test is its tier; those that train and are not `core` are left to
    `make test-all`."""
    for item in items:
        tier = item.path.relative_to(Path(__file__).parent).parts[0]
        if tier in ("integration", "heavy"):
            item.add_marker(tier)
            if item.get_closest_marker("core") is None:
                item.add_marker("rest")
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The longest first, so that no process waits for another at the end.
        items.sort(key=lambda item: item.get_closest_marker("heavy") is None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything was promised, a test that was skipped has failed, whoever skipped it."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("PETS_REQUIRE_ALL") == "1" and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def need(there: bool, reason: str) -> None:
    """Skip where something cannot be had; fail where it was promised (PETS_REQUIRE_ALL=1)."""
    if there:
        return
    if os.environ.get("PETS_REQUIRE_ALL") == "1":
        pytest.fail(f"PETS_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


def on_a_small_disk(
    folder: Path, size: str, command: list[str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command for which `folder` is a disk of this size, in a mount namespace of its own."""
    small = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))}"
    tried = subprocess.run([*small, mount], capture_output=True, text=True, check=False)
    need(tried.returncode == 0, f"no disk can be mounted here: {tried.stderr.strip()}")
    args = [*small, f'{mount} && cd {shlex.quote(str(folder))} && exec "$@"', "sh", *command]
    if "cwd" in options:
        args[5] = f'{mount} && exec "$@"'
    return subprocess.run(args, capture_output=True, text=True, check=False, **options)


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """The config of `pets <name> <overrides>`."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def train_config(*overrides: str) -> TrainConfig:
    """The typed config of `pets train <overrides>`."""
    return typed(TrainConfig, composed(*overrides))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten drawn breeds of ten small photos each."""
    from pets.demo import draw_pets

    root = tmp_path_factory.mktemp("drawn") / "pets"
    draw_pets(root, per_breed=10, size=96)
    return root


@pytest.fixture(scope="session")
def mini() -> Path:
    """1,188 real photos of 37 breeds in the Oxford layout, from PETS_MINI_DATA."""
    folder = Path(os.environ.get("PETS_MINI_DATA", "not-given"))
    need((folder / "annotations/list.txt").is_file(), "PETS_MINI_DATA names no Oxford pets folder")
    return folder


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Slurm of one node on this machine, as the environment in which its commands find it.

    The one in the folder PETS_TESTS_SLURM, where that is given; else one for these tests.
    """
    path = f"{os.environ['PATH']}:/usr/sbin"
    there = all(shutil.which(name, path=path) for name in ("munged", "slurmctld", "slurmd"))
    need(there, "Slurm is not installed; tests/slurm/install does it")
    folder = os.environ.get("PETS_TESTS_SLURM") or str(tmp_path_factory.mktemp("slurm"))
    scripts = Path(__file__).parent / "slurm"
    result = subprocess.run([scripts / "start", folder], check=True, stdout=subprocess.PIPE)
    yield {"SLURM_CONF": f"{folder}/slurm.conf"}
    if result.stdout.strip() == b"started":
        subprocess.run([scripts / "stop", folder], check=True)
