"""Lengths of time on the command line."""

from datetime import timedelta

import pytest

from worker.cli.duration import parse_duration
from worker.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("60s", timedelta(minutes=1)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
    ],
)
def test_a_number_with_its_unit_is_a_length_of_time(text: str, meant: timedelta) -> None:
    assert parse_duration(text) == meant


@pytest.mark.parametrize("text", ["", "60", "s", "-5s", "0s", "1.5h", "5 s", "5S", "1w", "9999999999s"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadRequest, match="is not a length of time") as refused:
        parse_duration(text)
    assert repr(text) in str(refused.value)
