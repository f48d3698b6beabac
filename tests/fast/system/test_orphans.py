"""Child processes end with their parent, even if it is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.processes import alive, kill, until

DRAWS = """
from pathlib import Path
from pets.demo import draw_pets
draw_pets(Path("drawn"), per_breed=10_000)
"""
LOADS = """
import time
from torch.utils.data import DataLoader, Dataset
from pets.data.workers import leave_signals

class Slow(Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, index):
        time.sleep(600)

next(iter(DataLoader(Slow(), num_workers=2, worker_init_fn=leave_signals)))
"""
FORKS = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from pets.system.orphans import end_with_maker

if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    with ProcessPoolExecutor(2, initializer=end_with_maker) as pool:
        list(pool.map(time.sleep, [600, 0.1]))
"""
STARTS = """
import subprocess, sys
from pets.system.orphans import END_WITH_MAKER, lifeline

code = END_WITH_MAKER + "import time; time.sleep(600)"
with lifeline() as end:
    subprocess.run([sys.executable, "-c", code], stdin=end)
"""


@pytest.mark.parametrize(
    ("code", "processes"),
    [
        pytest.param(DRAWS, 2, id="drawn pets"),
        pytest.param(LOADS, 3, id="loaders"),
        pytest.param(FORKS.format(method="forkserver"), 5, id="fork server"),
        pytest.param(FORKS.format(method="spawn"), 4, id="spawned"),
        pytest.param(STARTS, 2, id="another interpreter"),
    ],
)
def test_no_process_outlives_a_killed_parent(tmp_path: Path, code: str, processes: int) -> None:
    need(Path("/proc/self/stat").exists(), "there is no /proc")
    (tmp_path / "maker.py").write_text(code)
    command = subprocess.Popen(
        [sys.executable, "maker.py"], cwd=tmp_path, text=True, start_new_session=True
    )
    until(lambda: len(alive(command.pid)) >= processes)
    kill(command, seconds=30)


def test_a_command_with_a_lifeline_exits_normally() -> None:
    code = """
import subprocess, sys
from pets.system.orphans import END_WITH_MAKER, lifeline
with lifeline() as end:
    code = END_WITH_MAKER + "print(7); raise SystemExit(5)"
    found = subprocess.run([sys.executable, "-c", code], stdin=end, capture_output=True, text=True)
print(found.returncode, found.stdout)
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout == "5 7\n\n"
