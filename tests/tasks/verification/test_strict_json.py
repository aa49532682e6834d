"""Strangers' JSON: read or refused, but never an accident, and always something PostgreSQL can keep."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.verification.strict_json import MAX_DEPTH, Unreadable, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\xff")
@example(b'{"a":1e999999999}')
@example(b'{"a":0e-999999999}')
@example(b'{"a":' + b"1" * 5000 + b"}")
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    problem = problem_of(body)
    assert problem is None or problem.isprintable()


@given(st.dictionaries(st.text(), JSON))
@example({"a": "\0", "b\0": "\ud800", "c": "\\u0000", "d": "\U0001f600\ud83d"})
def test_what_is_kept_can_be_stored(value: dict[str, Any]) -> None:
    """No NUL and no half pair of surrogates is left, and nothing else is gone."""
    body = json.dumps(value).encode()
    if problem := problem_of(body):
        assert "same key" in problem or "digits" in problem
        return
    document = parse(body)
    for text in _texts(document.value):
        assert "\0" not in text
        text.encode("utf-8")
    assert json.loads(document.text, parse_float=Decimal) == document.value
    assert document.is_cleaned is (list(_texts(value)) != list(_texts(document.value)))


def problem_of(body: bytes) -> str | None:
    """What `parse` says against the body, if anything."""
    try:
        parse(body)
    except Unreadable as error:
        return str(error)
    return None


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"a":1,"a":2}', "same key"),
        (b'{"a":{"b":1,"b":1}}', "same key"),
        (b'{"a\\u0000":1,"a":2}', "same key"),
        (b'{"a":NaN}', "not finite"),
        (b'{"a":-Infinity}', "not finite"),
        (b'{"a":1e400}', "digits"),
        ('{"a":"ä"}'.encode("latin-1"), "UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        (b'{"a":"\x00"}', "not JSON"),
    ],
)
def test_refusals_say_why(body: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        parse(body)


def test_depth_is_limited_exactly() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert parse(nested(MAX_DEPTH)).value
    with pytest.raises(Unreadable, match="deeper"):
        parse(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r'{"a":"x\u0000y"}', r'{"a":"xy"}'),
        (r'{"a":"\u0000\u0000"}', r'{"a":""}'),
        (r'{"a":"\\u0000"}', r'{"a":"\\u0000"}'),
        (r'{"a":"\\\u0000"}', r'{"a":"\\"}'),
        (r'{"a":"\ud83d\ude00"}', r'{"a":"\ud83d\ude00"}'),
        (r'{"a":"\ud83dx"}', r'{"a":"x"}'),
        (r'{"a":"\ude00\ud83d"}', r'{"a":""}'),
        (r'{"a":"\ud83d\ud83d\ude00"}', r'{"a":"\ud83d\ude00"}'),
    ],
)
def test_only_what_cannot_be_stored_is_taken_out(text: str, kept: str) -> None:
    document = parse(text.encode())
    assert document.text == kept
    assert document.is_cleaned is (text != kept)


def test_numbers_stay_exact() -> None:
    value = parse(b'{"a":95.10,"b":12345678901234567890}').value
    assert value == {"a": Decimal("95.10"), "b": 12345678901234567890}
    assert str(value["a"]) == "95.10"
