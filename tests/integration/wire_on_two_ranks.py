"""What two ranks tell each other until one of them fails, for test_ranks.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pets.distributed.ranks import ranks
from pets.distributed.wire import from_writer, in_turn, joined, same_on_all
from pets.errors import DataError, RankError


def main(out: Path) -> None:
    """Write what this rank was told; rank 1 ends with an error of its own."""
    rank, found = ranks().rank, {}

    def make() -> float:
        time.sleep(0.0 if rank else 0.5)
        return time.time()

    with joined():
        found["told"] = from_writer(lambda: f"by {rank}")
        found["made"] = in_turn(make)
        try:
            same_on_all("the number of a rank", rank)
            found["same"] = "yes"
        except RankError as error:
            found["same"] = str(error)
        out.write_text(json.dumps(found))
        if rank == 1:
            raise DataError("a.jpg: cannot be read")
        try:
            same_on_all("what never comes", 0)
        except RankError as error:
            out.write_text(json.dumps({**found, "raised": str(error)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
