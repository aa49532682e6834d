"""The results as tables on a terminal, and what they say about the targets."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.contenders import CHECKOUT, CONTENDERS

Record = results.Record

_BULK, _MESSAGES = (one.name for one in CONTENDERS if one.is_ours)
_OURS = {_BULK: "in bulk", _MESSAGES: "with a message each"}
_PEERS = {one.name for one in CONTENDERS if one.is_peer}
_GATHERED = "bare loop, gathered"
_PARTS = ("workers", "postgres", "valkey")


def show(console: Console, folder: Path) -> None:
    """Every section that was measured, in this run or before."""
    for name, tables in {
        "throughput": _throughput,
        "latency": _latency,
        "enqueue": _enqueue,
        "recovery": _recovery,
        "growth": _growth,
        "maintenance": _maintenance,
        "startup": _startup,
    }.items():
        if (document := results.read(folder, name)) is None:
            continue
        console.print()
        console.print(f"[bold]{name}[/], measured {document['at']}", highlight=False)
        for table in tables(document["records"]):
            console.print(table)


def plot(folder: Path) -> None:
    """Drawn by matplotlib, which only the peers' environment has."""
    python = CHECKOUT / ".venv-bench" / "bin" / "python"
    if python.exists() and results.read(folder, "throughput") is not None:
        subprocess.run(  # noqa: S603 - our own command
            [python, "-m", "benchmarks.plot", str(folder)], cwd=CHECKOUT, check=True
        )


def jobs_per_s(records: Iterable[Record], name: str, latency_ms: int) -> list[float]:
    """One figure a round."""
    return [(one["jobs"] - one["check"]["lost"]) / one["seconds"] for one in _rounds(records, name, latency_ms)]


def cpu_ms(records: Iterable[Record], name: str, latency_ms: int) -> dict[str, float]:
    """CPU of one job by part (workers, postgres, valkey); medians of the rounds. Empty without rounds."""
    rounds = _rounds(records, name, latency_ms)
    return {part: median(one["cpu"][part] * 1000 / one["jobs"] for one in rounds) for part in _PARTS if rounds}


def _rounds(records: Iterable[Record], name: str, latency_ms: int) -> list[Record]:
    return [one for one in records if one["contender"] == name and one["latency_ms"] == latency_ms]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _throughput(records: list[Record]) -> Iterator[Any]:
    latencies = sorted({one["latency_ms"] for one in records})
    table = _table("jobs/s: median (spread)", *(f"{ms} ms" for ms in latencies), "lost", "doubled")
    for name, mine in _by_contender(records):
        rates = [_spread(jobs_per_s(records, name, ms)) for ms in latencies]
        troubles = [str(sum(one["check"][word] for one in mine) or "") for word in ("lost", "doubled")]
        table.add_row(name, *rates, *troubles)
    yield table
    for latency_ms in latencies:
        yield from _cpu(records, latency_ms)
        yield from _targets(records, latency_ms)


def _by_contender(records: list[Record]) -> Iterator[tuple[str, list[Record]]]:
    for contender in CONTENDERS:
        if mine := [one for one in records if one["contender"] == contender.name]:
            yield contender.name, mine


def _cpu(records: list[Record], latency_ms: int) -> Iterator[Any]:
    table = _table(f"CPU ms a job at {latency_ms} ms", *_PARTS, "together")
    for name, _ in _by_contender(records):
        if parts := cpu_ms(records, name, latency_ms):
            table.add_row(name, *(f"{cost:.2f}" for cost in parts.values()), f"{sum(parts.values()):.2f}")
    yield table


def _spread(rates: list[float]) -> str:
    return f"{median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})" if rates else ""


def _targets(records: list[Record], latency_ms: int) -> Iterator[str]:
    """What issue 10 asks of throughput and of CPU, in words."""
    rate = {one.name: median(found) for one in CONTENDERS if (found := jobs_per_s(records, one.name, latency_ms))}
    peers = {name: jobs for name, jobs in rate.items() if name in _PEERS}
    if not peers or _BULK not in rate:
        return
    best = max(peers, key=lambda name: peers[name])
    yield f"Best peer at {latency_ms} ms: {best}."
    if _MESSAGES in rate:
        yield f"A message a job: {rate[_MESSAGES] / peers[best]:.2f} of it (target 1.5)."
    yield f"Bulk: {rate[_BULK] / peers[best]:.2f} of it (target 4)."
    if _GATHERED in rate:
        yield f"Bulk: {rate[_BULK] / rate[_GATHERED]:.2f} of the gathered floor (target 0.6)."
    cpu = {name: sum(cpu_ms(records, name, latency_ms).values()) for name in rate}
    cheapest = min(peers, key=lambda name: cpu[name])
    ours = ", ".join(f"{cpu[name]:.2f} {words}" for name, words in _OURS.items() if name in cpu)
    yield f"CPU ms a job: {ours}; of the cheapest peer, {cheapest}, {cpu[cheapest]:.2f} (target: less than that)."


def _latency(records: list[Record]) -> Iterator[Any]:
    rates = sorted({one["per_second"] for one in records})
    table = _table("ms to the provider: p50 / p99", *(f"{rate}/s" for rate in rates))
    for name in dict.fromkeys(one["contender"] for one in records):
        mine = {one["per_second"]: one for one in records if one["contender"] == name}
        table.add_row(name, *(f"{mine[rate]['p50_ms']:.0f} / {mine[rate]['p99_ms']:.0f}" for rate in rates))
    yield table
    yield "Target for ours: p50 under 30 ms, p99 under 150 ms."


def _enqueue(records: list[Record]) -> Iterator[Any]:
    table = _table("jobs asked for a second", "one by one", "at once")
    for name in dict.fromkeys(one["contender"] for one in records if one["of"] == "Asked"):
        mine = [one for one in records if one["of"] == "Asked" and one["contender"] == name]
        singles = [one["single"] for one in mine if one["single"] is not None]
        table.add_row(name, _spread(singles), _spread([one["many"] for one in mine]))
    yield table
    for one in records:
        if one["of"] == "Answers":
            yield (
                f"HTTP API at {one['per_second']} requests a second: p50 {one['p50_ms']:.1f} ms,"
                f" p99 {one['p99_ms']:.1f} ms (target 20), {one['refused']} of {one['requests']} refused."
            )


def _recovery(records: list[Record]) -> Iterator[str]:
    for one in records:
        yield (
            f"A worker killed with {one['in_flight']} jobs in flight: the last was done {one['seconds']:.1f} s later,"
            f" {one['check']['lost']} lost."
        )


def _growth(records: list[Record]) -> Iterator[Any]:
    costs = [one for one in records if one["of"] == "Cost"]
    table = _table("finished rows", "ms a job", "beside none")
    for one in costs:
        ratio = one["ms_per_job"] / costs[0]["ms_per_job"]
        table.add_row(f"{one['finished_rows']:,}", f"{one['ms_per_job']:.3f}", f"{ratio:.2f}")
    yield table
    for one in records:
        if one["of"] == "Memory":
            yield (
                f"A worker beside {one['scheduled_rows']:,} scheduled jobs: {one['after_mb']:.0f} MB,"
                f" {one['before_mb']:.0f} MB before."
            )
        elif one["of"] == "Soak":
            yield (
                f"Soak of {one['minutes']:g} minutes, {one['jobs']} jobs, {one['lost']} lost: {one['start_mb']:.0f} to"
                f" {one['end_mb']:.0f} MB, in its second half {one['mb_per_hour']:+.1f} MB an hour."
            )


def _maintenance(records: list[Record]) -> Iterator[str]:
    return (f"{one['what']}: {one['said']}" for one in records)


def _startup(records: list[Record]) -> Iterator[str]:
    for one in records:
        yield f"worker up: {one['first_s']:.1f} s the first time, {one['second_s']:.1f} s the second (target 6)."
        yield f"import worker.enqueue: {one['import_ms']:.0f} ms (target 150)."
