"""Values that are frozen to the type checker only are values in all else."""

from dataclasses import replace

from worker.values import value


@value
class Point:
    x: int
    y: int = 0


@value(repr=False, kw_only=True)
class Secret(Point):
    word: str


def test_a_value_is_equal_to_others_of_its_fields_and_found_by_them() -> None:
    assert Point(1) == Point(1, 0) != Point(2)
    assert {Point(1): "here"}[Point(1, 0)] == "here"
    assert replace(Point(1), y=2) == Point(1, 2)


def test_a_value_has_no_room_for_more_than_its_fields() -> None:
    assert not hasattr(Point(1), "__dict__")
    assert not hasattr(Secret(x=1, word="open"), "__dict__")


def test_a_value_that_prints_as_nothing_does() -> None:
    assert "Point(x=1, y=0)" in repr(Point(1))
    assert "open" not in repr(Secret(x=1, word="open"))
