"""What leaves with what, and in which order, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.retention.plan import Policy, Reference, children_first, is_too_much, removals

REFERENCES = [
    Reference("answer", "question_id", "question", is_required=True),
    Reference("note", "answer_id", "answer"),
    Reference("question", "asked_by", "person"),
    Reference("letter", "question_id", "question", on_delete="n"),
    Reference("copy", "question_id", "question", on_delete="c"),
    Reference("question", "previous_id", "question"),
]


def policy(table: str, days: int = 10) -> Policy:
    return Policy(table, 1, days, "created_at", 100, 0.1)


def test_what_belongs_to_a_row_goes_first_and_what_refers_to_it_keeps_it() -> None:
    (removal,) = removals([policy("question")], REFERENCES, {"answer": "question", "note": "answer"})
    assert [dependent.table for dependent in removal.dependents] == ["note", "answer"]
    assert [step.table for step in removal.dependents[0].path] == ["note", "answer"]
    assert [blocker.reference.table for blocker in removal.blockers] == ["copy"]
    assert removal.itself == REFERENCES[-1]


def test_a_table_that_belongs_to_nothing_keeps_what_it_refers_to() -> None:
    (removal,) = removals([policy("question")], REFERENCES, {})
    assert removal.dependents == ()
    assert {blocker.reference.table for blocker in removal.blockers} == {"answer", "copy"}


def test_rows_with_a_clock_of_their_own_go_along_only_by_it() -> None:
    own = policy("answer", 20)
    both = removals([policy("question"), own], REFERENCES, {"answer": "question"})
    assert [removal.policy.table for removal in both] == ["answer", "question"]
    assert both[1].dependents[0].policy == own


def test_a_policy_that_is_switched_off_keeps_its_table_and_what_it_refers_to() -> None:
    (removal,) = removals([policy("question")], REFERENCES, {"answer": "question"}, switched_off=["answer"])
    assert removal.dependents == ()
    assert "answer" in {blocker.reference.table for blocker in removal.blockers}


def test_tables_that_refer_to_each_other_in_a_circle_come_to_an_end() -> None:
    circle = [Reference("driver", "license_id", "license"), Reference("license", "driver_id", "driver")]
    assert sorted(children_first(["driver", "license"], circle)) == ["driver", "license"]
    driver, license_ = sorted(removals([policy("driver"), policy("license")], circle, {"license": "driver"}), key=str)
    assert [dependent.table for dependent in driver.dependents] == ["license"]
    assert [blocker.reference.table for blocker in license_.blockers] == ["driver"]


TABLES = "abcdef"


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda pair: pair[0] < pair[1])))
def test_children_come_before_their_parents(pairs: set[tuple[int, int]]) -> None:
    references = [Reference(TABLES[child], "x", TABLES[parent]) for child, parent in pairs]
    order = children_first(TABLES, references)
    assert sorted(order) == list(TABLES)
    assert all(order.index(r.table) < order.index(r.parent) for r in references)


@pytest.mark.parametrize(
    ("overdue", "total", "max_share", "expected"),
    [
        (1000, 1000, 0.1, False),  # few rows may go whatever their share
        (1001, 1001, 0.1, True),
        (1001, 10_010, 0.1, False),
        (1002, 10_010, 0.1, True),
        (5000, 5000, 1.0, False),
        (0, 0, 0.1, False),
    ],
)
def test_a_share_is_too_much_only_of_many_rows(overdue: int, total: int, max_share: float, expected: bool) -> None:
    assert is_too_much(overdue, total, max_share, floor=1000) is expected
