"""Tokens are read strictly and given up well before their end."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.strict_json import Unreadable
from tasks.verification.token import UNSTATED_LIFE_S, kept_for_s, read_token

GOOD = {"access_token": "abc", "token_type": "Bearer", "expires_in": 300}


def test_a_token_is_kept_for_its_life_less_a_margin() -> None:
    token = read_token(orjson.dumps(GOOD))
    assert (token.value, token.ttl_s) == ("abc", 270)
    assert "abc" not in repr(token)
    assert token.digest == read_token(orjson.dumps(GOOD | {"expires_in": 60})).digest


@pytest.mark.parametrize(
    ("life", "kept"), [(300, 270), (3600, 3240), (UNSTATED_LIFE_S, 30), (31, 1), (5, 1), (10**9, 77760)]
)
def test_the_margin_is_thirty_seconds_or_a_tenth(life: float, kept: float) -> None:
    assert kept_for_s(life) == kept


@given(st.floats(31, 10**7))
def test_no_token_is_kept_to_its_end(life: float) -> None:
    assert 1 <= kept_for_s(life) <= life - 30 or kept_for_s(life) == 1


def test_a_life_that_is_not_stated_is_short() -> None:
    said = {name: value for name, value in GOOD.items() if name != "expires_in"}
    assert read_token(orjson.dumps(said)).ttl_s == kept_for_s(UNSTATED_LIFE_S)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\nb"},
        {"access_token": "ä"},
        {"access_token": 7},
        {"token_type": "mac"},
        {"token_type": None},
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": "300"},
        {"expires_in": True},
        {"expires_in": None},
    ],
)
def test_what_is_no_bearer_token_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_token(orjson.dumps(GOOD | changes))


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_token(body)
