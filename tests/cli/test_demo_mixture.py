"""Whom a demo asks about."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.dev.demo.mixture import finishing, mixture


@given(st.integers(1, 2000))
def test_there_is_a_person_for_each_job(jobs: int) -> None:
    assert len(mixture(jobs)) == jobs


@given(st.integers(len(finishing()), 2000))
def test_everyone_who_finishes_is_asked_about(jobs: int) -> None:
    assert {persona.scenario for persona in mixture(jobs)} == {persona.scenario for persona in finishing()}


def test_nobody_waits_for_an_hour_and_all_three_apis_are_asked() -> None:
    people = mixture(1000)
    assert all(persona.expected.finishes for persona in people)
    assert {persona.api for persona in people} == {"drivers", "criminal", "vehicles"}
    assert "503_retry_after_3600" not in {persona.scenario for persona in people}


def test_most_of_a_usual_demo_is_verified() -> None:
    results = Counter(persona.expected.driver_status for persona in mixture(200))
    assert results["verified"] > 100
