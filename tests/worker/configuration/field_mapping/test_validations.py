"""What a value must be, and what a pattern may cost."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.configuration.field_mapping import patterns
from worker.configuration.field_mapping.patterns import MAX_PROGRAM, MAX_TEXT, compile_pattern
from worker.configuration.field_mapping.problems import BadRule, Unfit
from worker.configuration.field_mapping.validations import VALIDATIONS, compile_validation

TODAY = date(2026, 1, 15)


def verdict(rules: Any, value: Any) -> str:
    try:
        compile_validation(rules)(value, TODAY)
    except Unfit as unfit:
        return unfit.word
    return "passes"


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        ({"required": True}, "x", None),
        ({"required": True}, "x", ""),
        ({"min_length": 2}, "ab", "a"),
        ({"max_length": 2}, "ab", "abc"),
        ({"max_length": 4}, 2019, 20191),
        ({"pattern": "^[A-Z0-9]+$"}, "TX1", "tx1"),
        ({"pattern": "b"}, "abc", "ac"),
        ({"enum": ["DL", "ID"]}, "DL", "XX"),
        ({"enum": [1, 2]}, "1", 3),
        ({"min": 1900}, 1900, "1899"),
        ({"max": Decimal("1.5")}, "1.5", Decimal("1.51")),
        ({"min_date": "2020-01-01"}, "2020-01-01", "12/31/2019"),
        ({"max_date": "today"}, TODAY, TODAY + timedelta(days=1)),
        ({"max_date": "today+30d"}, "2026-02-14", "2026-02-15"),
        ({"min_date": "today-30d"}, "2025-12-16", "2025-12-15"),
        ({"min_date": "2020-01-01"}, "2021-01-01", "00000000"),
    ],
)
def test_a_rule_lets_through_what_fits_and_names_itself(rules: dict[str, Any], good: Any, bad: Any) -> None:
    (name,) = rules
    assert verdict(rules, good) == "passes"
    assert verdict(rules, bad) == name


@pytest.mark.parametrize("name", [name for name in VALIDATIONS if name != "required"])
def test_a_missing_value_breaks_no_rule_but_required(name: str) -> None:
    rule = {"pattern": "x", "enum": ["x"], "min_date": "today", "max_date": "today"}.get(name, 1)
    assert verdict({name: rule}, None) == "passes"
    assert verdict({name: rule, "required": True}, None) == "required"


@pytest.mark.parametrize(
    ("rules", "value", "word"),
    [
        ({"min": 1}, "many", "not_a_number"),
        ({"max_date": "today"}, "soon", "not_a_date"),
        ({"max_length": 3}, ["a"], "not_text"),
        ({"pattern": "a"}, "a" * (MAX_TEXT + 1), "too_long"),
    ],
)
def test_what_can_t_be_checked_has_a_word_of_its_own(rules: Any, value: Any, word: str) -> None:
    assert verdict(rules, value) == word


@pytest.mark.parametrize(
    "rules",
    [
        "required",
        {"requird": True},
        {"required": 1},
        {"min_length": -1},
        {"max_length": True},
        {"max_length": 10_001},
        {"min_length": 5, "max_length": 4},
        {"min": 5, "max": 4},
        {"min": "5"},
        {"max": True},
        {"enum": []},
        {"enum": [None]},
        {"enum": "DL"},
        {"pattern": ""},
        {"pattern": "("},
        {"pattern": "a" * 201},
        {"pattern": "(?<=a)b"},
        {"pattern": "((a{1,50}){1,50}){1,50}"},
        {"min_date": "yesterday"},
        {"max_date": "2026-02-30"},
        {"max_date": 20260101},
    ],
    ids=str,
)
def test_a_broken_rule_is_refused_and_named(rules: Any) -> None:
    with pytest.raises(BadRule) as refused:
        compile_validation(rules)
    assert any(name in str(refused.value) for name in ("validation_rules", *VALIDATIONS))


CATASTROPHES = ("^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){20}$", "(x+x+)+y")
"""Each takes a backtracking engine more steps than there are atoms, for a line of forty letters."""


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_a_catastrophic_pattern_is_a_small_program_that_reads_each_character_once(pattern: str) -> None:
    """The bound is one of size, not of time: the work is at most instructions times characters."""
    program = compile_pattern(pattern, "pattern")
    assert program.programsize * MAX_TEXT <= MAX_PROGRAM * MAX_TEXT <= 10_000_000
    assert verdict({"pattern": pattern}, "a" * (MAX_TEXT - 1) + "!") == "pattern"


def test_the_engine_is_one_that_can_t_backtrack() -> None:
    assert type(compile_pattern("a", "pattern")).__module__ == "re2"
    with pytest.raises(BadRule, match="RE2"):
        compile_pattern(r"(a)\1", "pattern")  # what backtracking is for
    assert patterns.MAX_PATTERN == 200


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_a_range_lets_through_exactly_what_lies_within(low: int, high: int, value: int) -> None:
    rules = {"min": min(low, high), "max": max(low, high)}
    assert (verdict(rules, value) == "passes") is (rules["min"] <= value <= rules["max"])


@given(st.text(max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_lengths_count_characters(text: str, low: int, high: int) -> None:
    rules = {"min_length": min(low, high), "max_length": max(low, high)}
    passes = not text or rules["min_length"] <= len(text) <= rules["max_length"]
    assert (verdict(rules, text) == "passes") is passes
