"""How an amount is rounded: data of the plan."""

import decimal
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MODES = {
    "half_up": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
    "up": decimal.ROUND_UP,
    "down": decimal.ROUND_DOWN,
}


@dataclass(frozen=True, slots=True)
class Rounding:
    """`quantum` is the smallest unit that is left; `mode` one of the decimal module's words."""

    quantum: Decimal
    mode: str

    def __call__(self, amount: Decimal) -> Decimal:
        return amount.quantize(self.quantum, rounding=self.mode)


def read_rounding(given: Mapping[str, Any]) -> Rounding:
    """From `{"decimals": 3, "mode": "half_up"}`."""
    return Rounding(Decimal(1).scaleb(-int(given["decimals"])), MODES[given["mode"]])
