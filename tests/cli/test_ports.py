"""Which port a service of `worker up` gets."""

import pytest

from worker.dev.system import ports
from worker.dev.system.ports import Ports, free_port
from worker.errors import Misconfigured


def test_two_services_were_given_one_port_as_neither_listened_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then, by lot: one of them could not start, and `worker up` never said that everything runs."""
    first = free_port()
    second = free_port({first})
    monkeypatch.setattr(ports, "RANGE", [first, second])
    for _ in range(10):
        system = Ports()
        assert {system.choose(0, "--port"), system.free()} == {first, second}


def test_a_port_asked_for_twice_is_refused_by_the_second_option() -> None:
    system = Ports()
    port = system.choose(0, "--port")
    with pytest.raises(Misconfigured, match=f"port {port} is taken: choose another with --flower-port"):
        system.choose(port, "--flower-port")
