"""How a demo judges and shows its outcomes."""

import io
from dataclasses import replace

from rich.console import Console

from worker.dev.demo.mixture import finishing
from worker.dev.demo.report import Ending, differences, lines, table

PERSONAS = {persona.scenario: persona for persona in finishing()}
VERIFIED = Ending(1, "done", None, "completed", "verified", "verified", retries=0, duration_ms=60.0)
TIMED_OUT = Ending(2, "failed", "timeout", "timeout", "not_verified", "not_verified", retries=2, duration_ms=7000.0)


def test_an_ending_as_demanded_has_no_differences() -> None:
    assert differences(PERSONAS["ok"], VERIFIED) == []
    assert differences(PERSONAS["timeout"], TIMED_OUT) == []


def test_every_difference_is_named() -> None:
    assert differences(PERSONAS["ok"], TIMED_OUT) == [
        "job failed (timeout) instead of done",
        "request timeout instead of completed",
        "driver not_verified instead of verified",
        "licence not_verified instead of verified",
    ]
    assert differences(PERSONAS["expired"], VERIFIED) == ["licence verified instead of expired"]


def test_jobs_of_one_person_share_a_line() -> None:
    people = {1: PERSONAS["ok"], 2: PERSONAS["timeout"], 3: PERSONAS["ok"], 4: PERSONAS["ok"]}
    endings = [
        VERIFIED,
        TIMED_OUT,
        replace(VERIFIED, request_id=3, duration_ms=90.0, retries=1),
        replace(VERIFIED, request_id=4, driver_status="partial", duration_ms=70.0),
    ]
    ok, timeout = lines(people, endings)
    assert (ok.scenario, ok.jobs, ok.retries, ok.median_ms) == ("ok", 3, 1, 70.0)
    assert ok.differences == ("driver partial instead of verified (1)",)
    assert ok.driver_status == "verified (2), partial (1)"
    assert (timeout.jobs, timeout.differences, timeout.request_status) == (1, (), "timeout")


def test_the_table_names_no_person() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(lines({1: PERSONAS["ok"]}, [VERIFIED])))
    text = console.export_text()
    assert "ok" in text
    assert "yes" in text
    assert "Vera" not in text
    assert "TX0000" not in text


def test_a_vehicle_has_no_driver_to_differ() -> None:
    ending = replace(VERIFIED, driver_status=None, license_status=None)
    assert differences(PERSONAS["vehicle_flood"], ending) == []
    (line,) = lines({1: PERSONAS["vehicle_flood"]}, [ending])
    assert line.driver_status == ""
