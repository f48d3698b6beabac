"""The on-disk cache: entries are atomic, whatever happens to the process, the disk, the files."""

import contextlib
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pets.cache.store import ABOUT, Store, megabytes
from pets.errors import CacheError

SPAWN = multiprocessing.get_context("spawn")
FILE = "values.bin"
KEY = {"photos": "abc", "size": (224, 224)}


def writes(content: bytes, calls: list[int] | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        if calls is not None:
            calls.append(1)
        (folder / "values.bin").write_bytes(content)

    return make


def get(
    store: Store,
    content: bytes = b"12345",
    key: object = KEY,
    size: int = 5,
    calls: list[int] | None = None,
) -> Path:
    """The file of the entry."""
    make = writes(content, calls)
    args = "activations of 5 photos"
    return store.get("activations", {"key": key}, args, size, make, lambda folder: folder) / FILE


def test_an_entry_is_computed_once_and_then_reused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls: list[int] = []
    for _ in range(3):
        store = Store(tmp_path / "cache")
        result = store.get(
            "activations", KEY, "some words", 3_200_000, writes(b"12345", calls),
            lambda folder: (folder / FILE).read_bytes(),
        )  # fmt: skip
        assert result == b"12345"
    assert calls == [1]
    assert [r.getMessage() for r in caplog.records] == [
        f"some words: 3.2 MB in {tmp_path}/cache",
        f"some words: read from {tmp_path}/cache",
        f"some words: read from {tmp_path}/cache",
    ]


def test_any_change_of_the_key_gives_another_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert get(store, b"a", {"a": 1}) != get(store, b"b", {"a": 2})
    assert get(store, b"c", {"a": 1}).read_bytes() == b"a"
    assert get(store, b"x", [1, 2]) == get(store, b"y", (1, 2))


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        (folder / "values.bin").write_bytes(b"half")
        raise ValueError("no more")

    store = Store(tmp_path)
    with pytest.raises(ValueError, match="no more"):
        store.get("activations", KEY, "words", 4, breaks, lambda folder: folder)
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith(".lock")]
    assert store.entries() == []


def slowly(folder: str, seconds: float, started: str) -> None:
    """Write half of the content at once and the rest later; runs in its own process."""

    def make(part: Path) -> None:
        with (part / "values.bin").open("wb") as stream:
            stream.write(b"12")
            stream.flush()
            Path(started).touch()
            time.sleep(seconds)
            stream.write(b"345")
        with (Path(folder) / "made").open("a") as made:
            made.write("x")

    key = {"key": KEY}
    Store(folder).get("activations", key, "activations of 5 photos", 5, make, lambda path: path)


def wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, f"{file} did not come"
        time.sleep(0.01)


def test_a_killed_writer_leaves_no_usable_entry(tmp_path: Path) -> None:
    writer = SPAWN.Process(target=slowly, args=(str(tmp_path), 600, str(tmp_path / "started")))
    writer.start()
    wait_for(tmp_path / "started")
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".part-")]
    store = Store(tmp_path)
    assert store.entries() == []
    result = get(store)
    assert result.read_bytes() == b"12345"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".part-")]


def test_a_second_writer_waits_for_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer = SPAWN.Process(target=slowly, args=(str(tmp_path), 1.5, str(tmp_path / "started")))
    writer.start()
    wait_for(tmp_path / "started")
    calls: list[int] = []
    result = get(Store(tmp_path), b"mine", calls=calls)
    writer.join()
    assert writer.exitcode == 0
    assert calls == []
    assert result.read_bytes() == b"12345"
    assert "another process is computing it; waiting" in caplog.text


def test_five_concurrent_processes_create_one_entry(tmp_path: Path) -> None:
    writers = [
        SPAWN.Process(target=slowly, args=(str(tmp_path), 0.2, str(tmp_path / "started")))
        for _ in range(5)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 5
    assert (tmp_path / "made").read_text() == "x"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "values.bin").write_bytes(b"123"),
        lambda folder: (folder / "values.bin").unlink(),
        lambda folder: (folder / ABOUT).write_text("{"),
        lambda folder: (folder / ABOUT).unlink(),
        lambda folder: (folder / ABOUT).write_text("[]"),
        lambda folder: (folder / ABOUT).write_text('{"files": {}}'),
        lambda folder: (folder / "values.bin").write_bytes(b"\0" * 5),
        lambda folder: (shutil.rmtree(folder), folder.write_text("a file")),
    ],
    ids=[
        "cut short",
        "file gone",
        "about damaged",
        "about gone",
        "about of another kind",
        "about without its key",
        "zeros of the same length",
        "a file in its place",
    ],
)
def test_a_damaged_entry_is_recomputed_with_a_warning(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    damage(get(store).parent)
    assert store.entries() == []
    assert "damaged" in caplog.text
    result = get(store)
    assert result.read_bytes() == b"12345"
    assert caplog.text.count("it is recomputed") == 1


def test_an_entry_with_another_key_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its name: the key is compared, not only its hash."""
    store = Store(tmp_path)
    folder = get(store).parent
    about = json.loads((folder / ABOUT).read_text())
    about["key"]["key"]["size"] = [128, 128]
    (folder / ABOUT).write_text(json.dumps(about))
    assert get(store, b"67890").read_bytes() == b"67890"
    assert "it is recomputed" in caplog.text


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(CacheError, match=r"no space|No space") as refused:
        get(store, size=10**18)
    assert "needs 1,000,000,000,000 MB" in str(refused.value)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CacheError, match="Make room"):
            get(store, b"x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith(".lock")]
    assert len(get(store, b"x" * 200_000).read_bytes()) == 200_000


def test_only_errors_of_cache_files_become_cache_errors(tmp_path: Path) -> None:
    def reads(folder: Path) -> None:
        (tmp_path / "no such photo").read_bytes()

    with pytest.raises(FileNotFoundError, match="no such photo"):
        Store(tmp_path).get("activations", KEY, "words", 4, reads, lambda folder: folder)


def test_an_entry_cleared_while_it_is_opened_is_recomputed(tmp_path: Path) -> None:
    get(Store(tmp_path))
    opened: list[Path] = []

    def load(folder: Path) -> bytes:
        if not opened:
            shutil.rmtree(folder)
        opened.append(folder)
        return (folder / FILE).read_bytes()

    made = Store(tmp_path).get("activations", {"key": KEY}, "words", 5, writes(b"again"), load)
    assert made == b"again"
    assert len(opened) == 2


@contextlib.contextmanager
def no_root() -> Iterator[None]:
    """Runs as another user, since root may write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder_serves_entries_and_refuses_new_ones() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cache"
        get(Store(folder))
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        try:
            with no_root():
                assert get(Store(folder)).read_bytes() == b"12345"
                with pytest.raises(CacheError, match="cannot be written") as refused:
                    get(Store(folder), key="another")
                assert "expected a folder of your own: cache_dir=..." in str(refused.value)
        finally:
            folder.chmod(0o755)


def test_a_cache_dir_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CacheError, match=f"cache_dir={tmp_path}/cache: cannot be written"):
        get(Store(tmp_path / "cache"))
    with pytest.raises(CacheError, match="is not a folder"):
        Store(tmp_path / "cache").entries()


def test_clearing_removes_entries_and_leftovers_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = get(store).parent.name
    get(store, b"123", "another", 3)
    (tmp_path / f".part-{name}-4711").mkdir()
    (tmp_path / f".part-{name}-4711/values.bin").write_bytes(b"1234")
    (tmp_path / f".part-{name}-gone").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "activations-mine").mkdir()
    freed, busy = store.clear()
    assert busy == []
    assert freed > 12
    left = {p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")}
    assert left == {"thesis.tex", "activations-mine"}
    assert Store(tmp_path / "nowhere").clear() == (0, [])


def test_clearing_keeps_entries_that_are_being_written(tmp_path: Path) -> None:
    writer = SPAWN.Process(target=slowly, args=(str(tmp_path), 1.5, str(tmp_path / "started")))
    writer.start()
    wait_for(tmp_path / "started")
    _, busy = Store(tmp_path).clear()
    writer.join()
    assert len(busy) == 1
    assert writer.exitcode == 0
    assert [entry.bytes for entry in Store(tmp_path).entries()] == [5]


def test_entries_are_listed_by_their_last_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for place, key in enumerate("abc"):
        os.utime(get(store, key=key).parent / ABOUT, (1000 + place, 1000 + place))
    get(store, key="a")
    assert [entry.key["key"] for entry in store.entries()] == ["a", "c", "b"]


def test_sizes_are_human_readable() -> None:
    result = [megabytes(n) for n in (0, 1_240_000, 12_400_000, 1_250_000_000)]
    assert result == ["0.0 MB", "1.2 MB", "12 MB", "1,250 MB"]
