"""Signals that stop a process: at once, or at the end of what must not be cut off."""

import ast
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pets
from pets.system import signals
from pets.system.signals import SIGNALS, Stopped, deferred, received, stop, stoppable, take_signals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_at_once_and_only_the_first(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with stoppable():
        with pytest.raises(Stopped) as stopped, stoppable():
            send(number)
        send(signal.SIGTERM)
    assert (stopped.value.signal, stopped.value.code) == (number, 128 + number)
    assert [signal.getsignal(n) for n in SIGNALS] == before
    assert received() is None


def test_a_deferred_signal_sets_a_flag_and_ends_the_process_afterwards() -> None:
    steps = []

    def step() -> None:
        with deferred():
            send(signal.SIGUSR1)
            send(signal.SIGUSR2)
            assert received() == signal.SIGUSR1
            steps.append("done")

    with stoppable(), pytest.raises(Stopped) as stopped:
        step()
    assert stopped.value.signal == signal.SIGUSR1
    assert steps == ["done"]


def test_an_error_in_a_deferral_is_not_replaced_by_the_signal() -> None:
    def write() -> None:
        with deferred():
            send(signal.SIGTERM)
            raise ValueError("full")

    with stoppable(), pytest.raises(ValueError, match="full"):
        write()


def test_a_signal_is_not_deferred_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.0)
    with stoppable(), deferred():
        send(signal.SIGTERM)
        with pytest.raises(Stopped) as stopped:
            send(signal.SIGINT)
        assert stopped.value.signal == signal.SIGTERM


def test_another_process_may_have_received_the_signal() -> None:
    with stoppable(), pytest.raises(Stopped) as stopped:
        stop(signal.SIGUSR2)
    assert stopped.value.code == 140


def test_handlers_of_a_library_are_replaced() -> None:
    with stoppable():
        signal.signal(signal.SIGTERM, lambda *_: None)
        take_signals()
        with pytest.raises(Stopped):
            send(signal.SIGTERM)
    before = signal.getsignal(signal.SIGTERM)
    take_signals()
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_to_be_ignored_stays_so_and_other_threads_take_no_signals() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    def run() -> None:
        with stoppable():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[object] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_a_forked_process_leaves_it_to_its_parent() -> None:
    with stoppable():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                send(signal.SIGTERM)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0


ENGINES = ("pytorch_lightning", "lightning_fabric", "hydra")
COUNTERS = {"batch_progress", "epoch_progress", "optim_progress", "scheduler_progress"}
# What Hydra offers nowhere else: its own sweeper, of which ours is one.
ALLOWED = {"hydra_plugins/pets_sweep.py: hydra._internal.core_plugins.basic_sweeper"}


def private_parts(code: ast.Module) -> Iterator[str]:
    """Private names and progress counters that a module which imports an engine uses."""
    nodes = list(ast.walk(code))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    engines = [node for node in imports if str(node.module).split(".")[0] in ENGINES]
    if not engines:
        return
    for node in engines:
        names = [name for alias in node.names for name in str(alias.name).split(".")]
        if any(part.startswith("_") for part in [*str(node.module).split("."), *names]):
            yield str(node.module)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if (private and owner not in ("self", "cls", "logging")) or node.attr in COUNTERS:
                yield f"{owner}.{node.attr}"
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and any(counter in text for counter in COUNTERS):
            yield text


def test_nothing_touches_private_parts_of_lightning_or_hydra() -> None:
    src = Path(pets.__file__).parents[1]
    hits = {
        f"{file.relative_to(src).as_posix()}: {part}"
        for file in src.rglob("*.py")
        for part in private_parts(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert hits == ALLOWED
