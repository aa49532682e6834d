"""What is done to a value, in the engine's own order, and which rules are none."""

from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.configuration.field_mapping.problems import BadRule, Unfit
from worker.configuration.field_mapping.transforms import TRANSFORMATIONS, compile_transformation, concat_of

WORDS: dict[str, Any] = {"lookup": {"DL": "driver", "ID": "card"}}


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        (None, "as it is", "as it is"),
        ({}, " kept ", " kept "),
        ({"trim": True}, " Ann \t", "Ann"),
        ({"trim": False}, " Ann ", " Ann "),
        ({"uppercase": True}, "Ann", "ANN"),
        ({"lowercase": True}, "Ann", "ann"),
        ({"titlecase": True}, "mary-ann o'neil", "Mary-Ann O'Neil"),
        ({"last": 4}, "78701-0001", "0001"),
        ({"last": 4}, "01", "01"),
        ({"regex_replace": {"pattern": "[^0-9]", "replacement": ""}}, "TX 123-4", "1234"),
        ({"regex_replace": {"pattern": "^(\\d{5})-?(\\d{4})$", "replacement": "\\2/\\1"}}, "787010001", "0001/78701"),
        (
            {
                "regex_replace": [
                    {"pattern": "a", "replacement": "b"},
                    {"pattern": "b+", "replacement": "c"},
                ]
            },
            "aab",
            "c",
        ),
        (WORDS, "DL", "driver"),
        ({**WORDS, "uppercase": True}, "dl", "driver"),
        ({**WORDS, "default": "other"}, "XX", "other"),
        ({"date": True}, "2030-05-15", date(2030, 5, 15)),
        ({"date": True}, "05/15/2030", date(2030, 5, 15)),
        ({"date": True}, "00000000", None),
        ({"date": "YYYYMMDD"}, "20300515", date(2030, 5, 15)),
        ({"date": ["DD.MM.YYYY", "MMDDYYYY"]}, "15.05.2030", date(2030, 5, 15)),
        ({"date": "YYYY-MM-DDThh:mm:ss"}, "2030-05-15T10:30:00Z", date(2030, 5, 15)),
        ({"integer": True}, " 2019 ", 2019),
        ({"integer": True}, Decimal("2019.0"), 2019),
        ({"decimal": True}, "1.50", Decimal("1.50")),
        ({"decimal": {"scale": 1}}, "1.25", Decimal("1.3")),
        ({"boolean": True}, "Yes", True),
        ({"boolean": True}, 0, False),
        ({"boolean": {"true": ["J"], "false": ["N"]}}, "j", True),
        ({"default": "N/A"}, None, "N/A"),
        ({"trim": True, "default": "N/A"}, "   ", "N/A"),
        ({"default": "N/A"}, "there", "there"),
        ({"array": "first"}, ["a", "b"], "a"),
        ({"array": "last"}, ["a", None], "a"),
        ({"array": "count"}, ["a", "b", None], 2),
        ({"array": {"join": ", "}}, ["a", 2], "a, 2"),
        ({"array": "first", "default": "none"}, [], "none"),
        ({"array": "first"}, "alone", "alone"),
        # The order is the engine's: first to the last, then upper case, then the lookup.
        ({"lookup": {"B": "found"}, "uppercase": True, "last": 1, "trim": True}, " ab ", "found"),
    ],
)
def test_rules_transform(rules: Any, value: Any, expected: Any) -> None:
    found = compile_transformation(rules)(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("rules", "value", "word"),
    [
        (WORDS, "XX", "not_in_lookup"),
        ({"date": True}, "tomorrow", "not_a_date"),
        ({"date": True}, "2030-02-30", "not_a_date"),
        ({"date": True}, 20300515, "not_a_date"),
        ({"integer": True}, "12.5", "not_an_integer"),
        ({"integer": True}, True, "not_an_integer"),
        ({"decimal": True}, "1e9", "not_a_number"),
        ({"decimal": {"scale": 2}}, Decimal("1E+30"), "not_a_number"),
        ({"boolean": True}, "maybe", "not_a_boolean"),
        ({"trim": True}, {"an": "object"}, "not_text"),
        ({"uppercase": True}, ["a", "list"], "not_text"),
        ({"regex_replace": {"pattern": "a", "replacement": ""}}, "a" * 5000, "too_long"),
    ],
)
def test_a_value_that_does_not_fit_says_so_in_a_word(rules: Any, value: Any, word: str) -> None:
    with pytest.raises(Unfit) as unfit:
        compile_transformation(rules)(value)
    assert unfit.value.word == word


BROKEN: list[Any] = [
    "trim",
    ["trim"],
    {"upper": True},
    {"trim": "yes"},
    {"uppercase": True, "lowercase": True},
    {"integer": True, "date": True},
    {"integer": False},
    {"last": 0},
    {"last": True},
    {"last": "4"},
    {"lookup": {}},
    {"lookup": {"a": None}},
    {"lookup": ["a"]},
    {"date": "YYYY"},
    {"date": []},
    {"decimal": {"scale": 11}},
    {"decimal": {"digits": 2}},
    {"boolean": {"true": ["Y"]}},
    {"boolean": {"true": ["Y"], "false": ["y "]}},
    {"array": "middle"},
    {"array": {"join": 1}},
    {"default": None},
    {"default": ""},
    {"default": ["a"]},
    {"regex_replace": {"pattern": "("}},
    {"regex_replace": {"pattern": "(", "replacement": ""}},
    {"regex_replace": {"pattern": "(a)\\1", "replacement": ""}},
    {"regex_replace": {"pattern": "(?=a)b", "replacement": ""}},
    {"regex_replace": {"pattern": "a", "replacement": "\\1"}},
    {"regex_replace": {"pattern": "a", "replacement": "\\"}},
    {"regex_replace": []},
    {"concat": ["a", "b"]},
    {"concat": {"nodes": ["a"]}},
    {"concat": {"nodes": ["a", "b c"]}},
    {"concat": {"nodes": ["a", "b"], "separator": 1}},
]


@pytest.mark.parametrize("rules", BROKEN, ids=str)
def test_a_broken_rule_is_refused_and_named(rules: Any) -> None:
    with pytest.raises(BadRule) as refused:
        compile_transformation(rules)
    assert refused.value.code == "bad_rule"
    assert any(name in str(refused.value) for name in ("transformation_rules", *TRANSFORMATIONS))


def test_concat_names_its_nodes() -> None:
    assert concat_of({"concat": {"nodes": ["a.b", "a.c"]}}) == (("a.b", "a.c"), " ")
    assert concat_of({"trim": True}) is None
    assert concat_of(None) is None


TEXT = st.text(max_size=30)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "trim": st.booleans(),
        "uppercase": st.booleans(),
        "last": st.integers(1, 50),
        "array": st.sampled_from(["first", "last", "count"]),
        "regex_replace": st.just({"pattern": "[^A-Za-z]+", "replacement": "-"}),
        "lookup": st.dictionaries(TEXT, TEXT, min_size=1, max_size=3),
        "default": TEXT.filter(bool),
        "date": st.just(True),
    },
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(RULES, VALUES)
def test_no_value_breaks_a_transformation(rules: dict[str, Any], value: Any) -> None:
    """Whatever comes, the result is a value or one word: any other exception would end the test."""
    with suppress(Unfit):
        compile_transformation(rules)(value)


@given(TEXT)
def test_trim_and_case_are_settled_after_one_pass(text: str) -> None:
    transform = compile_transformation({"trim": True, "lowercase": True})
    once = transform(text)
    assert transform(once) == once or "İ" in text  # whose lower case has two characters, of which one is combining


@given(st.dates(date(1, 1, 1)))
def test_every_day_is_read_in_every_form(day: date) -> None:
    forms = {
        "YYYY-MM-DD": f"{day:%Y-%m-%d}".zfill(10),
        "MM/DD/YYYY": f"{day:%m/%d}/{day.year:04}",
        "YYYYMMDD": f"{day.year:04}{day:%m%d}",
        "MMDDYYYY": f"{day:%m%d}{day.year:04}",
        "DD.MM.YYYY": f"{day:%d.%m}.{day.year:04}",
    }
    for form, text in forms.items():
        assert compile_transformation({"date": form})(text) == day


@given(VALUES)
def test_the_default_stands_in_for_nothing_only(value: Any) -> None:
    found = compile_transformation({"default": "stand-in"})(value)
    assert found == ("stand-in" if value is None or value == "" else value)
