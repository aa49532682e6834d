"""Signals as the launcher sees them: the first asks, the second insists, later ones don't disturb the clean-up."""

import signal
import threading

import pytest

from worker.dev.system.interruption import SIGNALS, Forced, Interrupted, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_ends_the_wait_and_nothing_else(number: signal.Signals) -> None:
    with Interruption() as interruption:
        assert not interruption.wait(0)
        timer = threading.Timer(0.05, signal.raise_signal, [number])
        timer.start()
        assert interruption.wait(60)
        assert interruption.wait(60)
        assert interruption.exit_status == 128 + number
        timer.join()


def test_a_step_that_blocks_is_interrupted() -> None:
    with Interruption() as interruption:
        with pytest.raises(Interrupted), interruption.at_once():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted), interruption.at_once():
            pytest.fail("no step begins once a signal has come")


def test_the_second_signal_is_raised_and_later_ones_are_ignored() -> None:
    with Interruption():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Forced):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_former_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
