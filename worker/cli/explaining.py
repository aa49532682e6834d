"""A quote's stored trace as lines for a table, and as a waterfall in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

BAR = 48
_WORDS = {
    "base": "base rate",
    "coverages": "sum of the coverages",
    "minimum": "minimum premium",
    "maximum": "maximum premium",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One step: what it adds, in US dollars, the premium after it, and the row it comes from."""

    part: str
    step: str
    key: str
    factor: str
    amount: Decimal
    running: Decimal
    source: str


def lines(trace: Mapping[str, Any]) -> Iterator[Line]:
    """Every step of the trace in its order, coverage by coverage, the policy's last."""
    for unit in trace["units"]:
        driver = f"driver {unit['driver']}" if unit["driver"] else "no driver"
        vehicle = f", vehicle {unit['vehicle']}, {driver}" if unit["vehicle"] else ""
        for coverage, rated in unit["coverages"].items():
            for step in rated["steps"]:
                yield _line(f"{coverage}{vehicle}", step, f"rate table {rated['rate_table']}")
    for step in trace["policy"]:
        yield _line("policy", step, f"plan {trace['plan']}")


def _line(part: str, step: Mapping[str, Any], row: str) -> Line:
    name = " ".join(filter(None, (_WORDS.get(step["step"], step["step"]), step.get("code"))))
    if "suppressed" in step:
        why = step.get("why", "reads what the state forbids").replace("_", " ")
        name, row = f"{name}: left out, {why}", f"state rule {step['suppressed']}"
    elif "bounded" in step:
        row = f"{row}, bounded by state rule {step['bounded']}: filed as {step['filed']}"
    elif "rule" in step:
        row = f"{step['step']} rule {step['rule']}" + (", capped" if step.get("capped") else "")
    factor = step.get("factor") or (f"{(Decimal(step['rate']) * 100).normalize():f} %" if "rate" in step else "")
    return Line(part, name, step.get("key", ""), factor, Decimal(step["amount"]), Decimal(step["running"]), row)


def waterfall(found: Sequence[Line]) -> Iterator[str]:
    """A bar for each step that moves the premium, from where it was to where it is; its chain's parts below each other.

    Full blocks rise, light ones fall.
    """
    highest = max((max(line.running, line.running - line.amount) for line in found), default=Decimal(0)) or Decimal(1)
    width = max((len(line.step) for line in found if line.amount), default=0)
    part = ""
    for line in found:
        if line.part != part:
            part = line.part
            yield part
        if not line.amount:
            continue
        low, high = sorted((line.running - line.amount, line.running))
        start, end = (round(amount / highest * BAR) for amount in (low, high))
        bar = " " * start + ("█" if line.amount > 0 else "░") * max(1, end - start)
        yield f"  {line.step:<{width}}  {bar:<{BAR + 1}}  {line.amount:>+12.2f}  {line.running:>12.2f}"


def histogram(bins: Sequence[Sequence[Any]]) -> Iterator[str]:
    """A bar for each bin: its lower end in dollars, and quotes."""
    most = max((count for _, count in bins), default=0) or 1
    for low, count in bins:
        yield f"  {Decimal(low):>+12.2f}  {'█' * -(-count * BAR // most):<{BAR}}  {count}"
