"""What two ranks exchange until one of them fails, for test_ranks.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pets.distributed.process_group import (
    all_gather,
    check_same,
    leader_first,
    on_rank_0,
    process_group,
)
from pets.distributed.ranks import ranks
from pets.errors import DataError, RankError


def main(out: Path) -> None:
    """Write what this rank was told; rank 1 ends with an error of its own."""
    result: dict[str, Any] = {}
    try:
        with process_group():
            _exchange(result)
    except RankError as error:
        result["raised"] = str(error)
    finally:
        out.write_text(json.dumps(result))


def _exchange(result: dict[str, Any]) -> None:
    rank = ranks().rank

    def make() -> float:
        time.sleep(0.0 if rank else 0.5)
        return time.time()

    result["told"] = on_rank_0(lambda: f"by {rank}")
    result["made"] = leader_first(make)
    try:
        check_same("the number of a rank", rank)
        result["same"] = "yes"
    except RankError as error:
        result["same"] = str(error)
    result["all"] = all_gather({"rank": rank, "values": (f"{rank}" * 1000 * rank, None)})
    if rank == 1:
        raise DataError("a.jpg: cannot be read")
    check_same("what never comes", 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
