"""Jobs asked for a second, with nobody at work on them: one by one, in the caller's transaction, and many at once.

Ours commit rows to PostgreSQL, most peers put messages into Valkey, which writes them to disk once a second.
"""

from dataclasses import dataclass, replace

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.place import Place
from benchmarks.stage import open_stage
from benchmarks.templates import Template

SINGLE = 500

_TRANSACTION = "ours, in the caller's transaction"


def contenders() -> list[Contender]:
    """Ours in three forms, and every peer once."""
    ours = next(one for one in CONTENDERS if one.is_ours)
    forms = {
        "ours, verifications": "benchmarks.ours.bulk",
        "ours, jobs without rows of their own": "benchmarks.ours.plain",
        _TRANSACTION: "benchmarks.ours.transaction",
    }
    peers = {one.module: one for one in CONTENDERS if one.is_peer}
    return [*(replace(ours, name=name, module=module) for name, module in forms.items()), *peers.values()]


@dataclass(frozen=True, slots=True)
class Asked:
    """Jobs a second. `single` is None where a way has no single form."""

    contender: str
    single: float | None
    many: float
    many_seconds: float


def one_round(place: Place, contender: Contender, template: Template, many: int) -> Asked:
    idle, singles = replace(contender, processes=0), min(SINGLE, many)
    with open_stage(place, idle, template, latency_s=0.05, in_flight=1) as stage:
        single = None
        if contender.name != _TRANSACTION:
            stage.ask_one_by_one(10)  # connections are made
            moments = stage.ask_one_by_one(singles)
            single = singles / (moments[-1] - moments[0])
        begun, ended = stage.ask(many)
        return Asked(contender.name, single, many / (ended - begun), ended - begun)
