"""How well two spellings of one thing match."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification import grades, spelling
from tasks.verification.nicknames import FORMAL_NAMES
from tasks.verification.streets import STREET_WORDS


@pytest.mark.parametrize(
    ("ours", "theirs", "grade"),
    [
        ("Valid", "Valid", "exact"),
        ("Valid", "VALID", "normalised"),
        ("Muñoz", "Munoz", "normalised"),
        ("O'Brien", "OBRIEN", "normalised"),
        ("Smith Jr.", "Smith", "normalised"),
        ("Smith", "Smith-Jones", "partial"),
        ("Smith", "Smyth", "partial"),
        ("Smith", "Simth", "partial"),
        ("Smith", "Smiths", "partial"),
        ("M.", "Mary", "partial"),
        ("Lee", "Lea", "mismatch"),
        ("Smith", "Jones", "mismatch"),
        ("Smith", "?", "mismatch"),
        ("—", "?", "mismatch"),
        ("Smith", "", "missing"),
        ("Smith", None, "missing"),
        (None, "Smith", None),
        ("", "Smith", None),
    ],
)
def test_names(ours: Any, theirs: Any, grade: Any) -> None:
    assert grades.of_name(ours, theirs) == grade


@pytest.mark.parametrize(
    ("ours", "theirs", "middle", "nicknames", "grade"),
    [
        ("Mary Ann", "Mary", "Ann", False, "normalised"),
        ("Mary Ann", "Mary", None, False, "partial"),
        ("William", "Bill", None, False, "mismatch"),
        ("William", "Bill", None, True, "normalised"),
        ("BOB", "Robert", "Lee", True, "normalised"),
        ("Bob", "William", None, True, "mismatch"),
        ("Bob", None, None, True, "missing"),
    ],
)
def test_first_names(ours: Any, theirs: Any, middle: Any, nicknames: bool, grade: Any) -> None:
    assert grades.of_first_name(ours, theirs, middle, nicknames=nicknames) == grade


@pytest.mark.parametrize(
    ("first", "last", "theirs", "nicknames", "grade"),
    [
        ("Vera", "Valid", "VALID, VERA", False, "exact"),
        ("Vera", "Valid", "Vera Q. Valid Jr", False, "exact"),
        ("Mary Ann", "O'Brien", "OBRIEN, MARY ANN", False, "exact"),
        ("Mary Ann", "Smith", "SMITH, MARY", False, "partial"),
        ("Vera", "Valid", "MARRIED, VERA", False, "partial"),
        ("William", "Valid", "VALID, BILL", False, "partial"),
        ("William", "Valid", "VALID, BILL", True, "exact"),
        ("Fay", "William", "BILL, FAY", True, "partial"),
        ("Vera", "Valid", "OTHER, OLIVE", False, "mismatch"),
        ("Vera", "Valid", "?", False, "mismatch"),
        ("—", "?", "—", False, "mismatch"),
        ("Vera", "Valid", "", False, "missing"),
        ("Vera", "Valid", None, False, "missing"),
    ],
)
def test_whole_names(first: str, last: str, theirs: Any, nicknames: bool, grade: Any) -> None:
    assert grades.of_whole_name(first, last, theirs, nicknames=nicknames) == grade


@pytest.mark.parametrize(
    ("ours", "theirs", "grade"),
    [
        ("100 Test Ln", "100 Test Ln", "exact"),
        ("100 Test Ln", "100 TEST LANE", "normalised"),
        ("100 N. Test Ave., Apt 2", "100 North Test Avenue #2", "normalised"),
        ("100 Test Ln Apt #2", "100 Test Lane Unit 2", "normalised"),
        ("100-A Test Ln", "100A Test Ln", "normalised"),
        ("100 McKinney St", "100 Mc Kinney Street", "normalised"),
        ("100 Test Ln", "100 Test Ln Apt 2", "partial"),
        ("100 Test Ln", "100 Tset Ln", "partial"),
        ("100 Test Ln", "101 Test Ln", "mismatch"),
        ("100 Test Ln", None, "missing"),
        (None, "Apt 2", None),
    ],
)
def test_streets(ours: Any, theirs: Any, grade: Any) -> None:
    assert grades.of_street(ours, theirs) == grade


@pytest.mark.parametrize(
    ("compare", "ours", "theirs", "grade"),
    [
        (grades.of_number, "TX00000001", "tx 0000-0001", "normalised"),
        (grades.of_number, "00000001", "1", "partial"),
        (grades.of_number, "TX00000001", "TX00000011", "partial"),
        (grades.of_number, "TX00000001", "TX99999999", "mismatch"),
        (grades.of_code, "TX", "tx", "normalised"),
        (grades.of_code, "TX", "TN", "mismatch"),
        (grades.of_city, "St. Louis", "Saint Louis", "normalised"),
        (grades.of_city, "Austin", "Austn", "partial"),
        (grades.of_city, "Austin", "Houston", "mismatch"),
        (grades.of_zip, "78701", "78701-0001", "normalised"),
        (grades.of_zip, "78701", "78702", "partial"),
        (grades.of_zip, "78701", "90210", "mismatch"),
        (grades.of_model, "Mercedes Benz", "MERCEDES-BENZ", "normalised"),
        (grades.of_model, "Chevrolet", "CHEV", "partial"),
        (grades.of_model, "Ford", "Toyota", "mismatch"),
        (grades.of_year, 2019, 2019, "exact"),
        (grades.of_year, 2019, 2020, "partial"),
        (grades.of_year, 2019, 2021, "mismatch"),
        (grades.of_year, 2019, None, "missing"),
        (grades.of_year, None, 2019, None),
        (grades.of_date, date(1980, 5, 15), date(1980, 5, 15), "exact"),
        (grades.of_date, date(1980, 5, 12), date(1980, 12, 5), "partial"),
        (grades.of_date, date(1980, 5, 15), date(1981, 5, 15), "partial"),
        (grades.of_date, date(1980, 5, 15), date(1981, 6, 15), "mismatch"),
        (grades.of_date, date(1980, 5, 15), None, "missing"),
        (grades.of_date, None, date(1980, 5, 15), None),
    ],
)
def test_numbers_codes_places_and_dates(compare: Any, ours: Any, theirs: Any, grade: Any) -> None:
    assert compare(ours, theirs) == grade


COMPARISONS = st.sampled_from(
    [
        *(grades.of_name, grades.of_number, grades.of_code, grades.of_model),
        *(grades.of_street, grades.of_city, grades.of_zip),
    ]
)
WRITTEN = st.text(min_size=1, max_size=20) | st.sampled_from(["100 North Test Lane", "Mary-Ann", "St. Louis", "78701"])


@given(COMPARISONS, WRITTEN, WRITTEN)
def test_a_grade_is_the_same_from_both_sides_and_only_equality_is_exact(compare: Any, one: str, other: str) -> None:
    assert compare(one, other) == compare(other, one)
    assert (compare(one, other) == "exact") is (one == other)
    assert compare(one, None) == "missing"


@given(WRITTEN, COMPARISONS)
def test_case_is_never_more_than_spelling(text: str, compare: Any) -> None:
    if any(c.isalnum() for c in text) and text.isascii():
        assert compare(text, text.swapcase()) in ("exact", "normalised") or compare is grades.of_name


@given(WRITTEN)
def test_normal_forms_are_settled_after_one_pass(text: str) -> None:
    assert spelling.code(spelling.code(text)) == spelling.code(text)
    assert spelling.name(spelling.name(text)) == spelling.name(text)
    assert spelling.is_same_street(text, text.upper()) or not text.isascii()


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_one_off_means_one_step(one: str, other: str) -> None:
    letters = "abc"
    changed = {one[:i] + c + one[i + 1 :] for i in range(len(one)) for c in letters}
    longer = {one[:i] + c + one[i:] for i in range(len(one) + 1) for c in letters}
    shorter = {one[:i] + one[i + 1 :] for i in range(len(one))}
    swapped = {one[:i] + one[i + 1] + one[i] + one[i + 2 :] for i in range(len(one) - 1)}
    assert spelling.is_one_off(one, other) is (other != one and other in changed | longer | shorter | swapped)


@given(st.dates(), st.dates())
def test_days_are_graded_the_same_from_both_sides(one: date, other: date) -> None:
    assert grades.of_date(one, other) == grades.of_date(other, one)


def test_the_word_lists_hold_words() -> None:
    assert all(word.isalpha() and short for word, short in STREET_WORDS.items())
    assert all(STREET_WORDS.get(short, short) == short for short in STREET_WORDS.values())
    assert all(short.isalpha() and names for short, names in FORMAL_NAMES.items())
    assert FORMAL_NAMES["bill"] == {"william"}
