"""Commands as a user types them, and one small run that many tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import forked

FLOAT = "trainer.precision=32-true"

# Small pictures of drawn pets, real weights: a run of two stages in seconds.
SMALL = (
    "model=efficientnet_lite0",
    "data.size=96",
    "data.batch_size=16",
    "data.num_workers=0",
    FLOAT,
    "plan.stages.head.epochs=2",
    "plan.stages.body.epochs=3",
)


@dataclass(frozen=True)
class Pets:
    """Runs `pets ...` in a folder of its own."""

    folder: Path

    def __call__(
        self, *args: str, code: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; fail unless it ends with `code`. An environment of its own needs an
        interpreter of its own.

        What measures does so in the precision that small runs have, whatever is fast here.
        """
        if args[:1] in (("eval",), ("interpret",), ("compare",)) and not any(
            "precision=" in w for w in args
        ):
            args = (*args, FLOAT)
        if not env:
            result = forked.pets(args, self.folder)
        else:
            result = subprocess.run(
                [sys.executable, "-m", "pets", *args],
                cwd=self.folder,
                env=os.environ | env,
                capture_output=True,
                text=True,
                check=False,
            )
        assert result.returncode == code, f"{args}\n{result.stdout}\n{result.stderr}"
        return result

    def one_line(self, *args: str) -> str:
        """The only line of a user's mistake: on stderr, without a traceback, exit code 1."""
        lines = self(*args, code=1).stderr.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    def runs(self) -> list[Path]:
        """The run directories below outputs/, oldest first."""
        return sorted(p.parent for p in (self.folder / "outputs").rglob("status.json"))


@pytest.fixture
def pets(tmp_path: Path) -> Pets:
    return Pets(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """The run directory of a finished two-stage run."""
    pets = Pets(tmp_path_factory.mktemp("trained"))
    pets("train", f"data.root={drawn}", *SMALL)
    (run,) = pets.runs()
    return run
