"""Signals as the launcher sees them: the first asks, the second insists, later ones don't disturb the clean-up."""

import signal
import threading

import pytest

from worker.dev.system import interruption
from worker.dev.system.interruption import SIGNALS, Forced, Interrupted, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_ends_the_wait_and_nothing_else(number: signal.Signals) -> None:
    with Interruption() as interrupted:
        assert not interrupted.wait(0)
        timer = threading.Timer(0.05, signal.raise_signal, [number])
        timer.start()
        assert interrupted.wait(60)
        assert interrupted.wait(60)
        assert interrupted.exit_status == 128 + number
        timer.join()


def test_a_step_that_blocks_is_interrupted() -> None:
    with Interruption() as interrupted:
        with pytest.raises(Interrupted), interrupted.at_once():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted), interrupted.at_once():
            pytest.fail("no step begins once a signal has come")


def test_the_second_signal_is_raised_and_later_ones_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "ECHO_S", 0)
    with Interruption():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Forced):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_the_echo_of_a_signal_is_not_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "ECHO_S", 60)
    with Interruption() as interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interrupted.wait(0)


def test_former_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
