"""The clock's entries are checked at the start; whatever is wrong is said at once, and of which entry."""

import math
from typing import Any

import pytest
from celery.schedules import crontab

import beat_schedule
from beat_schedule import Entry, Fill, Round
from tests.worker.kinds import TEST_KIND
from worker.clock.entries import checked, rounds
from worker.errors import Misconfigured

NIGHTLY = crontab("10", "1")
FIRST = Entry("test.run", NIGHTLY, missed="once", name="first")


def refused(*entries: Entry) -> str:
    with pytest.raises(Misconfigured) as error:
        checked([FIRST, *entries], {"test.run": TEST_KIND})
    return str(error.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "test.rum"}, "there is no kind of job called test.rum"),
        ({"name": "first"}, "another entry has this name"),
        ({"zone": "Europe/Berlyn"}, "no time zone called Europe/Berlyn"),
        ({"zone": "/etc/passwd"}, "no time zone called /etc/passwd"),
        ({"zone": ""}, "no time zone called "),
        ({"missed": "each"}, "once, skip or Fill(n), not each"),
        ({"missed": Fill(0)}, "make up for 1 to 1000 slots, not for 0"),
        ({"missed": Fill(1001)}, "not for 1001"),
        ({"after": ("second",)}, "comes after second, which is no entry further up"),
        ({"after": ("nobody",)}, "comes after nobody"),
        ({"after": ("first",), "missed": "skip"}, "it can't skip what is late"),
        ({"args": {"since": object()}}, "its arguments are not plain values"),
        ({"schedule": "10 1 * * *"}, "its schedule is no crontab"),
        (
            {"schedule": crontab("0", "0", day_of_month="29", month_of_year="2", day_of_week="mon")},
            "no slot in the next ten years",
        ),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_wrong(wrong: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {"kind": "test.run", "schedule": NIGHTLY, "missed": "once", "name": "second", **wrong}
    sentence = refused(Entry(**values))
    assert f"  {values['name']}: " in sentence
    assert said in sentence


def test_all_that_is_wrong_is_said_at_once() -> None:
    sentence = refused(
        Entry("no.kind", NIGHTLY, missed="once", zone="Nowhere"), Entry("test.run", NIGHTLY, missed=Fill(-1))
    )
    assert [line.split(":")[0] for line in sentence.splitlines()[1:]] == ["  no.kind", "  no.kind", "  test.run"]


def test_what_is_right_is_looked_up() -> None:
    entry = Entry("test.run", NIGHTLY, missed=Fill(3), zone="Europe/Berlin", after=("first",), args={"do": "done"})
    first, second = checked([FIRST, entry], {"test.run": TEST_KIND})
    assert (first.name, first.missed, first.most, first.on_time, first.zone.key) == ("first", "once", 1, None, "UTC")
    assert (second.name, second.kind, second.missed, second.most) == ("test.run", TEST_KIND, "fill 3", 3)
    assert (second.cron, second.after, second.args) == ("10 1 * * *", ("first",), {"do": "done"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((Round("dispatcher", 1), Round("rescue", 0)), "rescue: it can't come every 0 s"),
        ((Round("dispatcher", math.inf), Round("rescue", 1)), "dispatcher: it can't come every inf s"),
        ((Round("dispatcher", 1),), "it has to name dispatcher and rescue, each once"),
        ((Round("dispatcher", 1), Round("dispatcher", 2), Round("rescue", 1)), "each once, and nothing else"),
    ],
)
def test_wrong_rounds_are_refused_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, given: tuple[Round, ...], said: str
) -> None:
    monkeypatch.setattr(beat_schedule, "ROUNDS", given)
    with pytest.raises(Misconfigured, match=said):
        rounds()
