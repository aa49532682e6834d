"""Measures maintenance on this machine.

    python -m benchmarks.maintenance floor [--rows 500000] [--rounds 3]
    python -m benchmarks.maintenance latency [--rows 300000] [--seconds 20] [--rounds 3]
    python -m benchmarks.maintenance night [--rows 1000000]

Every command takes --directory: where the databases lie, and so which disk is measured.
"""

import argparse
from pathlib import Path
from statistics import median

from benchmarks.maintenance import floor, latency, night


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance", description=__doc__)
    parser.add_argument("what", choices=("floor", "latency", "night"))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    match asked.what:
        case "floor":
            _floor(asked.rows or 500_000, asked.rounds, asked.directory)
        case "latency":
            _latency(asked.rows or 300_000, asked.rounds, asked.seconds, asked.directory)
        case "night":
            night.run(asked.rows or 1_000_000, asked.directory)


def _floor(rows: int, rounds: int, directory: Path | None) -> None:
    done = floor.run(rows, rounds, directory)
    for number, one in enumerate(done, start=1):
        watch = one.watch
        print(
            f"{number}: {one.rows} rows; plain {one.plain_s:.1f} s ({one.plain_cpu_s:.1f} s CPU), "
            f"sweep {one.sweep_s:.1f} s ({watch.cpu_s:.1f} s CPU); throughput {one.throughput:.2f}, CPU {one.cpu:.2f}; "
            f"transactions p50 {watch.percentile_ms(50):.0f} p99 {watch.percentile_ms(99):.0f} "
            f"longest {watch.longest_ms:.0f} ms (looked at least every {watch.late_ms:.0f} ms)"
        )
    print(
        f"throughput {median(one.throughput for one in done):.2f} of a plain DELETE (bar: 0.8), "
        f"longest transaction {max(one.watch.longest_ms for one in done):.0f} ms (bar: 250 ms)"
    )


def _latency(rows: int, rounds: int, seconds: float, directory: Path | None) -> None:
    done = latency.run(rows, rounds, seconds, directory)
    for number, one in enumerate(done, start=1):
        print(
            f"{number}: alone p50 {one.alone.p50_ms:.0f} p99 {one.alone.p99_ms:.0f} ms; "
            f"beside the sweep p50 {one.beside.p50_ms:.0f} p99 {one.beside.p99_ms:.0f} ms, {one.removed} rows removed"
        )
    ratio = median(one.beside.p99_ms for one in done) / median(one.alone.p99_ms for one in done)
    print(f"p99 beside the sweep is {ratio:.2f} of p99 alone (bar: 1.20)")


if __name__ == "__main__":
    main()
