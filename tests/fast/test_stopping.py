"""Signals that stop a process: at once, in a wait, or at a place."""

import os
import signal
import threading

import pytest

from pets.system.signals import (
    SIGNALS,
    Stopped,
    When,
    asked,
    end_here,
    end_when,
    stoppable,
    waiting,
)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_at_once_and_only_the_first(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with stoppable():
        with pytest.raises(Stopped) as stopped, stoppable():
            send(number)
        send(signal.SIGTERM)
        end_here()
    assert (stopped.value.signal, stopped.value.code) == (number, 128 + number)
    assert [signal.getsignal(n) for n in SIGNALS] == before
    assert asked() is None


def test_a_signal_waits_for_a_place() -> None:
    with stoppable():
        end_when(When.HERE)
        send(signal.SIGUSR1)
        send(signal.SIGUSR2)
        assert asked() == signal.SIGUSR1
        with waiting():
            pass
        with pytest.raises(Stopped) as stopped:
            end_here()
    assert stopped.value.signal == signal.SIGUSR1
    with stoppable():
        end_when(When.HERE)
        send(signal.SIGTERM)
        with pytest.raises(Stopped):
            end_when(When.AT_ONCE)


def test_a_wait_ends_at_once_also_where_the_signal_came_before_it() -> None:
    with stoppable():
        end_when(When.IN_WAITS)
        with pytest.raises(Stopped), waiting():
            send(signal.SIGTERM)
    with stoppable():
        end_when(When.IN_WAITS)
        send(signal.SIGTERM)
        with pytest.raises(Stopped), waiting():
            pass


def test_another_process_may_have_been_asked() -> None:
    with stoppable():
        end_when(When.HERE)
        end_here(0)
        with pytest.raises(Stopped) as stopped:
            end_here(signal.SIGUSR2)
    assert stopped.value.code == 140


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
